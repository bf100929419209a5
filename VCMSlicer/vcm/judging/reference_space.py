"""Does a backbone draw its brains where MNI space has them? Measured on its own images, in millimetres.

The affine published with BrainLDM puts the white matter of its images at (16, −41, −83) mm, outside any head. What a
pack says about its space is therefore checked on what it generates: structures are segmented and their centroids held
against those below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vcm.conditions import ClassSpec
from vcm.errors import Code, VcmError
from vcm.volume import Volume

Point = tuple[float, float, float]

REFERENCE_MM: Mapping[str, Point] = {
    "white matter": (0.3, -25.1, 12.8),
    "deep grey matter": (0.0, -7.2, 10.5),
    "hippocampus": (1.2, -11.0, -8.9),
    "amygdala": (0.9, 5.6, -3.3),
    "brain stem": (0.3, -10.0, -25.8),
}
"""Mean centroids (RAS, left and right together, cerebellar white matter included) of sixteen segmented heads whose
thalami lie at MNI's (0, −18, 8); they scatter by 0.6 to 3.9 mm from head to head."""

TOLERANCE_MM = 6.0
"""A pack whose images lie further off than this does not draw in MNI space."""


@dataclass(frozen=True)
class SpaceCheck:
    """How far images lie from MNI space: the mean shift, and each structure's own (found − expected)."""

    shift_mm: Point
    structures: Mapping[str, Point]

    @property
    def distance_mm(self) -> float:
        """The length of the mean shift."""
        return float(np.linalg.norm(self.shift_mm))

    @property
    def passed(self) -> bool:
        """Whether the images lie within `TOLERANCE_MM` of MNI space."""
        return self.distance_mm <= TOLERANCE_MM


def check_space(segmentation: Volume, classes: tuple[ClassSpec, ...]) -> SpaceCheck:
    """Hold the centroids of a segmented image against `REFERENCE_MM`; classes are matched by name.

    >>> from vcm.grid import Grid
    >>> array = np.zeros((3, 4, 5)); array[1, 2, 3] = 1
    >>> grid = Grid(array.shape, [[1, 0, 0, -0.7], [0, 1, 0, -24.1], [0, 0, 1, 9.8], [0, 0, 0, 1]])
    >>> check_space(Volume(array, grid), (ClassSpec(1, "white matter"),)).shift_mm
    (0.0, 3.0, 0.0)
    """
    found: dict[str, Point] = {}
    for spec in classes:
        voxels = np.argwhere(segmentation.array == spec.value)
        if spec.name in REFERENCE_MM and len(voxels):
            centre = segmentation.grid.to_world(voxels.mean(axis=0)) - np.asarray(REFERENCE_MM[spec.name])
            found[spec.name] = _rounded(centre)
    if not found:
        raise VcmError(
            Code.CONDITION,
            f"None of {', '.join(REFERENCE_MM)} was found in the image, so its place in MNI space cannot be measured.",
            "Is it a T1w head, and was the model trained?",
        )
    return SpaceCheck(_rounded(np.mean(list(found.values()), axis=0)), found)


def _rounded(point: np.ndarray) -> Point:
    x, y, z = (round(float(v), 1) + 0.0 for v in point)
    return x, y, z
