"""Axes in another order: nibabel, which keeps the world in its own way, is the judge."""

import nibabel
import numpy as np
import pytest
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.volumes.orientation import grid_along, volume_along

GRIDS = {
    "foot to head first": [[0, 2, 0, -5], [0, 0, 2, -7], [2, 0, 0, -9], [0, 0, 0, 1]],
    "front to back first": [[0, 0, 2, -5], [-2, 0, 0, 7], [0, -2, 0, 9], [0, 0, 0, 1]],
    "as the other": [[-2, 0, 0, 5], [0, 2, 0, -7], [0, 0, 2, -9], [0, 0, 0, 1]],
}


@pytest.mark.parametrize("name", GRIDS)
def test_every_value_keeps_its_place_in_the_world(name):
    grid = Grid((3, 4, 6), GRIDS[name])
    volume = Volume(np.random.default_rng(1).random(grid.shape, np.float32), grid)
    turned = volume_along(volume, grid_along(grid, "LAS"))
    assert turned.grid.orientation == "LAS"
    for index in np.ndindex(*grid.shape):
        at = tuple(np.rint(turned.grid.to_voxel(grid.to_world(index))).astype(int))
        assert np.allclose(turned.grid.to_world(at), grid.to_world(index)) and turned.array[at] == volume.array[index]
    assert np.array_equal(volume_along(turned, grid).array, volume.array)


@pytest.mark.parametrize("name", GRIDS)
def test_nibabel_sees_the_same_image(name):
    grid = Grid((3, 4, 6), GRIDS[name])
    volume = Volume(np.random.default_rng(2).random(grid.shape, np.float32), grid)
    turned = volume_along(volume, grid_along(grid, "LAS"))
    mine, theirs = (nibabel.as_closest_canonical(nibabel.Nifti1Image(v.array, v.grid.affine)) for v in (turned, volume))
    assert np.array_equal(mine.get_fdata(), theirs.get_fdata()) and np.allclose(mine.affine, theirs.affine)
