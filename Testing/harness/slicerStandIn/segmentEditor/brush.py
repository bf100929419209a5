"""Which voxels a stroke of the brush covers."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from vtkmodules.util.numpy_support import vtk_to_numpy


@dataclass(frozen=True)
class Brush:
    """A ball, or a disc one voxel thick in the plane of the view; `diameter` in mm."""

    diameter: float
    sphere: bool = False


def strokePoints(corners: list[np.ndarray], step: float) -> np.ndarray:
    """Points (n×3, mm) along the way through `corners`, no further than `step` mm apart."""
    points = [np.asarray(corners[0], float)[None]]
    for start, end in itertools.pairwise(corners):
        count = max(1, int(np.ceil(np.linalg.norm(np.subtract(end, start)) / step)))
        points.append(start + np.linspace(0, 1, count + 1)[1:, None] * np.subtract(end, start))
    return np.concatenate(points)


def paintInto(labelmap: Any, toWorld: np.ndarray, points: np.ndarray, normal: np.ndarray, brush: Brush) -> int:
    """Set the voxels of the vtkOrientedImageData `labelmap` that the brush touches to 1; give their number.

    `toWorld` (4×4) leads from the labelmap's own space to the RAS world of `points` and `normal`.
    """
    ijkToLocal = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(ijkToLocal)
    ijkToWorld = toWorld @ slicer.util.arrayFromVTKMatrix(ijkToLocal)
    extent = np.array(labelmap.GetExtent()).reshape(3, 2)
    voxels = vtk_to_numpy(labelmap.GetPointData().GetScalars()).reshape(*(extent[::-1, 1] - extent[::-1, 0] + 1))
    halfThickness = 0.5 * np.abs(normal @ ijkToWorld[:3, :3]).sum() + 1e-6
    for point in points:
        _stamp(voxels, extent, ijkToWorld, point, normal, brush, halfThickness)
    labelmap.Modified()
    return int(np.count_nonzero(voxels))


def _stamp(
    voxels: np.ndarray,
    extent: np.ndarray,
    ijkToWorld: np.ndarray,
    point: np.ndarray,
    normal: np.ndarray,
    brush: Brush,
    halfThickness: float,
) -> None:
    worldToIjk = np.linalg.inv(ijkToWorld)
    centre = worldToIjk[:3, :3] @ point + worldToIjk[:3, 3]
    reach = 0.5 * brush.diameter * np.linalg.norm(worldToIjk[:3, :3], axis=1) + 1
    lowest = np.maximum(np.floor(centre - reach).astype(int), extent[:, 0])
    highest = np.minimum(np.ceil(centre + reach).astype(int), extent[:, 1])
    if (lowest > highest).any():
        return
    axes = [np.arange(low, high + 1) for low, high in zip(lowest, highest, strict=True)]
    ijk = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    offset = ijk @ ijkToWorld[:3, :3].T + ijkToWorld[:3, 3] - point
    if brush.sphere:
        inside = (offset**2).sum(-1) <= (0.5 * brush.diameter) ** 2
    else:
        along = offset @ normal
        across = offset - along[..., None] * normal
        inside = (np.abs(along) <= halfThickness) & ((across**2).sum(-1) <= (0.5 * brush.diameter) ** 2)
    first = lowest - extent[:, 0]
    last = highest - extent[:, 0] + 1
    box = voxels[first[2] : last[2], first[1] : last[1], first[0] : last[0]]
    box[inside.transpose(2, 1, 0)] = 1
