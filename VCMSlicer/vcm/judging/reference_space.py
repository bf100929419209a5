"""Does a backbone draw its brains where MNI space has them? Measured on its own images, in millimetres.

The affine published with BrainLDM puts the white matter of its images at (16, −41, −83) mm, outside any head. What a
pack says about its space is therefore checked on what it generates: structures are segmented and their centroids held
against those below, for how far they are off and how they are turned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vcm.conditions.condition import ClassSpec
from vcm.core.errors import Code, VcmError
from vcm.core.volume import Volume

Point = tuple[float, float, float]

REFERENCE_MM: Mapping[str, Point] = {
    "white matter": (0.8, -19.9, 14.0),
    "deep grey matter": (0.1, -6.5, 1.7),
    "hippocampus": (1.3, -20.8, -11.9),
    "amygdala": (0.8, -4.0, -16.9),
    "brain stem": (0.5, -29.7, -26.5),
    "third and fourth ventricle": (0.3, -27.5, -15.6),
}
"""Mean centroids (RAS, left and right together, cerebellar white matter included) of sixteen segmented heads that were
brought as a group, rigidly, onto the ICBM 152 average brain; they scatter by 0.5 to 3.8 mm from head to head. They lie
up to 50 mm apart, so a head that is turned shows, even about a point in its middle."""

TOLERANCE_MM, TOLERANCE_DEGREES = 6.0, 10.0
"""A pack whose images lie further off than this, or are turned by more, does not draw in MNI space."""
LEAST_FOR_A_TURN = 4
"""Structures from which a rotation can be measured."""


@dataclass(frozen=True)
class SpaceCheck:
    """How far images lie from MNI space: the mean shift, each structure's own (found − expected), and by how much they
    are turned, None where too few structures were found."""

    shift_mm: Point
    structures: Mapping[str, Point]
    degrees: float | None
    turn_axis: Point | None

    @property
    def distance_mm(self) -> float:
        """The length of the mean shift."""
        return float(np.linalg.norm(self.shift_mm))

    @property
    def passed(self) -> bool:
        """Whether the images lie within the tolerances of MNI space."""
        turned = self.degrees is None or self.degrees > TOLERANCE_DEGREES
        return self.distance_mm <= TOLERANCE_MM and not turned


def check_space(segmentations: Sequence[Volume], classes: tuple[ClassSpec, ...]) -> SpaceCheck:
    """Hold the centroids of segmented images against `REFERENCE_MM`; classes are matched by name.

    Of several images the median of each centroid counts: single heads are turned by chance, by 8 to 17° as measured
    here, and a segmenter may miss a structure in one.

    >>> from vcm.core.grid import Grid
    >>> array = np.zeros((3, 4, 5)); array[1, 2, 3] = 1
    >>> grid = Grid(array.shape, [[1, 0, 0, -0.2], [0, 1, 0, -18.9], [0, 0, 1, 11.0], [0, 0, 0, 1]])
    >>> check_space([Volume(array, grid)], (ClassSpec(1, "white matter"),)).shift_mm
    (0.0, 3.0, 0.0)
    """
    places: dict[str, list[NDArray[np.float64]]] = {}
    for segmentation in segmentations:
        for spec in classes:
            voxels = np.argwhere(segmentation.array == spec.value)
            if spec.name in REFERENCE_MM and len(voxels):
                places.setdefault(spec.name, []).append(segmentation.grid.to_world(voxels.mean(axis=0)))
    found = {name: np.median(each, axis=0) for name, each in places.items()}
    if not found:
        raise VcmError(
            Code.CONDITION,
            f"None of {', '.join(REFERENCE_MM)} was found in the image, so its place in MNI space cannot be measured.",
            "Is it a head, and was the model trained?",
        )
    expected = {name: np.asarray(REFERENCE_MM[name]) for name in found}
    shifts = {name: place - expected[name] for name, place in found.items()}
    degrees, axis = None, None
    if len(found) >= LEAST_FOR_A_TURN:
        degrees, axis = _turn(np.array(list(expected.values())), np.array(list(found.values())))
    mean = _rounded(np.mean(list(shifts.values()), axis=0))
    return SpaceCheck(mean, {name: _rounded(shift) for name, shift in shifts.items()}, degrees, axis)


def _turn(expected: NDArray[np.float64], found: NDArray[np.float64]) -> tuple[float, Point]:
    """By how many degrees, and about which axis, points have to be turned to lie best on others (Kabsch 1976)."""
    left, _, right = np.linalg.svd((expected - expected.mean(axis=0)).T @ (found - found.mean(axis=0)))
    turn = (left @ np.diag([1, 1, np.sign(np.linalg.det(left @ right))]) @ right).T
    degrees = float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))
    axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    length = float(np.linalg.norm(axis))
    return round(degrees, 1), _rounded(axis / length if length else axis)


def _rounded(point: np.ndarray) -> Point:
    x, y, z = (round(float(v), 1) + 0.0 for v in point)
    return x, y, z
