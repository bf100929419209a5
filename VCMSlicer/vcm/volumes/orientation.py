"""The same voxels with their axes in another order or direction: exact, nothing is interpolated."""

from __future__ import annotations

import numpy as np

from vcm.core.grid import Grid
from vcm.core.volume import Volume

LINES = ("RL", "AP", "SI")


def axes_along(own: str, other: str) -> list[int]:
    """For each axis of an orientation such as `other`, the axis of `own` on the same line, whichever way that runs.

    >>> axes_along("LAS", "SRA")
    [2, 0, 1]
    """
    lines = [next(line for line in LINES if letter in line) for letter in own]
    return [next(axis for axis, line in enumerate(lines) if letter in line) for letter in other]


def grid_along(grid: Grid, orientation: str) -> Grid:
    """The Grid of the voxels of `grid` whose axes run as nearly that way as turning and flipping allows.

    >>> grid_along(Grid((4, 2, 3), [[0, 2, 0, -1], [0, 0, 2, -3], [2, 0, 0, -5], [0, 0, 0, 1]]), "LAS").shape
    (2, 3, 4)
    """
    order = axes_along(grid.orientation, orientation)
    shape = [grid.shape[axis] for axis in order]
    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    for row, axis in enumerate(order):
        same = grid.orientation[axis] == orientation[row]
        turn[axis, row] = 1 if same else -1
        turn[axis, 3] = 0 if same else shape[row] - 1
    return Grid(shape, grid.affine @ turn)


def volume_along(volume: Volume, grid: Grid) -> Volume:
    """The volume with its voxels in the order of `grid`, which holds the same voxels."""
    own, other = volume.grid.orientation, grid.orientation
    order = axes_along(own, other)
    flipped = tuple(row for row, axis in enumerate(order) if own[axis] != other[row])
    return Volume(np.ascontiguousarray(np.flip(volume.array.transpose(order), flipped)), grid)
