"""Structures by intensity alone: fluid of shapes that a segmenter does not recognise, and lesions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from vcm.anatomy.structures import FLUIDS, LESION, WHITE_MATTER
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.volumes.field_of_view import filled_box

REACH_MM = 4.0
"""How far beyond what was asked for fluid still counts as the structure's."""

FEWEST = 20
"""Voxels of a tissue that make a median."""

AROUND_MM = 2.0, 8.0
"""How far from a place the tissue around it begins and ends."""

CONTRAST = 3.0
"""How many times the tissue's own median deviation the two medians lie apart at least."""


@dataclass(frozen=True)
class ByIntensity:
    """What lies closer to the fluid's median than to that of the tissue around the structure."""

    found: NDArray[np.bool_]
    ml: float


def fluid_by_intensity(sample: Volume, requested: NDArray[np.bool_], segmentation: Volume) -> ByIntensity | None:
    """The fluid in a sample at and around a structure that was asked for; None where its medians cannot be had.

    The medians come from the sample itself, over the labels of its segmentation: all fluid, and the tissue that a voxel
    is taken for, or else that the structure borders on most. Fluid counts up to `REACH_MM` beyond the structure, where
    it hangs together with it.
    """
    from scipy import ndimage

    apart = _distances(requested, sample.grid, REACH_MM)
    if apart is None:
        return None
    reach = apart <= REACH_MM
    image, labels = np.asarray(sample.array, np.float64), np.asarray(segmentation.array)
    around = labels[reach & ~requested]
    around = around[(around != 0) & ~np.isin(around, (*FLUIDS, LESION))]  # a dark ball may be taken for a lesion
    fluid = image[np.isin(labels, FLUIDS)]
    if fluid.size < FEWEST or around.size < FEWEST:
        return None
    tissue = image[labels == np.bincount(around).argmax()]
    wet, dry = float(np.median(fluid)), float(np.median(tissue))
    if abs(wet - dry) <= CONTRAST * float(np.median(np.abs(tissue - dry))):
        return None
    # A voxel of a darker tissue, such as the caudate nucleus, is held against that tissue's own median.
    own = np.full(image.shape, dry)
    for value, count in zip(*np.unique(around, return_counts=True), strict=True):
        if count >= FEWEST:
            own[labels == value] = np.median(image[labels == value])
    candidates, _ = ndimage.label(reach & (np.abs(image - wet) < np.abs(image - own)))
    touching = np.unique(candidates[requested])
    found: NDArray[np.bool_] = np.isin(candidates, touching[touching > 0])
    return ByIntensity(found, int(found.sum()) * sample.grid.voxel_ml)


def local_contrast(sample: Volume, place: NDArray[np.bool_], segmentation: Volume) -> float | None:
    """How much brighter a place is than the tissue around it, negative where it is darker, as a share of white matter's
    intensity; None where there is no such tissue.

    All three are medians over the sample itself; fluid and what the segmentation takes for lesions are no tissue.
    """
    apart = _distances(place, sample.grid, AROUND_MM[1])
    if apart is None:
        return None
    image, labels = np.asarray(sample.array, np.float64), np.asarray(segmentation.array)
    tissue = (labels != 0) & ~np.isin(labels, (*FLUIDS, LESION))
    around, white = image[tissue & (apart >= AROUND_MM[0]) & (apart <= AROUND_MM[1])], image[labels == WHITE_MATTER]
    if around.size < FEWEST or white.size < FEWEST or not (bright := float(np.median(white))) > 0:
        return None
    return float(np.median(image[place]) - np.median(around)) / bright


def tissue_order(sample: Volume, real: Volume, tissues: Sequence[NDArray[np.bool_]]) -> float | None:
    """The share of the pairs of tissues that are in the sample, by their medians, in the order of a real image of the
    same places; None where a tissue has too few voxels."""
    if any(np.count_nonzero(place) < FEWEST for place in tissues):
        return None
    arrays = (np.asarray(image.array, np.float64) for image in (sample, real))
    ours, theirs = ([float(np.median(array[place])) for place in tissues] for array in arrays)
    pairs = list(combinations(range(len(tissues)), 2))
    alike = [np.sign(ours[a] - ours[b]) == np.sign(theirs[a] - theirs[b]) for a, b in pairs]
    return float(np.mean(alike))


def _distances(place: NDArray[np.bool_], grid: Grid, reach_mm: float) -> NDArray[np.float64] | None:
    """Millimetres from a place, infinite well beyond `reach_mm`; None where there is none."""
    from scipy import ndimage

    box = filled_box(place)
    if box is None:
        return None
    margins = [math.ceil(reach_mm / step) for step in grid.spacing]
    near = tuple(slice(max(0, side.start - m), side.stop + m) for side, m in zip(box, margins, strict=True))
    apart = np.full(place.shape, np.inf)
    apart[near] = ndimage.distance_transform_edt(~place[near], sampling=grid.spacing)
    return apart
