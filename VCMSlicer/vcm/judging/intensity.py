"""A structure of fluid by intensity alone, for shapes that a segmenter does not recognise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vcm.anatomy.structures import FLUIDS
from vcm.core.volume import Volume
from vcm.volumes.field_of_view import filled_box

REACH_MM = 4.0
"""How far beyond what was asked for fluid still counts as the structure's."""

FEWEST = 20
"""Voxels of a tissue that make a median."""

CONTRAST = 3.0
"""How many times the tissue's own median deviation the two medians lie apart at least."""


@dataclass(frozen=True)
class ByIntensity:
    """What lies closer to the fluid's median than to that of the tissue around the structure."""

    found: NDArray[np.bool_]
    ml: float


def fluid_by_intensity(sample: Volume, requested: NDArray[np.bool_], segmentation: Volume) -> ByIntensity | None:
    """The fluid in a sample at and around a structure that was asked for; None where its medians cannot be had.

    Both medians come from the sample itself, over the labels of its segmentation: all fluid, and the tissue that the
    structure borders on most. Fluid counts up to `REACH_MM` beyond the structure, where it hangs together with it.
    """
    from scipy import ndimage

    box = filled_box(requested)
    if box is None:
        return None
    margins = [math.ceil(REACH_MM / step) for step in sample.grid.spacing]
    near = tuple(slice(max(0, side.start - m), side.stop + m) for side, m in zip(box, margins, strict=True))
    reach = np.zeros(requested.shape, bool)
    reach[near] = ndimage.distance_transform_edt(~requested[near], sampling=sample.grid.spacing) <= REACH_MM
    image, labels = np.asarray(sample.array, np.float64), np.asarray(segmentation.array)
    around = labels[reach & ~requested]
    around = around[(around != 0) & ~np.isin(around, FLUIDS)]
    fluid = image[np.isin(labels, FLUIDS)]
    if fluid.size < FEWEST or around.size < FEWEST:
        return None
    tissue = image[labels == np.bincount(around).argmax()]
    wet, dry = float(np.median(fluid)), float(np.median(tissue))
    if abs(wet - dry) <= CONTRAST * float(np.median(np.abs(tissue - dry))):
        return None
    candidates, _ = ndimage.label(reach & (np.abs(image - wet) < np.abs(image - dry)))
    touching = np.unique(candidates[requested])
    found: NDArray[np.bool_] = np.isin(candidates, touching[touching > 0])
    return ByIntensity(found, int(found.sum()) * sample.grid.voxel_ml)
