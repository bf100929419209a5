"""The charts of an evaluation: structures with their intervals, volumes asked for against obtained, curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from vcm.core.errors import Code, VcmError
from vcm.reporting.chart import GRID_LINE, Axis, Chart
from vcm.reporting.lettering import AMBER, BRIGHT, DIM, PLAIN, Colour
from vcm.reporting.montage import NOTICE
from vcm.reporting.montage_columns import STRUCTURE_COLOURS

GREEN, GREY, WHITE = STRUCTURE_COLOURS[0], (132, 150, 178), BRIGHT
COLOURS: dict[str, Colour] = {"controlled": GREEN, "uncontrolled": GREY, "reconstruction": AMBER}
ROW = 46


@dataclass(frozen=True)
class Estimate:
    """A mean and its interval; the interval is NaN where there is none."""

    mean: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Scatter:
    """One panel of a scatter: pairs of values by what was measured, and the line under its title."""

    title: str
    note: str
    pairs: Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class Curve:
    """One line of a chart of curves; without points at more than one place it is drawn as a level."""

    name: str
    colour: Colour
    points: Sequence[tuple[float, Estimate]]
    dashed: bool = False


def interval_chart(
    rows: Mapping[str, Mapping[str, Estimate]], *, title: str, subtitle: str, unit: str = "", within: float = 1.0
) -> Image.Image:
    """A row a structure, a dot with its 95 % interval for each kind of image; the axis runs from 0 to `within`."""
    if not rows:
        raise VcmError(Code.BAD_REQUEST, "A chart needs at least one row.")
    left, width, top = 230, 700, 128
    chart = Chart(left + width + 150, top + ROW * len(rows) + 86)
    chart.heading(title, subtitle)
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    chart.legend((28, 106), [(name, _colour(name, names), name != names[0]) for name in names])
    highest = max((e.mean for row in rows.values() for e in row.values()), default=within)
    axis = Axis.around([0.0, highest], at_least=(0.0, within))
    place = chart.panel(left, top, width, ROW * len(rows), axis)
    for number, (structure, row) in enumerate(rows.items()):
        if number:
            chart.line([(left, top + number * ROW), (left + width, top + number * ROW)], GRID_LINE, 1)
        chart.text((left - 14, top + (number + 0.5) * ROW), structure, 15, BRIGHT, "rm", width=left - 40)
        for name, estimate in row.items():
            y = (number + 0.5 + 0.24 * (names.index(name) - (len(names) - 1) / 2)) / len(rows)
            colour = _colour(name, names)
            if math.isfinite(estimate.low):
                ends = [place(min(max(v, axis.low), axis.high), y) for v in (estimate.low, estimate.high)]
                chart.line(ends, colour, 2)
            chart.dot(place(estimate.mean, y), colour, 4.2, hollow=name != names[0])
        first = row.get(names[0])
        if first:
            middle = top + (number + 0.5) * ROW
            chart.text((left + width + 14, middle), f"{first.mean:.2f} {unit}".strip(), 15, BRIGHT, "lm")
    _foot(chart, "dots: means; lines: 95 % confidence intervals over the cases")
    return chart.finished()


def scatter_chart(panels: Sequence[Scatter], *, title: str, across: str, up: str) -> Image.Image:
    """Panels of value against value, with the line where both are equal."""
    if not panels:
        raise VcmError(Code.BAD_REQUEST, "A chart needs at least one panel.")
    columns = min(4, len(panels))
    side, gap, left, top = (430 if columns < 3 else 270), 62, 74, 156
    rows = -(-len(panels) // columns)
    chart = Chart(max(left + columns * (side + gap) - 10, 700), top + rows * (side + 92) + 6)
    chart.heading(title)
    names = list(dict.fromkeys(name for panel in panels for name in panel.pairs))
    chart.legend((28, 82), [(name, _colour(name, names), name != names[0]) for name in names])
    for number, panel in enumerate(panels):
        x, y = left + (number % columns) * (side + gap), top + (number // columns) * (side + 92)
        values = [v for pairs in panel.pairs.values() for pair in pairs for v in pair]
        from_nothing = min(values, default=0.0) < 0.4 * max(values, default=0.0)
        axis = Axis.around(values, at_least=(0.0, 1.0) if from_nothing else None)
        chart.text((x, y - 28), panel.title, 16, BRIGHT, width=side)
        chart.text((x, y - 9), panel.note, 13, DIM, width=side)
        place = chart.panel(x, y, side, side, axis, axis)
        chart.line([place(axis.low, axis.low), place(axis.high, axis.high)], PLAIN, 1, dash=5)
        for name in reversed(names):
            for pair in panel.pairs.get(name, ()):
                chart.dot(place(*pair), _colour(name, names), 3.6, hollow=name != names[0])
        chart.text((x + 8, y + 8), up, 13, PLAIN, "lt")
        chart.text((x + side - 8, y + side - 8), across, 13, PLAIN, "rb")
    _foot(chart, "dashed: where both are equal")
    return chart.finished()


def curve_chart(curves: Sequence[Curve], *, title: str, subtitle: str, across: str, up: str) -> Image.Image:
    """Curves over a logarithmic axis that marks its own points, each with its intervals."""
    left, top, width, height = 96, 138, 760, 420
    chart = Chart(left + width + 60, top + height + 112)
    chart.heading(title, subtitle)
    chart.legend((28, 108), [(curve.name, curve.colour, curve.dashed) for curve in curves])
    places = sorted({x for curve in curves for x, _ in curve.points})
    values = [v for c in curves for _, e in c.points for v in (e.mean, e.low, e.high) if math.isfinite(v)]
    place = chart.panel(left, top, width, height, Axis.powers(places), Axis.around(values))
    for curve in sorted(curves, key=lambda c: not c.dashed):
        points = sorted(curve.points, key=lambda point: point[0])
        chart.line([place(x, e.mean) for x, e in points], curve.colour, 2, dash=6 if curve.dashed else None)
        for x, estimate in points:
            if math.isfinite(estimate.low):
                chart.line([place(x, estimate.low), place(x, estimate.high)], curve.colour, 2)
            chart.dot(place(x, estimate.mean), curve.colour, hollow=curve.dashed)
    chart.text((left + width / 2, top + height + 44), across, 14, PLAIN, "ms")
    chart.text((left, top - 10), up, 13, PLAIN)
    _foot(chart, "lines up and down: 95 % confidence intervals over the cases")
    return chart.finished()


def _colour(name: str, names: Sequence[str]) -> Colour:
    return COLOURS.get(name, STRUCTURE_COLOURS[names.index(name) % len(STRUCTURE_COLOURS)])


def _foot(chart: Chart, note: str) -> None:
    width, height = chart.size
    used = chart.text((28, height - 18), NOTICE, 13, AMBER)
    chart.text((28 + used + 18, height - 18), note, 13, DIM, width=max(width - used - 74, 1))
