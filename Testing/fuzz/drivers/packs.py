"""Packs with anything anywhere beside good ones: named and left aside, while all else works."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

from case import PACKS, Case
from mutation import bytes_damaged, json_damaged, json_text
from process import complaints, forked

COMMANDS = (
    ["packs", "list"],
    ["packs", "list", "--json"],
    ["packs", "verify"],
    ["packs", "verify", "bad"],
    ["packs", "info", "bad"],
    ["packs", "info", "micro"],
    ["generate", "--pack", "bad", "--steps", "1", "--no-montage", "--out", "out"],
    ["generate", "--pack", "micro", "--steps", "1", "--no-montage", "--out", "out"],
    ["packs", "remove", "bad"],
)


def run(case: Case) -> tuple[int, list[str]]:
    """One bad pack in a home of its own, and some commands."""
    rng = case.rng
    home = case.home
    make_bad(case, home / "packs" / "bad", rng.choice(("micro", "micro-ventricles")))
    found = []
    commands = rng.sample(COMMANDS, 3)
    for command in commands:
        ended = forked(command, case.folder, home)
        found += [f"{' '.join(command)}: {complaint}" for complaint in complaints(ended, own_memory=case.own_memory)]
        if ("bad" not in command and ended.code not in (0, 1)) or (command[:2] == ["packs", "list"] and ended.code):
            found.append(f"{' '.join(command)} ended with {ended.code} because of a neighbour")
        if command[0] == "generate" and "micro" in command and ended.code:
            found.append(f"a good pack could not be used beside a bad one: {ended.err[-300:]!r}")
    return len(commands), found


def make_bad(case: Case, folder: Path, kind: str) -> None:
    """A copy of a micro pack that something is wrong with."""
    rng = case.rng
    shutil.copytree(PACKS / kind, folder)
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    manifest["name"] = "bad"
    what = rng.random()
    if what < 0.6:
        damaged = json_damaged(rng, manifest)
        (folder / "manifest.json").write_bytes(json_text(rng, damaged))
        return
    (folder / "manifest.json").write_text(json.dumps(manifest))
    weights = rng.choice(list(folder.glob("*.safetensors")))
    if what < 0.75:
        weights.write_bytes(bytes_damaged(rng, weights.read_bytes(), 2000))
        _believe(manifest, weights, folder)
    elif what < 0.8:
        weights.write_bytes(struct.pack("<Q", rng.choice((2**63, 10**12, 0, 5))) + b"{}" + bytes(50))
        _believe(manifest, weights, folder)
    elif what < 0.85:
        folder.chmod(0)
    elif what < 0.9:
        weights.unlink()
        weights.symlink_to(rng.choice(("/dev/zero", "/etc/passwd", weights.name)))
    elif what < 0.95:
        (folder / "manifest.json").unlink()
        (folder / "manifest.json").mkdir()
    else:
        shutil.rmtree(folder)
        folder.symlink_to(rng.choice((".", "/", "bad", "micro")))


def _believe(manifest: dict, weights: Path, folder: Path) -> None:
    """Enter the damaged file's size and hash, so that only reading it can show that it is damaged."""
    import hashlib

    for file in manifest["files"].values():
        if file["path"] == weights.name:
            file["size"] = weights.stat().st_size
            file["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
