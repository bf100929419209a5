"""What part of a volume is filled, and how much of that lies outside another Grid."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vcm.core.grid import Grid
from vcm.core.volume import Volume

# Keeps points off the faces between voxels, where rounding would decide.
NUDGE = 1e-6
# Below this an entry of the affine between voxel indices is 0 but for rounding.
PARALLEL = 1e-9
MOST_LOST = 0.5
"""With more than this share of a structure outside the model's grid it is refused."""

Box = tuple[slice, slice, slice]


def filled_box(array: NDArray[Any]) -> Box | None:
    """The smallest box that holds all non-zero voxels; None where there are none.

    >>> array = np.zeros((5, 6, 7))
    >>> array[1:3, 4, 2:6] = 1
    >>> filled_box(array)
    (slice(1, 3, None), slice(4, 5, None), slice(2, 6, None))
    """
    filled = array != 0
    floor, wall = filled.any(axis=2), filled.any(axis=0)
    along = [np.flatnonzero(line) for line in (floor.any(axis=1), floor.any(axis=0), wall.any(axis=0))]
    if not along[0].size:
        return None
    i, j, k = (slice(int(line[0]), int(line[-1]) + 1) for line in along)
    return i, j, k


def lost_voxels(mask: Volume, grid: Grid) -> int:
    """How many non-zero voxels of a mask have their centre outside the field of view of `grid`."""
    box = filled_box(mask.array)
    if box is None:
        return 0
    step = np.linalg.inv(grid.affine) @ mask.grid.affine
    corners = np.stack(np.meshgrid(*[(part.start, part.stop - 1) for part in box])).reshape(3, -1)
    if _inside(step[:3, :3] @ corners + step[:3, 3:], grid).all():
        return 0
    if (np.count_nonzero(np.abs(step[:3, :3]) > PARALLEL, axis=0) == 1).all():
        return int(np.count_nonzero(mask.array) - np.count_nonzero(mask.array[_box_inside(step, mask.grid, grid)]))
    lost = 0
    for i in range(box[0].start, box[0].stop):
        j, k = np.nonzero(mask.array[i, box[1], box[2]])
        index = np.stack([np.full_like(j, i), j + box[1].start, k + box[2].start])
        lost += int(j.size - _inside(step[:3, :3] @ index + step[:3, 3:], grid).sum())
    return lost


def _box_inside(step: NDArray[np.float64], own: Grid, grid: Grid) -> Box:
    """The voxels inside, where the axes of both grids are parallel."""
    parts = []
    for axis, size in enumerate(own.shape):
        along = int(np.abs(step[:3, axis]).argmax())
        index = np.zeros((3, size))
        index[along] = step[along, axis] * np.arange(size) + step[along, 3]
        inside = np.flatnonzero(_inside(index, grid))
        parts.append(slice(int(inside[0]), int(inside[-1]) + 1) if inside.size else slice(0))
    return parts[0], parts[1], parts[2]


def _inside(index: NDArray[np.float64], grid: Grid) -> NDArray[np.bool_]:
    """Which voxel indices, one a column, lie in the field of view."""
    high = np.asarray(grid.shape)[:, None] - 0.5
    return np.asarray(((index >= -0.5 - NUDGE) & (index <= high + NUDGE)).all(axis=0))
