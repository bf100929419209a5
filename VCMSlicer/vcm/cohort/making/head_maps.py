"""Label maps made ready for deforming: where the ventricles' and the brain's surfaces lie, and what lies behind them.

Everything here is in the label map's own voxels, which are 1 mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vcm.anatomy.structures import CEREBELLAR_CORTEX, CORTEX, SEGMENTER_CLASSES, VENTRICLES
from vcm.cohort.making.label_maps import CHOROID_PLEXUS, LabelTable

CSF = 24
NO_TISSUE = (25, 57, 30, 62, 72)
"""Lesions, vessels and the fifth ventricle: what does not grow into the place of ventricles that become smaller."""
MAURER_WALL = 0.5
"""Maurer's distance is 0 in the outermost voxels inside; their outer face lies half a millimetre further out."""

DEPTH_STEPS = 40
"""Steps in a millimetre of the distance from the brain's surface, which is kept in 8 bits."""

WALL_STEPS = 64
"""Steps in a millimetre of the distance from the ventricles' walls."""

GIVES_WAY = 0.4
"""How far the wall of a ventricle moves in deep grey matter and brain stem, where it moves 1 mm in white matter."""
STIFF = (3, 5, 6, 8, 9)
"""The segmenter's classes that give way so little."""


@dataclass(frozen=True, eq=False)
class Head:
    """A label map made ready.

    `grown` and `shrunk` are label positions `[i, j, k]` without lateral ventricles: the tissue around them fills their
    place. In `grown` the brain has spread into the CSF around it, in `shrunk` its cortex has become CSF; `depth` is the
    distance from the brain's surface (int8, `DEPTH_STEPS` a millimetre, negative inside). So the brain whose surface
    was moved by w is `grown` where the depth is below w, `shrunk` elsewhere. `brain_ml` holds the volume of the brain
    with its ventricles for each w, from -128 to 127, and `inside_ml` that of all that lies inside the skull, both
    within the field of view.

    `walls` is the distance from the lateral ventricles' walls (int16, `WALL_STEPS` a millimetre, negative inside), true
    to every voxel; `field` is the same smoothed, `[4, i/2, j/2, k/2]`: the distance in mm, then its gradient along
    i, j, k. `give` says how far their wall moves for each millimetre that it moves in white matter.
    """

    grown: Tensor
    shrunk: Tensor
    depth: Tensor
    walls: Tensor
    field: Tensor
    give: Tensor
    ventricle: int
    brain_ml: NDArray[np.float64]
    inside_ml: float

    @classmethod
    def prepare(
        cls, positions: NDArray[np.uint8], table: LabelTable, device: torch.device, view: tuple[slice, ...] = ()
    ) -> Head:
        """Make label positions `[i, j, k]` ready; `view` is the part of them that volumes are counted in."""
        ventricles = np.isin(table.labels[positions], (*SEGMENTER_CLASSES[VENTRICLES][1], *CHOROID_PLEXUS))
        whole = ~ventricles & ~table.outside[positions] & ~np.isin(table.labels[positions], NO_TISSUE)
        tissue = _filled(positions, ventricles, whole)
        grown, shrunk, depth = _surfaces(tissue, table)
        walls, smooth = layered_distance(ventricles)
        coarse = functional.avg_pool3d(torch.from_numpy(smooth).to(device)[None, None], 2)[0, 0]
        brain_ml = _volumes(grown[view], shrunk[view], depth[view], table)
        named = [n for n, label in enumerate(table.labels) if label in SEGMENTER_CLASSES[VENTRICLES][1]]
        return cls(
            grown=torch.from_numpy(grown).to(device),
            shrunk=torch.from_numpy(shrunk).to(device),
            depth=torch.from_numpy(depth).to(device),
            walls=torch.from_numpy(np.rint(walls * WALL_STEPS).clip(-32768, 32767).astype(np.int16)).to(device),
            field=torch.stack([coarse, *torch.gradient(coarse, spacing=2.0)]),
            give=_give(tissue, table, device),
            ventricle=named[0] if named else 0,
            brain_ml=brain_ml,
            inside_ml=float((~table.outside[positions[view]]).sum()) / 1000,
        )

    def places(self, positions: Tensor) -> Tensor:
        """Which voxels of the label map, counted through, are nearest to positions `[3, …]`."""
        flat = torch.zeros_like(positions[0])
        for axis, size in enumerate(self.grown.shape):
            flat.mul_(size).add_(positions[axis].round().clamp_(0, size - 1))
        return flat.long()

    def from_wall(self, positions: Tensor) -> Tensor:
        """The distance from the lateral ventricles' walls in mm at positions `[3, …]`, negative inside."""
        return self.walls.reshape(-1)[self.places(positions)].float() / WALL_STEPS

    def surface_for(self, brain_ml: float) -> int:
        """The step of `depth` at which the brain's surface encloses about so many millilitres."""
        return int(np.clip(np.searchsorted(self.brain_ml, brain_ml) - 128, -127, 127))


def layered_distance(inside: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Distance to the surface of a mask in mm, negative inside, true to every voxel; and the same smoothed.

    Smoothness sorts the voxels of a layer of the first, crowns of folds before their walls, and moves none to another
    layer.
    """
    import SimpleITK

    image = SimpleITK.GetImageFromArray(inside.astype(np.uint8))
    distance = SimpleITK.SignedMaurerDistanceMap(image, False, False, False)
    smooth = SimpleITK.SmoothingRecursiveGaussian(distance, 1.0)
    sharp, soft = (
        np.asarray(SimpleITK.GetArrayFromImage(volume), np.float32) - np.float32(MAURER_WALL)
        for volume in (distance, smooth)
    )
    return sharp + np.clip(soft - sharp, -0.45, 0.45), soft


def _filled(
    positions: NDArray[np.uint8], hole: NDArray[np.bool_], source: NDArray[np.bool_], margin: int = 4
) -> NDArray[np.uint8]:
    """Label positions in which those of `hole` are what the nearest voxel of `source` is."""
    from scipy import ndimage

    if not hole.any() or not source.any():
        return positions
    (box,) = ndimage.find_objects(hole.astype(np.uint8))
    box = tuple(slice(max(0, part.start - margin), part.stop + margin) for part in box)
    nearest = ndimage.distance_transform_edt(~source[box], return_distances=False, return_indices=True)
    result = positions.copy()
    result[box] = np.where(hole[box], positions[box][tuple(nearest)], positions[box])
    return result


def _surfaces(
    tissue: NDArray[np.uint8], table: LabelTable
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int8]]:
    """`grown`, `shrunk` and `depth` of a head."""
    fluid = table.labels[tissue] == CSF
    brain = ~fluid & ~table.outside[tissue]
    if not fluid.any() or not brain.any():
        return tissue, tissue, np.zeros(tissue.shape, np.int8)
    depth, _ = layered_distance(brain)
    cortex = np.isin(table.labels[tissue], (*CORTEX, *CEREBELLAR_CORTEX))
    grown = _filled(tissue, fluid & (depth < 128 / DEPTH_STEPS), brain)
    shrunk = np.where(cortex, np.uint8(np.searchsorted(table.labels, CSF)), tissue)
    return grown, shrunk, np.rint(depth * DEPTH_STEPS).clip(-128, 127).astype(np.int8)


def _volumes(
    grown: NDArray[np.uint8], shrunk: NDArray[np.uint8], depth: NDArray[np.int8], table: LabelTable
) -> NDArray[np.float64]:
    is_brain = ~table.outside & (table.labels != CSF)
    step = depth.ravel().astype(np.int64) + 128
    within = np.bincount(step, weights=is_brain[grown].ravel(), minlength=256)
    beyond = np.bincount(step, weights=is_brain[shrunk].ravel(), minlength=256)
    # A voxel is `grown` where its depth lies below the surface's.
    below = np.concatenate([[0.0], np.cumsum(within)[:-1]])
    return (below + beyond.sum() - np.concatenate([[0.0], np.cumsum(beyond)[:-1]])) / 1000


def _give(tissue: NDArray[np.uint8], table: LabelTable, device: torch.device) -> Tensor:
    stiff = torch.from_numpy(np.isin(table.segmenter, STIFF)[tissue].astype(np.float32)).to(device)
    smooth = functional.avg_pool3d(stiff[None, None], 2)
    for _ in range(3):
        smooth = functional.avg_pool3d(smooth, 3, stride=1, padding=1)
    return 1 - (1 - GIVES_WAY) * smooth[0, 0]
