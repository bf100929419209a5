"""What is made of a scan on the backbone's Grid: the image in 0–1, and the image without what lies inside the skull."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from vcm.anatomy.structures import EXTRAVENTRICULAR_CSF
from vcm.conditions.doctor.intensities import examine_image
from vcm.conditions.doctor.notebook import Notebook
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.volumes.brightness import BRIGHT_PERCENTILE, brightness

FURROW_MM = 8.0
"""Gaps and furrows up to twice as wide are closed, to find what lies inside the skull."""


def normalised(image: Volume, grid: Grid, notes: Notebook, whole_scan: bool = False) -> Volume | None:
    """The scan on the Grid in 0–1: 0 stays 0, and the 99.5th percentile of the field of view becomes 1.

    So the heads are scaled that are made from label maps. The paper clips at 0 and 255 and divides by 255.
    With `whole_scan` the smallest intensity becomes 0, the 99.5th percentile is the whole scan's, and nothing is cut
    off above it.
    """
    array = image.array.astype(np.float32)
    low, high = float(array.min()) if whole_scan else 0.0, float(array.max())
    # Scaled beforehand, so that no scale of intensities is taken for one of 0 to 1.
    unit = Volume((array - low) / (high - low) if high > low else array, image.grid)
    seen = examine_image(unit, grid, notes)
    if seen is None:
        return None
    found = seen.array.astype(np.float32)
    bright = brightness(unit.array if whole_scan else found)
    if bright <= 0:
        whose = "its own" if whole_scan else "the model's"
        notes.error(
            "EMPTY",
            f"{notes.who} fills less than half a percent of {whose} field of view.",
            "Check that it shows a whole brain.",
        )
        return None
    if whole_scan:
        notes.note(
            "RESCALED",
            f"{notes.who} was scaled so that {low:g} became 0 and {low + bright * (high - low):g}, the "
            f"{BRIGHT_PERCENTILE:g}th percentile of the whole scan, 1; brighter values stay above 1.",
            "Nothing needs to be done.",
        )
        return Volume(found / np.float32(bright), grid)
    notes.note(
        "RESCALED",
        f"{notes.who} was scaled so that {bright * high:g}, its {BRIGHT_PERCENTILE:g}th percentile, became 1, and what "
        "is brighter was cut off there.",
        "Nothing needs to be done.",
    )
    return Volume((found / bright).clip(0, 1), grid)


def skull_image(image: Volume, labels: Volume) -> Volume:
    """The image without what lies inside the skull.

    Inside is what is labelled, with its gaps and furrows closed. Where the segmentation leaves out the CSF around the
    brain, the space up to the skull is one voxel more.
    """
    spacing = labels.grid.spacing
    array = labels.array
    # Closing works within the volume only where there is room around what is closed.
    room = [int(np.ceil(FURROW_MM / mm)) + 1 for mm in spacing]
    padded = np.pad(array != 0, [(n, n) for n in room])
    closed = sitk.BinaryMorphologicalClosing(_binary(padded), [n - 1 for n in room])
    inside = sitk.BinaryFillhole(closed)
    if (array == EXTRAVENTRICULAR_CSF).sum() < 0.05 * (array != 0).sum():
        inside = sitk.BinaryDilate(inside, [1, 1, 1])
    within = sitk.GetArrayFromImage(inside).T.astype(bool)[tuple(slice(n, -n) for n in room)]
    return Volume(np.where(within, 0, image.array).astype(np.float32), image.grid)


def _binary(mask: NDArray[np.bool_]) -> sitk.Image:
    return sitk.GetImageFromArray(mask.astype(np.uint8).T)
