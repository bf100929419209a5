"""The demo's mask: painted larger on the patient's left, and on the grid of the model that ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from demo_case import paint_larger
from vcm.core.grid import Grid
from vcm.packs.store import find_pack
from vcm.volumes.volume_files import read_volume

SHIPPED = Path(__file__).resolve().parents[3] / "VCMSlicer" / "Resources" / "DemoCase" / "ventricles.nii.gz"


def sides(mask: np.ndarray, grid: Grid) -> tuple[int, int]:
    """Voxels on the patient's left and right."""
    right = grid.to_world(np.argwhere(mask))[:, 0]
    return int((right < 0).sum()), int((right > 0).sum())


def test_the_shipped_mask_lies_on_the_models_grid_and_is_larger_on_the_left():
    mask = read_volume(SHIPPED)
    assert mask.grid.same_as(find_pack("brainldm-mini").backbone.grid)
    left, right = sides(mask.array != 0, mask.grid)
    assert left > 1.3 * right
    assert 45 < (left + right) * mask.grid.voxel_ml < 60


def test_painting_grows_the_patients_left_more_whichever_way_the_array_runs():
    for sign in (-1, 1):
        grid = Grid((40, 30, 20), [[2 * sign, 0, 0, -39 * sign], [0, 2, 0, -30], [0, 0, 2, -20], [0, 0, 0, 1]])
        right = np.abs(grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)))
        core = (right[..., 0] < 12) & (right[..., 1] < 9) & (right[..., 2] < 7)
        before, after = sides(core, grid), sides(paint_larger(core, np.ones(grid.shape, bool), grid), grid)
        assert before[0] == before[1] and after[0] > after[1] > before[1]


def test_painting_stays_within_the_brain():
    grid = Grid((40, 30, 20), np.diag([2, 2, 2, 1.0]))
    core = np.zeros(grid.shape, bool)
    core[18:24, 10:20, 6:12] = True
    within = np.zeros(grid.shape, bool)
    within[16:25, 9:21, 5:13] = True
    assert not (paint_larger(core, within, grid) & ~within).any()
