"""What stands in the columns of a montage: condition, controlled and uncontrolled image, and their difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vcm.conditions.condition import Condition, Kind
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.reporting.planes import PLANES, Plane, facing_viewer, telling_slice
from vcm.reporting.slice_pictures import Colour, Picture, Window, grey, outline, signed, tint

STRUCTURE_COLOURS: tuple[Colour, ...] = (
    (84, 232, 164), (255, 110, 196), (250, 216, 72), (96, 196, 255), (186, 148, 255),
    (255, 150, 84), (178, 228, 74), (70, 220, 214), (255, 118, 118), (222, 196, 160),
)  # fmt: skip

COMPLETED_COLOURS: tuple[Colour, ...] = (
    (226, 222, 208), (168, 138, 128), (116, 92, 140), (64, 150, 200), (204, 168, 84),
    (188, 106, 92), (96, 158, 118), (52, 70, 96), (150, 150, 158), (214, 96, 150),
)  # fmt: skip
"""Of the labels 1, 2, …, quieter than what was drawn, whose outlines lie over them."""

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True, eq=False)
class Structure:
    """One class of a condition as it is drawn: its mask, facing the viewer, and its colour."""

    condition: str
    name: str
    mask: NDArray[np.bool_]
    colour: Colour


class Columns:
    """Draws any slice of a Sample's montage; all its Volumes lie on one Grid, of any orientation."""

    def __init__(
        self,
        conditions: Sequence[Condition],
        controlled: Volume,
        uncontrolled: Volume | None = None,
        completed: Volume | None = None,
    ) -> None:
        facing = facing_viewer(controlled)
        self.grid: Grid = facing.grid
        self.structures = structures_of(conditions)
        self._controlled = facing.array
        self._uncontrolled = facing_viewer(uncontrolled).array if uncontrolled else None
        self._completed = facing_viewer(completed).array if completed else None
        images = [c.volume for c in conditions if c.spec.kind is Kind.IMAGE]
        self._image_condition: NDArray[Any] | None = facing_viewer(images[0]).array if images else None
        shown = [self._controlled] if self._uncontrolled is None else [self._controlled, self._uncontrolled]
        self.window = Window.joint(shown)

    def slices(self) -> dict[Plane, int]:
        """The most informative slice of each plane for the condition with the smallest structures."""
        names = dict.fromkeys(structure.condition for structure in self.structures)
        focuses = [
            np.logical_or.reduce([structure.mask for structure in self.structures if structure.condition == name])
            for name in names
        ]
        focuses = [focus for focus in focuses if focus.any()]
        if focuses:
            focus = min(focuses, key=np.count_nonzero)
        elif self._image_condition is not None:
            focus = self._image_condition > 0
        else:
            focus = np.zeros(self.grid.shape, bool)
        return {plane: telling_slice(focus, plane) for plane in PLANES}

    def condition(self, plane: Plane, index: int, size: Size) -> Picture:
        """The structures over the image condition or, without one, over the dimmed controlled image."""
        behind, brightness = (self._controlled, 0.45) if self._image_condition is None else (self._image_condition, 1.0)
        picture = grey(plane.cut(behind, index), self.window, size, brightness)
        for structure in self._largest_first:
            picture = tint(picture, plane.cut(structure.mask, index), structure.colour, 0.45)
        return self._outlined(picture, plane, index)

    def completed(self, plane: Plane, index: int, size: Size) -> Picture:
        """The head that a layout completed, each label in a colour, with the outlines of what was drawn."""
        assert self._completed is not None
        labels = plane.cut(self._completed, index)
        picture = np.zeros((size[1], size[0], 3), np.float32)
        for value in np.unique(labels[labels > 0]):
            colour = COMPLETED_COLOURS[(int(value) - 1) % len(COMPLETED_COLOURS)]
            picture = tint(picture, labels == value, colour, 0.9)
        return self._outlined(picture, plane, index)

    def controlled(self, plane: Plane, index: int, size: Size) -> Picture:
        """The Sample with the outlines it was asked to follow."""
        return self._outlined(grey(plane.cut(self._controlled, index), self.window, size), plane, index)

    def beside(self, plane: Plane, index: int, size: Size) -> Picture:
        """The Sample beside others; outlined where the outlines are few enough to leave it readable."""
        if self._few:
            return self.controlled(plane, index, size)
        return grey(plane.cut(self._controlled, index), self.window, size)

    def uncontrolled(self, plane: Plane, index: int, size: Size) -> Picture:
        """The twin with the outlines it never saw."""
        assert self._uncontrolled is not None
        return self._outlined(grey(plane.cut(self._uncontrolled, index), self.window, size), plane, index)

    def difference(self, plane: Plane, index: int, size: Size) -> Picture:
        """Controlled minus uncontrolled; outlined where the outlines are few enough to leave it readable."""
        picture = signed(plane.cut(self._change, index), self.limit, size)
        return self._outlined(picture, plane, index) if self._few else picture

    @property
    def _few(self) -> bool:
        return len(self.structures) <= 3

    @property
    def was_completed(self) -> bool:
        """Whether a layout completed what was drawn to a whole head."""
        return self._completed is not None

    @property
    def compared(self) -> bool:
        """Whether there is an uncontrolled twin."""
        return self._uncontrolled is not None

    @cached_property
    def limit(self) -> float:
        """The difference shown in full colour: the 99.5th percentile, at least 0.01."""
        return max(float(np.percentile(np.abs(self._change), 99.5)), 0.01)

    @cached_property
    def _change(self) -> NDArray[np.float32]:
        assert self._uncontrolled is not None
        return self._controlled.astype(np.float32) - self._uncontrolled.astype(np.float32)

    @cached_property
    def _largest_first(self) -> list[Structure]:
        """So that a structure inside another is painted over it."""
        return sorted(self.structures, key=lambda structure: -np.count_nonzero(structure.mask))

    def _outlined(self, picture: Picture, plane: Plane, index: int) -> Picture:
        for structure in self._largest_first:
            picture = outline(picture, plane.cut(structure.mask, index), structure.colour, seam=self._few)
        return picture


def structures_of(conditions: Sequence[Condition]) -> tuple[Structure, ...]:
    """The classes of all masks and label maps, each in a colour of its own."""
    found: list[Structure] = []
    for condition in conditions:
        for spec in condition.spec.classes if condition.spec.kind is not Kind.IMAGE else ():
            mask = facing_viewer(Volume(condition.structure(spec.name), condition.volume.grid)).array.astype(bool)
            colour = STRUCTURE_COLOURS[len(found) % len(STRUCTURE_COLOURS)]
            found.append(Structure(condition.spec.name, spec.name, mask, colour))
    return tuple(found)
