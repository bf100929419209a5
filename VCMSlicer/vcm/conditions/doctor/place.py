"""Checks where an input lies: orientation, field of view, spacing, tilt."""

from __future__ import annotations

import numpy as np

from vcm.conditions.doctor.notebook import Notebook
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.volumes.volume_files import VolumeFile

COARSE = 2.5
TILTED_DEGREES = 1.0
MOST_OF_AN_IMAGE = 0.7
PART_OF_A_MASK = 0.5
# What programs write when they do not know where the voxels lie: 1 mm, from 0, along RAS or LPS.
NEVER_SET = (np.eye(4), np.diag([-1.0, -1.0, 1.0, 1.0]))
TOWARDS = {
    "R": "the right", "L": "the left", "A": "the front", "P": "the back", "S": "the top", "I": "the bottom",
}  # fmt: skip


def placed(file: VolumeFile | Volume, grid: Grid, notes: Notebook) -> Volume:
    """The input's Volume; where its file does not say how it lies, the likeliest place is taken and reported."""
    if isinstance(file, Volume):
        return file
    volume = file.volume
    if file.forms_disagree:
        notes.warning(
            "TWO_PLACES",
            f"{notes.who} gives two different places for its voxels (sform and qform); the sform was used.",
            "Look at what the model sees; if it lies wrong, save the image again with one of them.",
        )
    never_set = any(np.allclose(volume.grid.affine, unset, atol=1e-6) for unset in NEVER_SET)
    if file.has_orientation and not never_set:
        return volume
    if volume.grid.shape == grid.shape:
        taken = "as it has the model's size, it was taken to lie exactly on the model's grid"
        volume = Volume(volume.array, grid)
    else:
        first, second, third = (TOWARDS[letter] for letter in volume.grid.orientation)
        taken = f"its axes were taken to run to {first}, {second} and {third}"
    notes.warning(
        "NO_ORIENTATION",
        f"{notes.who} does not say how it lies in the head; {taken}.",
        "Look at what the model sees; the image does not show which side is left. Save it with its orientation.",
    )
    return volume


def check_place(volume: Volume, grid: Grid, notes: Notebook, *, is_image: bool) -> None:
    """Report how the input's own grid differs from the model's; no overlap at all is an error."""
    own = volume.grid
    covered = covered_share(own, grid)
    if covered == 0:
        far = float(np.linalg.norm(own.centre - grid.centre))
        notes.error(
            "NO_OVERLAP",
            f"{notes.who} lies entirely outside the model's field of view: their centres are {far:.0f} mm apart.",
            "Register the scan that it was drawn on (vcm register), and apply the same transform to it.",
        )
        return
    if own.orientation != grid.orientation:
        notes.note(
            "REORIENTED",
            f"{notes.who} lies in orientation {own.orientation}, the model's grid in {grid.orientation}; it was "
            "reoriented.",
            "Nothing needs to be done.",
        )
    if own.obliqueness > TILTED_DEGREES:
        notes.note(
            "OBLIQUE",
            f"{notes.who} is tilted by {own.obliqueness:.0f}° against the axes of the head; it was resampled.",
            "Nothing needs to be done, though thin parts may change by a voxel.",
        )
    if max(own.spacing) > COARSE * max(grid.spacing):
        notes.warning(
            "COARSE",
            f"{notes.who} has voxels of {max(own.spacing):.1f} mm, far coarser than the model's {max(grid.spacing):g} "
            "mm; its outlines will be steps.",
            "Use a finer scan or segmentation, or smooth the segmentation after resampling it in Slicer.",
        )
    if covered < (MOST_OF_AN_IMAGE if is_image else PART_OF_A_MASK):
        # A segmentation is often saved cut to its structures; an image of a small region is rarely meant.
        report = notes.warning if is_image else notes.note
        report(
            "SMALL_FIELD_OF_VIEW",
            f"{notes.who} covers {covered:.0%} of the model's field of view; the rest counts as 0.",
            "Nothing needs to be done unless a part of the head is cut off.",
        )


def covered_share(own: Grid, grid: Grid, points: int = 48) -> float:
    """The share of the field of view of `grid` that `own` covers, 0–1, from a raster of points; 0 means none of it."""
    axes = [np.linspace(-0.5, n - 0.5, 2 * min(n, points) + 1)[1::2] for n in grid.shape]
    inside = _inside(own, grid.to_world(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)))
    if inside.any():
        return float(inside.mean())
    # A small input may lie between the points: ask whether any of its own voxels lies in the grid.
    axes = [np.linspace(-0.5, n - 0.5, 2 * min(n, points) + 1)[1::2] for n in own.shape]
    own_inside = _inside(grid, own.to_world(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)))
    return float(own_inside.mean() * np.prod(own.shape) * own.voxel_ml / (np.prod(grid.shape) * grid.voxel_ml))


def _inside(grid: Grid, world: np.ndarray) -> np.ndarray:
    index = grid.to_voxel(world)
    return np.asarray(((index >= -0.5) & (index <= np.asarray(grid.shape) - 0.5)).all(axis=-1))
