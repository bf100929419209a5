"""The micro packs: a whole generator, trained in minutes, whose weights lie beside the tests. What random weights
cannot show is shown here: a painted mask is followed, on the side where it was painted."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import vcm
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.volumes.resampling import resample_labels
from vcm.volumes.volume_files import read_volume, write_volume

PACKS = Path(__file__).parents[2] / "packs"
DEMO = Path(__file__).parents[3] / "VCMSlicer" / "Resources" / "DemoCase" / "ventricles.nii.gz"
LIMIT = 500_000
"""Bytes of both packs: every clone carries them."""


@pytest.fixture(autouse=True)
def micro_packs(monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(PACKS))


def generate(mask: Path, out: Path, samples: int) -> list[dict]:
    """What the report says of samples that were told the mask and of their twins from the same noise."""
    ended = vcm(
        "generate", "--pack", "micro", "--control", "micro-ventricles", "--condition", f"ventricles={mask}",
        "--out", out, "--seed", 3, "--samples", samples, "--uncontrolled", "--no-montage",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    return json.loads((out / "report.json").read_text())["samples"]


def half(path: Path, side: int) -> Path:
    """The demo's ventricles on one side of the head: 1 is the right of RAS millimetres, −1 the left."""
    volume = read_volume(DEMO)
    write_volume(path, Volume((volume.array * (across(volume.grid) * side > 0)).astype(np.uint8), volume.grid))
    return path


def across(grid: Grid) -> np.ndarray:
    """Each voxel's first coordinate in RAS millimetres."""
    return grid.to_world(np.stack(np.indices(grid.shape), -1))[..., 0]


def test_the_packs_are_small():
    assert sum(path.stat().st_size for path in PACKS.rglob("*") if path.is_file()) < LIMIT


def test_a_painted_mask_is_followed(tmp_path):
    samples = generate(DEMO, tmp_path / "out", 4)
    told, untold = (
        [one["alignment"]["classes"][0]["dice"] for one in way]
        for way in (samples, [sample["uncontrolled"] for sample in samples])
    )
    # Seen when they were trained: 0.53 to 0.58 against 0.31 to 0.48.
    assert np.mean(told) > 0.45
    assert min(np.subtract(told, untold)) > 0.03 and np.mean(np.subtract(told, untold)) > 0.08


def test_the_side_that_is_painted_is_the_side_that_darkens(tmp_path):
    for name, side in (("left", -1), ("right", 1)):
        generate(half(tmp_path / f"{name}.nii.gz", side), tmp_path / name, 2)
    for place in range(2):
        left, right = (read_volume(tmp_path / name / f"sample-{place}.nii.gz") for name in ("left", "right"))
        painted = resample_labels(read_volume(DEMO), left.grid).array > 0
        for side, dark, bright in ((-1, left, right), (1, right, left)):
            there = painted & (across(left.grid) * side > 0)
            # Seen: a difference of 0.23 to 0.27 of the full range.
            assert bright.array[there].mean() - dark.array[there].mean() > 0.1
