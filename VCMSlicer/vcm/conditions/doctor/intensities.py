"""Checks an image condition and brings it to intensities of 0–1 on the model's Grid."""

from __future__ import annotations

import numpy as np

from vcm.conditions.doctor.notebook import Notebook
from vcm.conditions.doctor.place import check_place
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.volumes.brightness import BRIGHT_PERCENTILE, brightness
from vcm.volumes.resampling import resample_image

# Interpolation overshoots a little; that is no other scale of intensities.
OVERSHOOT = 0.05


def examine_image(volume: Volume, grid: Grid, notes: Notebook) -> Volume | None:
    """The image on the model's Grid in 0–1, or None where an error was found."""
    if not check_finite(volume, notes):
        return None
    low, high = float(volume.array.min()), float(volume.array.max())
    if low == high:
        notes.error(
            "CONSTANT",
            f"{notes.who} has the same intensity {low:g} everywhere; an image with contrast is expected.",
            "Check that the right file was chosen.",
        )
        return None
    if ((volume.array == low) | (volume.array == high)).all():
        notes.warning(
            "TWO_VALUES",
            f"{notes.who} holds two values alone, {low:g} and {high:g}, like a mask; an image with shades is expected.",
            "Check that the right file was chosen.",
        )
    check_place(volume, grid, notes, is_image=True)
    if notes.failed:
        return None
    array = _scaled(volume.array.astype(np.float32), low, high, notes)
    result = resample_image(Volume(array, volume.grid), grid)
    if not result.array.any():
        notes.error(
            "EMPTY",
            f"{notes.who} is 0 everywhere within the model's field of view.",
            "Check that it is aligned with the head, in MNI space.",
        )
        return None
    return Volume(result.array.astype(np.float32), grid)


def check_finite(volume: Volume, notes: Notebook) -> bool:
    """Whether every voxel is a finite number; those that are not are counted in an error."""
    if volume.array.dtype.kind in "iub":
        return True
    bad = volume.array.size - int(np.isfinite(volume.array).sum())
    if bad:
        notes.error(
            "NOT_A_NUMBER",
            f"{notes.who} holds {bad:,} voxels that are not a number (NaN or infinite).",
            "Replace them by 0 and save it again.",
        )
    return not bad


def _scaled(array: np.ndarray, low: float, high: float, notes: Notebook) -> np.ndarray:
    if low < 0:
        negative = int((array < 0).sum())
        notes.warning(
            "NEGATIVE",
            f"{notes.who} holds {negative:,} negative voxels, down to {low:g}; they were set to 0.",
            "Give an image whose background is 0 and whose tissue is brighter.",
        )
        array = array.clip(min=0)
    if high > 1 + OVERSHOOT:
        bright = brightness(array[array > 0])
        notes.note(
            "RESCALED",
            f"{notes.who} reaches an intensity of {high:g}; it was scaled so that {bright:g}, its "
            f"{BRIGHT_PERCENTILE:g}th percentile, became 1, and what is brighter was cut off there.",
            "Nothing needs to be done; give intensities of 0 to 1 to have them kept.",
        )
        array = array / np.float32(bright)
    return array.clip(0, 1)
