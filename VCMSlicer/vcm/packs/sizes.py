"""Grids by rule: which sizes and spacings a backbone makes beside its own grid."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid

WORLD = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}
"""The direction of the patient, x, y or z, that a letter of an orientation names."""


@dataclass(frozen=True)
class SizeRule:
    """Sides are multiples of `multiple` voxels and at most `most` long; voxels measure from `spacing[0]` to
    `spacing[1]` mm."""

    multiple: int
    most: int
    spacing: tuple[float, float]

    @property
    def words(self) -> str:
        """The rule, for people."""
        low, high = self.spacing
        return (
            f"multiples of {self.multiple} voxels up to {self.most}"
            + (f", of {low:g} to {high:g} mm" if low < high else f", of {low:g} mm")
        )  # fmt: skip

    def grid(self, own: Grid, size: str | None, spacing: str | None) -> Grid:
        """The grid of `size` voxels of `spacing` mm with the middle and the directions of a model's `own`.

        Both are texts such as `192x224x192` or `1`, for all three directions: from left to right, from back to front
        and from foot to head, whichever way the grid's axes run.

        >>> rule = SizeRule(16, 512, (0.5, 2.0))
        >>> own = Grid((32, 48, 64), [[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
        >>> own.orientation, rule.grid(own, "96x64x32", None).shape, rule.grid(own, None, "1x2x0.5").spacing
        ('SRA', (32, 96, 64), (0.5, 1.0, 2.0))
        """
        axes = [WORLD[letter] for letter in own.orientation]
        shape = [int(_numbers(size, "size", r"\d{1,5}")[axis]) for axis in axes] if size else list(own.shape)
        steps = (
            [_numbers(spacing, "spacing", r"\d{1,3}(\.\d{1,6})?")[axis] for axis in axes] if spacing else own.spacing
        )
        if any(n % self.multiple or not 0 < n <= self.most for n in shape):
            shown = " × ".join(str(shape[axes.index(world)]) for world in range(3))
            raise VcmError(
                Code.BAD_REQUEST,
                f"This model makes sizes of {self.words}, not {shown} voxels.",
                f"Choose multiples of {self.multiple}.",
            )
        low, high = self.spacing
        if spacing and not all(low - 1e-6 <= step <= high + 1e-6 for step in steps):
            raise VcmError(Code.BAD_REQUEST, f"This model makes voxels of {low:g} to {high:g} mm, not {spacing}.")
        affine = np.eye(4)
        affine[:3, :3] = own.affine[:3, :3] / np.array(own.spacing) * np.array(steps)
        affine[:3, 3] = own.centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
        return Grid(shape, affine)


def _numbers(text: str, name: str, number: str) -> list[float]:
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) not in (1, 3) or not all(re.fullmatch(number, part.strip()) for part in parts):
        raise VcmError(
            Code.BAD_REQUEST, f"The {name} must be one number or three like 192x224x192, not {text!r}."
        )  # fmt: skip
    found = [float(part) for part in parts]
    if not all(math.isfinite(value) and value > 0 for value in found):
        raise VcmError(Code.BAD_REQUEST, f"The {name} must be above 0, not {text!r}.")
    return found * (3 // len(found))
