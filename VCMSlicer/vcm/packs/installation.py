"""How packs get into the packs' folder and out of it: whole, or not at all."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vcm.errors import Code, VcmError
from vcm.packs.disk import file_errors
from vcm.packs.manifest import read_manifest
from vcm.packs.store import EMBEDDED, find_pack, packs_folder, subfolders


def remove(name: str) -> None:
    """Delete one of the user's packs, whole or broken; embedded ones and folders elsewhere stay."""
    folder = packs_folder() / name
    if name not in {path.name for path in subfolders(packs_folder())}:
        pack = find_pack(name)
        reason = "comes with the program" if pack.embedded else "does not lie in the packs' folder"
        raise VcmError(Code.BAD_REQUEST, f"{name} {reason} and is not removed.")
    with file_errors(folder):
        if folder.is_symlink():
            folder.unlink()
            return
        # Renamed first: a deletion cut short then leaves no half pack under the name.
        away = Path(tempfile.mkdtemp(prefix=".removed-", dir=folder.parent))
        folder.rename(away / name)
        shutil.rmtree(away)


@contextmanager
def install_folder(name: str, *, force: bool = False) -> Iterator[Path]:
    """An empty folder to build the pack `name` in; it takes its place whole, when the block ends without error.

    An existing pack of that name is refused without `force`; with it, the old one stays until the new one is in place.
    """
    home = packs_folder()
    target = home / name
    check_name(name, force=force)
    with file_errors(home):
        home.mkdir(parents=True, exist_ok=True)
        _sweep(home)
        building = Path(tempfile.mkdtemp(prefix=".new-", dir=home))
    try:
        inside = building / name
        inside.mkdir()
        yield inside
        read_manifest(inside)
        with file_errors(target):
            old = building / "old" / name
            if target.exists():
                old.parent.mkdir()
                target.rename(old)
            try:
                inside.rename(target)
            except OSError:
                _put_back(building, home)
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


def check_name(name: str, *, force: bool = False) -> None:
    """Raise if a pack of that name cannot be installed, before any work is done for it."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9._-]{0,78}[a-z0-9])?", name):
        raise VcmError(
            Code.BAD_REQUEST,
            f"“{name}” cannot be a pack's name.",
            "Use up to 80 small letters, digits, hyphens, dots and underscores.",
        )
    if (EMBEDDED / name).exists():
        raise VcmError(Code.BAD_REQUEST, f"A pack {name} comes with the program.", "Choose another name.")
    if (packs_folder() / name).exists() and not force:
        raise VcmError(
            Code.BAD_REQUEST,
            f"There is a pack {name} already.",
            "Choose another name, or replace it with --force.",
        )


def _sweep(home: Path) -> None:
    """Clear away what an installation or removal left behind when it was killed more than a day ago."""
    for left in [*home.glob(".new-*"), *home.glob(".removed-*")]:
        if time.time() - left.stat().st_mtime > 86_400:
            _put_back(left, home)
            shutil.rmtree(left, ignore_errors=True)


def _put_back(building: Path, home: Path) -> None:
    for old in building.glob("old/*"):
        if not (home / old.name).exists():
            old.rename(home / old.name)
