"""The three anatomical planes of a Volume, turned as a radiologist looks at them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.volumes.orientation import grid_along, volume_along


@dataclass(frozen=True)
class Plane:
    """A plane of the patient: the world axes (0 right, 1 anterior, 2 superior) across, down and through the picture.

    Radiological convention: the patient's right, else their front, is on the picture's left; front or top is up.

    >>> AXIAL.left, AXIAL.right, AXIAL.top, SAGITTAL.left
    ('R', 'L', 'A', 'A')
    """

    name: str
    across: int
    down: int
    through: int

    @property
    def left(self) -> str:
        return "RAS"[self.across]

    @property
    def right(self) -> str:
        return "LPI"[self.across]

    @property
    def top(self) -> str:
        return "RAS"[self.down]

    @property
    def bottom(self) -> str:
        return "LPI"[self.down]

    def size_mm(self, grid: Grid) -> tuple[float, float]:
        """Width and height of a slice of a Grid that faces the viewer."""
        return grid.shape[self.across] * grid.spacing[self.across], grid.shape[self.down] * grid.spacing[self.down]

    def cut(self, array: NDArray, index: int) -> NDArray:
        """One slice as `[row, column]` of an array that faces the viewer (see `facing_viewer`)."""
        return np.asarray(array.take(index, axis=self.through).T)

    def position(self, grid: Grid, index: int) -> str:
        """Where a slice lies, in words.

        >>> AXIAL.position(Grid((4, 4, 4), np.diag([-1, -1, -2, 1])), 3)
        'I 6 mm'
        """
        voxel = (np.asarray(grid.shape) - 1) / 2
        voxel[self.through] = index
        millimetres = round(float(grid.to_world(voxel)[self.through]))
        side = "RAS"[self.through] if millimetres >= 0 else "LPI"[self.through]
        return f"{side} {abs(millimetres)} mm"


AXIAL = Plane("axial", across=0, down=1, through=2)
CORONAL = Plane("coronal", across=0, down=2, through=1)
SAGITTAL = Plane("sagittal", across=1, down=2, through=0)
PLANES = (AXIAL, CORONAL, SAGITTAL)


def facing_viewer(volume: Volume) -> Volume:
    """The same voxels with axes that grow to the patient's Left, Posterior and Inferior, or nearest to it.

    >>> facing_viewer(Volume(np.zeros((4, 5, 6)), Grid((4, 5, 6), np.eye(4)))).grid.orientation
    'LPI'
    """
    return volume_along(volume, grid_along(volume.grid, "LPI"))


def telling_slice(mask: NDArray[np.bool_], plane: Plane) -> int:
    """The slice through the centroid of what is set, or the nearest one that shows it.

    Paired structures have their centroid between them: the slice taken is the nearest to it that cuts at least half of
    the largest cross-section. An empty mask gives the middle of the Grid.

    >>> pair = np.zeros((9, 3, 3), bool)
    >>> pair[1:3], pair[5:8] = True, True
    >>> telling_slice(pair, SAGITTAL)
    5
    """
    others = tuple(axis for axis in range(3) if axis != plane.through)
    area = np.count_nonzero(mask, axis=others)
    if not area.any():
        return mask.shape[plane.through] // 2
    index = np.arange(len(area))
    centroid = (area * index).sum() / area.sum()
    showing = index[2 * area >= area.max()]
    return int(showing[np.abs(showing - centroid).argmin()])
