"""How far apart the surfaces of two masks lie, in millimetres, on any Grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.volumes.field_of_view import filled_box


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances between the surfaces of two masks, in millimetres.

    `hd95` is the larger of the two directed 95th percentiles (MONAI's definition of the 95th percentile Hausdorff
    distance); `assd` is the mean over the distances of both directions taken together.
    """

    hd95: float
    assd: float


def surface_distances(a: NDArray[np.bool_], b: NDArray[np.bool_], grid: Grid) -> SurfaceDistances | None:
    """Compare the surfaces of two masks on one Grid; None where either mask is empty.

    The surface of a mask is its voxels with a face neighbour outside the mask; beyond the edge of the Grid counts as
    outside. Each surface voxel's distance runs from its centre to the nearest surface centre of the other mask, in
    the millimetres of the affine, so anisotropic, oblique and sheared Grids need no special care.

    >>> grid = Grid((1, 1, 6), np.diag([1, 1, 3, 1]))
    >>> a, b = np.zeros((2, 1, 1, 6), bool)
    >>> a[..., 1], b[..., 3] = True, True
    >>> surface_distances(a, b, grid)
    SurfaceDistances(hd95=6.0, assd=6.0)
    """
    if not a.shape == b.shape == grid.shape:
        raise VcmError(
            Code.GEOMETRY,
            f"Masks of shape {a.shape} and {b.shape} cannot be compared on a grid of shape {grid.shape}.",
        )
    if not (a.any() and b.any()):
        return None
    from scipy.spatial import cKDTree

    points_a, points_b = grid.to_world(surface_voxels(a)), grid.to_world(surface_voxels(b))
    a_to_b, _ = cKDTree(points_b).query(points_a)
    b_to_a, _ = cKDTree(points_a).query(points_b)
    return SurfaceDistances(
        hd95=float(max(np.percentile(a_to_b, 95), np.percentile(b_to_a, 95))),
        assd=float(np.concatenate([a_to_b, b_to_a]).mean()),
    )


def surface_voxels(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Indices `[n, 3]` of the voxels of a mask that have a face neighbour outside it.

    >>> block = np.ones((3, 3, 3), bool)
    >>> len(surface_voxels(block)), len(surface_voxels(np.pad(block, 2)))
    (26, 26)
    """
    part = filled_box(mask)
    if part is None:
        return np.empty((0, 3), np.intp)
    box = mask[part]
    padded = np.pad(box, 1)
    inside = box.copy()
    for axis in range(3):
        for step in (-1, 1):
            inside &= np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1]
    return np.argwhere(box & ~inside) + [axis.start for axis in part]
