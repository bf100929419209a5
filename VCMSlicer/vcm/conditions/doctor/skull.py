"""Checks that an image of a skull shows one."""

from __future__ import annotations

import numpy as np

from vcm.anatomy.brain_hole import FAINT, brain_hole
from vcm.conditions.doctor.notebook import Notebook
from vcm.core.volume import Volume

TISSUE = 0.1
"""Bright is what has this part of the image's brightest voxels, so that the noise of air is not."""

LEAST_OF_A_HEAD = 0.34
"""The part of the model's field of view that is bright at least: heads fill 0.4 to 0.6 of it, brains 0.17 to 0.3."""


def check_skull(image: Volume, notes: Notebook) -> None:
    """Refuse an image on the model's Grid that shows no skull, and point out one that still has its brain."""
    array = np.asarray(image.array, np.float32)
    if brain_hole(array, image.grid).any():
        return
    seen = array[array > FAINT]
    bright = float((array > TISSUE * np.percentile(seen, 99)).mean()) if seen.size else 0.0
    if bright < LEAST_OF_A_HEAD:
        notes.error(
            "NO_SKULL",
            f"{notes.who} shows no skull: only {bright:.0%} of the model's field of view is bright, as in an image "
            "of a brain alone.",
            "Give the whole head with what lies inside the skull set to 0.",
        )
        return
    notes.warning(
        "BRAIN_NOT_REMOVED",
        f"{notes.who} has no empty space inside the skull, so the sample follows it loosely.",
        "Set what lies inside the skull to 0; in Slicer the panel does so from a scan and its segmentation.",
    )
