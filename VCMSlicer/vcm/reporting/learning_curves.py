"""Curves of a training for paper: the loss as it falls, and the Dice of held-out cases as it rises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image

from vcm.reporting.chart import CANVAS, GRID_LINE, PANEL, Axis, Chart
from vcm.reporting.lettering import BRIGHT, DIM, PLAIN, Colour

WHITE: Colour = (255, 255, 255)
INK: dict[Colour, Colour] = {
    CANVAS: WHITE, PANEL: (246, 247, 249), GRID_LINE: (222, 226, 232), DIM: (104, 112, 126), PLAIN: (72, 80, 94),
    BRIGHT: (22, 26, 34),
}  # fmt: skip
"""The colours of the dark charts, and what stands for them on paper."""

TAUGHT: Colour = (0, 122, 92)
WITHOUT: Colour = (120, 130, 146)
CEILING: Colour = (196, 110, 0)

Points = Sequence[tuple[float, float]]


class PaperChart(Chart):
    """A chart on white, kept at the fine size it is drawn in, for print."""

    def finished(self) -> Image.Image:
        return self._image

    def ink(self, colour: Colour) -> Colour:
        return INK.get(colour, colour)


def learning_curve(
    curves: Mapping[str, tuple[Points, Colour]],
    levels: Mapping[str, tuple[float, Colour]],
    *,
    up: str,
    within: tuple[float, float] | None = None,
    kept: float | None = None,
) -> Image.Image:
    """Curves over the steps, each named where it ends; `levels` are dashed lines across, `kept` marks a step."""
    left, top, width, height, right = 44, 30, 300, 190, 112
    chart = PaperChart(left + width + right, top + height + 44)
    steps = [x for points, _ in curves.values() for x, _ in points]
    values = [y for points, _ in curves.values() for _, y in points] + [y for y, _ in levels.values()]
    across = Axis.around([0.0, *steps])
    across = Axis(0.0, max([*steps, 1.0]), tuple(mark for mark in across.marks if 0 <= mark <= max([*steps, 1.0])))
    axis = Axis.around(values, at_least=within)
    place = chart.panel(left, top, width, height, across, axis)
    chart.text((left - 30, top - 12), up, 13, BRIGHT)
    chart.text((left + width, top + height + 38), "steps", 13, PLAIN, "rs")
    ends: list[tuple[float, str, Colour]] = []
    for name, (value, colour) in levels.items():
        chart.line([place(across.low, value), place(across.high, value)], colour, 1.5, dash=5)
        ends.append((place(0, value)[1], name, colour))
    if kept is not None:
        chart.line([place(kept, axis.low), place(kept, axis.high)], DIM, 1, dash=2)
    for name, (points, colour) in curves.items():
        chart.line([place(x, y) for x, y in points], colour, 2)
        if len(points) < 12:
            for point in points:
                chart.dot(place(*point), colour, 3)
        ends.append((place(*points[-1])[1], name, colour))
    for y, (name, colour) in _apart(ends, 16, top + 6, top + height):
        chart.text((left + width + 8, y), name, 12, colour, "lm")
    return chart.finished()


def _apart(
    ends: Sequence[tuple[float, str, Colour]], gap: float, top: float, bottom: float
) -> list[tuple[float, tuple[str, Colour]]]:
    """Names beside their lines, moved so far that none lies on another.

    >>> [y for y, _ in _apart([(10, "a", WHITE), (12, "b", WHITE)], 16, 0, 100)]
    [10, 26]
    """
    placed: list[tuple[float, tuple[str, Colour]]] = []
    low = top - gap
    for y, name, colour in sorted(ends):
        low = max(y, low + gap)
        placed.append((low, (name, colour)))
    beyond = max(0.0, placed[-1][0] - bottom) if placed else 0.0
    return [(y - beyond, what) for y, what in placed] if beyond else placed
