"""Charts in the style of the montages: a dark canvas, thin axes, and what is measured in colour with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from PIL import Image, ImageDraw

from vcm.reporting.lettering import BRIGHT, DIM, PLAIN, Colour, write

CANVAS: Colour = (17, 19, 24)
PANEL: Colour = (24, 27, 34)
GRID_LINE: Colour = (46, 51, 62)
FINE = 2
"""Everything is drawn this many times larger and then reduced, for smooth lines."""


@dataclass(frozen=True)
class Axis:
    """A scale from `low` to `high`, linear or logarithmic, with the values to be marked."""

    low: float
    high: float
    marks: tuple[float, ...]
    logarithmic: bool = False

    @classmethod
    def around(cls, values: Sequence[float], *, at_least: tuple[float, float] | None = None) -> Axis:
        """A linear axis with round marks that holds all values.

        >>> Axis.around([12.0, 83.0]).marks
        (0.0, 20.0, 40.0, 60.0, 80.0, 100.0)
        """
        low, high = min(values, default=0.0), max(values, default=1.0)
        if at_least:
            low, high = min(low, at_least[0]), max(high, at_least[1])
        if not high > low:
            low, high = low - 0.5, high + 0.5
        step = _round_step((high - low) / 4)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        marks = tuple(round(n * step, 10) for n in range(first, last + 1))
        return cls(marks[0], marks[-1], marks)

    @classmethod
    def powers(cls, values: Sequence[float]) -> Axis:
        """A logarithmic axis that marks the values themselves."""
        return cls(min(values) / 1.5, max(values) * 1.5, tuple(sorted(set(values))), logarithmic=True)

    def share(self, value: float) -> float:
        """How far along the axis a value lies, 0 to 1.

        >>> Axis(1, 100, (), logarithmic=True).share(10)
        0.5
        """
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


class Chart:
    """A canvas for panels; places and sizes are in pixels of the finished picture."""

    def __init__(self, width: int, height: int) -> None:
        self.size = width, height
        self._image = Image.new("RGB", (width * FINE, height * FINE), self.ink(CANVAS))
        self._draw = ImageDraw.Draw(self._image)

    def ink(self, colour: Colour) -> Colour:
        """What a colour is drawn with; other grounds may want others."""
        return colour

    def finished(self) -> Image.Image:
        """The chart at its own size."""
        return self._image.resize(self.size, Image.Resampling.LANCZOS)

    def text(
        self,
        place: tuple[float, float],
        text: str,
        size: int,
        colour: Colour = PLAIN,
        anchor: str = "ls",
        width: float | None = None,
    ) -> float:
        """Write text and give its width."""
        at = place[0] * FINE, place[1] * FINE
        wide = None if width is None else width * FINE
        return write(self._draw, at, text, size * FINE, self.ink(colour), anchor=anchor, width=wide) / FINE

    def line(
        self, points: Sequence[tuple[float, float]], colour: Colour, width: float = 1.5, dash: float | None = None
    ) -> None:
        """A line through points, dashed where `dash` says how long a dash is."""
        for start, end in pairwise(points):
            for a, b in _dashes(start, end, dash) if dash else [(start, end)]:
                ends = [(x * FINE, y * FINE) for x, y in (a, b)]
                self._draw.line(ends, self.ink(colour), max(1, round(width * FINE)))

    def dot(self, place: tuple[float, float], colour: Colour, radius: float = 4.5, *, hollow: bool = False) -> None:
        """A filled or hollow dot."""
        x, y, r = place[0] * FINE, place[1] * FINE, radius * FINE
        fill = self.ink(PANEL if hollow else colour)
        self._draw.ellipse((x - r, y - r, x + r, y + r), fill=fill, outline=self.ink(colour), width=round(1.6 * FINE))

    def box(self, left: float, top: float, width: float, height: float, colour: Colour) -> None:
        """A filled rectangle."""
        corners = [value * FINE for value in (left, top, left + width, top + height)]
        self._draw.rectangle(corners, fill=self.ink(colour))

    def legend(self, place: tuple[float, float], entries: Sequence[tuple[str, Colour, bool]]) -> None:
        """Names beside dots of their colours; the flag says which are hollow."""
        x, y = place
        for name, colour, hollow in entries:
            self.dot((x + 5, y - 5), colour, hollow=hollow)
            x += 18 + self.text((x + 16, y), name, 14, PLAIN) + 22

    def panel(
        self, left: float, top: float, width: float, height: float, across: Axis, up: Axis | None = None
    ) -> Callable[[float, float], tuple[float, float]]:
        """Draw a panel with its marks; what comes back turns values into places. Without `up`, y is a share from the
        top, 0 to 1."""
        self.box(left, top, width, height, PANEL)

        def place(x: float, y: float) -> tuple[float, float]:
            down = 1 - up.share(y) if up else y
            return left + across.share(x) * width, top + down * height

        for mark in across.marks:
            x = left + across.share(mark) * width
            self.line([(x, top), (x, top + height)], GRID_LINE, 1)
            self.text((x, top + height + 18), _number(mark), 13, DIM, "ms")
        for mark in up.marks if up else ():
            y = top + (1 - (up.share(mark) if up else 0)) * height
            self.line([(left, y), (left + width, y)], GRID_LINE, 1)
            self.text((left - 8, y), _number(mark), 13, DIM, "rm")
        return place

    def heading(self, title: str, subtitle: str = "") -> None:
        """A title and a line under it, at the top."""
        self.text((28, 46), title, 24, BRIGHT, width=self.size[0] - 56)
        self.text((28, 72), subtitle, 14, PLAIN, width=self.size[0] - 56)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return power * min((1, 2, 2.5, 5, 10), key=lambda m: abs(math.log(m * power / rough)))


def _number(value: float) -> str:
    return f"{value:g}"


def _dashes(
    start: tuple[float, float], end: tuple[float, float], dash: float
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    length = math.hypot(end[0] - start[0], end[1] - start[1])
    count = max(1, int(length // (2 * dash)))

    def at(share: float) -> tuple[float, float]:
        return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share

    return [(at(n / count), at((n + 0.5) / count)) for n in range(count)]
