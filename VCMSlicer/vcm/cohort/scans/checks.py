"""Whether a scan, its segmentation and its pose belong together; what does not is refused with a sentence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vcm.anatomy.structures import GREY_MATTER, VENTRICLES, WHITE_MATTER
from vcm.cohort.scans.label_reading import LabelReading
from vcm.conditions.doctor.notebook import Notebook
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.judging.reference_head import Template, brain_of
from vcm.registration.pose import Pose
from vcm.volumes.brightness import brightness

TISSUES = {"white matter": WHITE_MATTER, "grey matter": GREY_MATTER, "fluid": VENTRICLES}
BRIGHTER = {
    "T1w": (("white matter", "grey matter"), ("white matter", "fluid")),
    "T2w": (("fluid", "grey matter"), ("grey matter", "white matter")),
    "FLAIR": (("grey matter", "fluid"), ("white matter", "fluid")),
}
"""Which tissue is brighter than which in a contrast; scans of another are not looked at."""
TISSUE, LITTLE = 0.05, 0.85
"""What is darker than this share of the bright percentile is air; at least so much of a brain must be brighter."""
POORLY, NOT_AT_ALL = 0.80, 0.70
"""Overlap (Dice) of a brain with the template's below which it is doubted, and refused."""
MOST_STRETCH = 1.5
"""An affine that stretches or presses by more than this has gone astray."""


def check_brain(labels: Volume, image: Volume, contrast: str, label_notes: Notebook, image_notes: Notebook) -> None:
    """Whether a segmentation lies on its image, and the image is of this contrast, judged by the labelled voxels."""
    brain = brain_of(labels.array)
    if not brain.any():
        label_notes.error("NO_BRAIN", f"{label_notes.who} labels no part of the brain.", "Segment the whole brain.")
        return
    if labels.grid.shape != image.grid.shape:
        label_notes.note(
            "ANOTHER_SIZE",
            f"{label_notes.who} has {_sizes(labels.grid)} voxels, its scan {_sizes(image.grid)}; each was put where "
            "its file says that it lies.",
            "Nothing needs to be done.",
        )
    found, inside = _looked_up(image, labels.grid, np.argwhere(brain))
    positive = image.array[image.array > 0].astype(np.float32)  # type: ignore[operator]
    bright = brightness(positive)
    on_tissue = float((found > TISSUE * bright).sum()) / len(inside)
    if on_tissue < LITTLE:
        label_notes.error(
            "ELSEWHERE",
            f"Only {on_tissue:.0%} of the brain in {label_notes.who} lies on tissue of its scan.",
            "Is it the segmentation of this scan, and were both saved with their place in space?",
        )
        return
    for brighter, darker in BRIGHTER.get(contrast, ()):
        above, below = (_median(image, labels, TISSUES[name]) for name in (brighter, darker))
        if above <= below:
            image_notes.error(
                "OTHER_CONTRAST",
                f"In {image_notes.who} the {brighter} is not brighter than the {darker} ({above:.3g} against "
                f"{below:.3g}), as it is in a {contrast} scan.",
                f"Give the {contrast} scan; check that the segmentation is its own.",
            )
            return


def check_sides(numbers: Volume, reading: LabelReading, notes: Notebook) -> None:
    """Whether what is labelled left lies left. Mirrored brains look right but teach wrong."""
    if not (reading.left and reading.right):
        return
    middles = [
        float(numbers.grid.to_world(np.argwhere(np.isin(numbers.array, sorted(side))).mean(axis=0))[0])
        for side in (reading.left, reading.right)
        if np.isin(numbers.array, sorted(side)).any()
    ]
    if len(middles) == 2 and middles[0] >= middles[1]:
        notes.error(
            "MIRRORED",
            f"In {notes.who} the structures labelled left lie {middles[0] - middles[1]:.0f} mm to the right of those "
            "labelled right: left and right are exchanged in its file.",
            "Save scan and segmentation again from the program that made them, with their orientation.",
        )


def check_pose(pose: Pose, labels: Volume, template: Template, notes: Notebook) -> float:
    """The overlap of a brain with the template's; too little means that the scan did not find its place."""
    own, theirs = brain_of(labels.array), template.brain
    overlap = 2 * float((own & theirs).sum()) / float(own.sum() + theirs.sum())
    low, high = pose.scales
    if high > MOST_STRETCH or low < 1 / MOST_STRETCH:
        notes.error(
            "STRETCHED",
            f"To lay {notes.who} on {template.source} it would have to be stretched by {low:.2f} to {high:.2f}.",
            "Try --registration rigid, or register it by other means and use --registration none.",
        )
    elif overlap < NOT_AT_ALL:
        notes.error(
            "NOT_REGISTERED",
            f"The brain of {notes.who} covers that of {template.source} with a Dice of {overlap:.2f} only: it "
            "did not find its place.",
            "Look at its orientation; without registration, try --registration rigid.",
        )
    elif overlap < POORLY:
        notes.warning(
            "POOR_OVERLAP",
            f"The brain of {notes.who} covers that of {template.source} with a Dice of {overlap:.2f}.",
            "Look at the case: is it tilted, or is the brain much smaller or larger than usual?",
        )
    return overlap


def _median(image: Volume, labels: Volume, value: int) -> float:
    """Of a structure's intensities; not a number where it is not there."""
    where = np.argwhere(labels.array == value)
    values = _looked_up(image, labels.grid, where)[0] if len(where) else np.array([])
    return float(np.median(values)) if len(values) else np.nan


def _looked_up(image: Volume, grid: Grid, voxels: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Intensities at voxels of another Grid where the image has some, and whether it has."""
    some = voxels[:: max(1, len(voxels) // 20000)]
    index = np.rint(image.grid.to_voxel(grid.to_world(some))).astype(int)
    inside = ((index >= 0) & (index < np.array(image.grid.shape))).all(axis=1)
    return image.array[tuple(index[inside].T)].astype(np.float32), np.asarray(inside)


def _sizes(grid: Grid) -> str:
    return " × ".join(str(n) for n in grid.shape)
