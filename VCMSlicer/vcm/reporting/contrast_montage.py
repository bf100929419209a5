"""One picture of one layout in several contrasts: the condition, then each of them under its name, in three planes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from vcm.conditions.condition import Condition
from vcm.core.volume import Volume
from vcm.judging.alignment import Alignment
from vcm.reporting.montage import CELL, SIDES, Headed, completed_column, laid_out, scores_of, sizes_of
from vcm.reporting.montage_columns import Columns
from vcm.reporting.planes import Plane
from vcm.reporting.score_table import Line
from vcm.reporting.slice_pictures import Picture


class ContrastMontage:
    """Collects the Samples of a layout, one after the other; of all but the first it keeps their slices alone."""

    def __init__(self, conditions: Sequence[Condition]) -> None:
        self.names: list[str] = []
        self._conditions = conditions
        self._first: Columns | None = None
        self._headed: list[Headed] = []
        self._lines: list[Line] = []
        self._judge = ""

    def add(
        self,
        name: str,
        sample: Volume,
        alignment: Alignment | None = None,
        twin: Alignment | None = None,
        completed: Volume | None = None,
    ) -> None:
        """Take up the Sample of a contrast, its Alignment and that of its twin without control; the head that a layout
        completed is the same for all."""
        columns = Columns(self._conditions, sample, completed=completed)
        if self._first is None:
            self._first = columns
            self._headed = [("Condition", "", columns.condition)] if self._conditions else []
            self._headed += completed_column(columns)
        sizes = sizes_of(columns.grid, CELL)
        drawn = {plane: columns.beside(plane, index, sizes[plane]) for plane, index in columns.slices().items()}
        self._headed.append((name, "", _Drawn(drawn)))
        lines = scores_of(columns, self._conditions, alignment, twin)
        self._lines += [replace(line, name=f"{name} {line.name}") for line in lines]
        self._judge = self._judge or (alignment.judge if alignment else "")
        self.names.append(name)

    def picture(self, title: str, subtitle: str = "") -> Image.Image:
        """The Samples beside each other on the same slices, each in its own greys, with the scores of each."""
        assert self._first is not None
        said = ["each contrast in its own greys", SIDES, *([f"measured by {self._judge}"] if self._judge else [])]
        return laid_out(self._first, self._headed, self._lines, said, title, subtitle)


class _Drawn:
    """Slices that were drawn before, called as what draws them is."""

    def __init__(self, pictures: dict[Plane, Picture]) -> None:
        self._pictures = pictures

    def __call__(self, plane: Plane, _index: int, _size: tuple[int, int]) -> Picture:
        return self._pictures[plane]
