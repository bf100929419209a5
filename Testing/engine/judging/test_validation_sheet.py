"""The pictures of a validation."""

import numpy as np
import tiny
from PIL import Image
from vcm.core.grid import Grid
from vcm.training.trainer.validation_sheet import STRIP, TILE, row_of, save_sheet


def test_a_sheet_has_a_title_over_each_image_and_says_that_all_is_synthetic(tmp_path):
    row = row_of([np.zeros(tiny.GRID.shape), np.zeros(tiny.GRID.shape)], tiny.GRID)
    sheet = save_sheet(tmp_path / "a.png", [row, row], ("one", "other"))
    assert sheet.shape == (2 * TILE + 2 * STRIP, 6 * TILE, 3)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), sheet)
    above, below = sheet[:STRIP].any((0, 2)), sheet[-STRIP:].any((0, 2))
    assert above[: TILE // 2].any() and above[3 * TILE : 3 * TILE + TILE // 2].any() and below.any()
    assert not save_sheet(tmp_path / "b.png", [row])[:STRIP].any()


def test_all_planes_of_a_head_have_one_scale():
    grid = Grid((20, 40, 30), np.diag([2.0, 2.0, 2.0, 1.0]))
    row = row_of([np.ones(grid.shape)], grid) > 0
    axial, coronal, sagittal = (row[:, n * TILE : (n + 1) * TILE, 0] for n in range(3))
    sizes = [(tile.any(0).sum(), tile.any(1).sum()) for tile in (axial, coronal, sagittal)]
    assert sizes == [(80, 160), (80, 120), (160, 120)]
