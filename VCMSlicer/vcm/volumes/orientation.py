"""The same voxels with their axes in another order or direction: exact, nothing is interpolated."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vcm.core.grid import Grid
from vcm.core.volume import Volume


def grid_along(grid: Grid, other: Grid) -> Grid:
    """The Grid of the voxels of `grid` whose axes run as nearly as those of `other` as turning and flipping allows.

    >>> maps = Grid((6, 7, 8), np.diag([-1, 1, 1, 1]))
    >>> grid_along(Grid((4, 2, 3), [[0, 2, 0, -1], [0, 0, 2, -3], [2, 0, 0, -5], [0, 0, 0, 1]]), maps).orientation
    'LAS'
    """
    from nibabel.orientations import inv_ornt_aff

    turn = _turn(grid, other)
    shape = np.empty(3, int)
    shape[turn[:, 0].astype(int)] = grid.shape
    return Grid(shape, grid.affine @ inv_ornt_aff(turn, grid.shape))


def volume_along(volume: Volume, grid: Grid) -> Volume:
    """The volume with its voxels in the order of `grid`, which holds the same voxels."""
    from nibabel.orientations import apply_orientation

    return Volume(np.ascontiguousarray(apply_orientation(volume.array, _turn(volume.grid, grid))), grid)


def _turn(grid: Grid, other: Grid) -> NDArray[np.float64]:
    from nibabel.orientations import io_orientation, ornt_transform

    return np.asarray(ornt_transform(io_orientation(grid.affine), io_orientation(other.affine)))
