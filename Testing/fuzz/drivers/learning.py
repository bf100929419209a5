"""Damaged cohorts, settings, checkpoints and caches: training goes on from what is sound, or says what is not."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
from case import Case
from mutation import HOSTILE_NUMBERS, HOSTILE_TEXT, bytes_damaged, json_damaged, json_text
from process import complaints, forked
from vcm.core.volume import Volume
from vcm.packs.store import find_pack
from vcm.volumes.volume_files import write_volume

SETTINGS = """steps = 4
batch = 1
precision = "fp32"
log_every = 1
save_every = 2
regression_steps = 0
warmup = 1
[network]
width = 8
features = 8
hidden = 8
[network.unet]
out_channels = 8
channels = [8]
num_res_blocks = [1]
attention_levels = [false]
norm_num_groups = 4
num_head_channels = [4]
"""


def run(case: Case) -> tuple[int, list[str]]:
    """A training that was begun, then damage to one of its files, then the same command."""
    rng = case.rng
    cohort, settings, out = case.folder / "cohort", case.folder / "settings.toml", case.folder / "run"
    prepared = _prepared(case)
    shutil.copytree(prepared, case.folder, dirs_exist_ok=True)
    kind = rng.randrange(5)
    if kind == 0:
        _damage_table(case, cohort / "cases.csv")
    elif kind == 1:
        files = sorted(cohort.rglob("*.nii.gz"))
        path = rng.choice(files)
        path.write_bytes(bytes_damaged(rng, path.read_bytes(), 400))
        shutil.rmtree(out)
    elif kind == 2:
        lines = SETTINGS.splitlines()
        place = rng.randrange(len(lines))
        key = lines[place].split("=")[0].strip() or "x"
        lines[place] = f"{key} = {json.dumps(rng.choice((*HOSTILE_NUMBERS, *HOSTILE_TEXT[:20], [], {}, True)))}"
        settings.write_text("\n".join(lines), "utf-8", "surrogatepass")
        shutil.rmtree(out)
    else:
        files = sorted(path for path in out.rglob("*") if path.is_file())
        path = rng.choice(files)
        data = path.read_bytes()
        if path.suffix == ".json" and rng.random() < 0.6:
            path.write_bytes(json_text(rng, json_damaged(rng, json.loads(data))))
        elif rng.random() < 0.3:
            path.write_bytes(rng.choice((b"", b"[]", b"null", b"\x00" * 100, data[: len(data) // 2])))
        else:
            path.write_bytes(bytes_damaged(rng, data, len(data)))
    ended = forked(_command(case.folder), case.folder, case.home)
    found = complaints(ended, own_memory=case.own_memory)
    return 1, [f"{complaint}: {ended.err[-300:]!r}" for complaint in found]


def _command(folder: Path) -> list[str]:
    return [
        "train", "control", "--cases", str(folder / "cohort"), "--out", str(folder / "run"), "--backbone", "micro",
        "--conditions", "ventricles", "--config", str(folder / "settings.toml"), "--device", "cpu", "--threads", "1",
    ]  # fmt: skip


def _prepared(case: Case) -> Path:
    """A small cohort and a training of it that is half done, made once for all cases."""
    folder = case.shared / "prepared"
    if folder.exists():
        return folder
    building = case.shared / "preparing"
    (building / "cohort").mkdir(parents=True)
    grid = find_pack(case.home / "packs" / "micro").backbone.grid
    rows = []
    for number in range(3):
        rng = np.random.default_rng(number)
        middle = [size // 2 for size in grid.shape]
        labels = np.zeros(grid.shape, np.uint8)
        for value, radius in ((7, 0.38), (1, 0.3), (4, 0.1 + 0.03 * number)):
            reach = [max(1, int(size * radius)) for size in grid.shape]
            labels[tuple(slice(m - r, m + r) for m, r in zip(middle, reach, strict=True))] = value
        image = ((labels == 1) * 0.7 + 0.1 * rng.random(grid.shape)).astype(np.float32)
        parts = {"image": image, "labels": labels, "skull": image * (labels == 0)}
        for part, array in parts.items():
            write_volume(building / "cohort" / "cases" / f"{number:05d}" / f"{part}.nii.gz", Volume(array, grid))
        rows.append([f"{number:05d}", f"head_{number + 1:02d}", 5, number % 2, 0.3, 0.1 * number, 0.5, 20.0, 1000.0])
    with (building / "cohort" / "cases.csv").open("w", newline="") as file:
        names = [
            "case",
            "head",
            "seed",
            "sex",
            "age",
            "ventricular_volume",
            "brain_volume",
            "ventricles_ml",
            "brain_ml",
        ]
        csv.writer(file).writerows([names, *rows])
    (building / "settings.toml").write_text(SETTINGS)
    ended = forked([*_command(building), "--steps", "2"], building, case.home)
    if ended.code:
        raise RuntimeError(f"the training that all cases begin with failed: {ended.err.decode()}")
    building.rename(folder)
    return folder


def _damage_table(case: Case, path: Path) -> None:
    rng = case.rng
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    row = rng.randrange(len(rows))
    rows[row][rng.randrange(len(rows[row]))] = str(rng.choice((*HOSTILE_TEXT, *HOSTILE_NUMBERS)))
    with path.open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
        csv.writer(file).writerows(rows)
