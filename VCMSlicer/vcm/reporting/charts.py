"""The charts of evaluations and trainings, drawn by matplotlib, which the extra `train` installs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from vcm.core.errors import Code, VcmError
from vcm.reporting.lettering import AMBER, BRIGHT, DIM, PLAIN, Colour
from vcm.reporting.montage import CANVAS, NOTICE
from vcm.reporting.montage_columns import STRUCTURE_COLOURS

PANEL: Colour = (24, 27, 34)
GRID_LINE: Colour = (46, 51, 62)
GREEN, GREY = STRUCTURE_COLOURS[0], (132, 150, 178)
COLOURS: dict[str, Colour] = {"controlled": GREEN, "uncontrolled": GREY, "reconstruction": AMBER}

TAUGHT: Colour = (0, 122, 92)
WITHOUT: Colour = (120, 130, 146)
CEILING: Colour = (196, 110, 0)
ON_WHITE: dict[Colour, Colour] = {
    CANVAS: (255, 255, 255), PANEL: (246, 247, 249), GRID_LINE: (222, 226, 232), DIM: (104, 112, 126),
    PLAIN: (72, 80, 94),
}  # fmt: skip
"""The colours of the dark charts, and what stands for them on paper."""

INCH = 100
"""Pixels of a chart; what is printed has twice as many."""

Points = Sequence[tuple[float, float]]


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
    pairs: Mapping[str, Points]


@dataclass(frozen=True)
class Curve:
    """One line of a chart of curves."""

    name: str
    colour: Colour
    points: Sequence[tuple[float, Estimate]]
    dashed: bool = False


def need_matplotlib() -> None:
    """Raise where it is not installed: asked before an hour's work whose charts could not be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise VcmError(
            Code.BAD_REQUEST,
            "The charts need the package matplotlib, which is not installed.",
            "Install it in the repository's folder: pip install '.[train]'",
        ) from error


def interval_chart(
    rows: Mapping[str, Mapping[str, Estimate]], *, title: str, subtitle: str, unit: str = ""
) -> Image.Image:
    """A row a structure, a dot with its 95 % interval for each kind of image; the axis holds 0 and 1."""
    if not rows:
        raise VcmError(Code.BAD_REQUEST, "A chart needs at least one row.")
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    sheet = _Sheet(1080, 214 + 46 * len(rows), title, subtitle)
    with _style():
        axes = sheet.panel()
        sheet.legend(names)
        for number, row in enumerate(rows.values()):
            for name, estimate in row.items():
                y = number + 0.24 * (names.index(name) - (len(names) - 1) / 2)
                _dots(axes, [(estimate.mean, y)], name, names)
                axes.plot([estimate.low, estimate.high], [y, y], color=_rgb(_colour(name, names)), linewidth=1.5)
            if names[0] in row:
                words = f"{row[names[0]].mean:.2f} {unit}".strip()
                axes.text(1.02, number, words, color=_rgb(BRIGHT), transform=axes.get_yaxis_transform(), va="center")
        highest = max((e.mean for row in rows.values() for e in row.values()), default=1.0)
        _round_limits(axes, "x", [0.0, 1.0, highest])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_yticks(range(len(rows)), [_cut(name, 34) for name in rows], color=_rgb(BRIGHT))
        axes.set_yticks(np.arange(1, len(rows)) - 0.5, minor=True)
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="y", which="minor")
        return sheet.finished("dots: means; lines: 95 % confidence intervals over the cases")


def scatter_chart(panels: Sequence[Scatter], *, title: str, across: str, up: str) -> Image.Image:
    """Panels of value against value, with the line where both are equal."""
    if not panels:
        raise VcmError(Code.BAD_REQUEST, "A chart needs at least one panel.")
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    side = 400 if columns < 3 else 256
    names = list(dict.fromkeys(name for panel in panels for name in panel.pairs))
    across_each, down_each = side + 88, side + 100
    sheet = _Sheet(max(columns * across_each + 10, 700), rows * down_each + 124, title)
    with _style():
        sheet.legend(names)
        for number, panel in enumerate(panels):
            left, top = 76 + number % columns * across_each, 134 + number // columns * down_each
            axes = sheet.panel(left, top, side)
            for name in reversed(names):
                _dots(axes, panel.pairs.get(name, ()), name, names)
            values = [v for pairs in panel.pairs.values() for pair in pairs for v in pair]
            if min(values, default=0.0) < 0.4 * max(values, default=0.0):
                values += [0.0, 1.0]
            low, high = _round_limits(axes, "xy", values)
            axes.plot([low, high], [low, high], color=_rgb(PLAIN), linewidth=1, dashes=(5, 5), zorder=1)
            axes.set_title(_cut(panel.title, side // 10), loc="left", color=_rgb(BRIGHT), fontsize=11, pad=20)
            axes.text(0, 1.02, _cut(panel.note, side // 6), color=_rgb(DIM), fontsize=8.5, transform=axes.transAxes)
            axes.set(xlabel=across, ylabel=up)
        return sheet.finished("dashed: where both are equal")


def curve_chart(curves: Sequence[Curve], *, title: str, subtitle: str, across: str, up: str) -> Image.Image:
    """Curves over a logarithmic axis that marks its own points, each with its intervals."""
    sheet = _Sheet(916, 670, title, subtitle)
    with _style():
        names = [curve.name for curve in curves]
        axes = sheet.panel()
        sheet.legend(names, {c.name: (c.colour, c.dashed) for c in curves})
        for curve in sorted(curves, key=lambda c: not c.dashed):
            points = sorted(curve.points, key=lambda point: point[0])
            places, means = [x for x, _ in points], [e.mean for _, e in points]
            line = axes.plot(places, means, color=_rgb(curve.colour), linewidth=1.5)[0]
            if curve.dashed:
                line.set_dashes((4, 4))
            axes.vlines(places, [e.low for _, e in points], [e.high for _, e in points], colors=[_rgb(curve.colour)])
            axes.plot(places, means, **_dot(curve.colour, curve.dashed))
        places = sorted({x for curve in curves for x, _ in curve.points})
        values = [v for c in curves for _, e in c.points for v in (e.mean, e.low, e.high) if math.isfinite(v)]
        _round_limits(axes, "y", values)
        axes.set_xscale("log")
        axes.set_xlim(places[0] / 1.5, places[-1] * 1.5)
        marks = _apart([math.log(x) for x in places], math.log(places[-1] / places[0] * 2.25) / 16)
        axes.set_xticks([places[n] for n in marks], [f"{places[n]:g}" for n in marks])
        axes.set_xticks([], minor=True)
        axes.set(xlabel=across, ylabel=up)
        return sheet.finished("lines up and down: 95 % confidence intervals over the cases")


def learning_curve(
    curves: Mapping[str, tuple[Points, Colour]],
    levels: Mapping[str, tuple[float, Colour]],
    *,
    up: str,
    within: tuple[float, float] = (math.nan, math.nan),
    kept: float | None = None,
) -> Image.Image:
    """For paper: curves over the steps; `levels` are dashed lines across, `kept` marks a step."""
    sheet = _Sheet(456, 264, paper=True)
    with _style(paper=True):
        axes = sheet.panel()
        for name, (points, colour) in curves.items():
            few = {"marker": "o", "markersize": 4} if len(points) < 12 else {}
            look = {"color": _rgb(colour), "linewidth": 1.5, "clip_on": False, "zorder": 3, **few}
            axes.plot([x for x, _ in points], [y for _, y in points], label=name, **look)
        for name, (value, colour) in levels.items():
            axes.axhline(value, color=_rgb(colour), linewidth=1.2, dashes=(5, 4), label=name, clip_on=False, zorder=3)
        if kept is not None:
            axes.axvline(kept, color=_rgb(ON_WHITE[DIM]), linewidth=0.8, dashes=(2, 2))
        axes.set_xlim(0, max([1.0, *(x for points, _ in curves.values() for x, _ in points)]))
        values = [y for points, _ in curves.values() for _, y in points] + [y for y, _ in levels.values()]
        _round_limits(axes, "y", [*values, *filter(math.isfinite, within)])
        axes.set_title(up, loc="left", fontsize=9)
        axes.set_xlabel("steps", loc="right")
        handles = {handle.get_label(): handle for handle in axes.get_lines() if not handle.get_label().startswith("_")}
        last = {name: points[-1][1] for name, (points, _) in curves.items()} | {n: y for n, (y, _) in levels.items()}
        order = sorted(handles, key=lambda name: -last[name])
        sheet.figure.legend([handles[n] for n in order], order, loc="outside right center", labelcolor="linecolor")
        return sheet.finished()


class _Sheet:
    """A figure with a title above its panels and a line below that says it is synthetic; one for paper has neither."""

    def __init__(self, width: int, height: int, title: str = "", subtitle: str = "", *, paper: bool = False) -> None:
        with _style(paper=paper):
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure

            dpi = 2 * INCH if paper else INCH
            self.figure = Figure((width / INCH, height / INCH), dpi=dpi, layout="constrained")
            self._canvas = FigureCanvasAgg(self.figure)
            self._paper, self._width, self._height = paper, width, height
            self._top = 0 if paper else 74 if subtitle else 56
            self.text(28, 28, title, BRIGHT, 17)
            self.text(28, 60, subtitle, PLAIN, 10)

    def text(self, left: float, top: float, text: str, colour: Colour, size: float) -> None:
        """Text at pixels from the upper left corner, its middle at `top`, cut short where it would leave the figure."""
        place = left / self._width, 1 - top / self._height
        written = self.figure.text(*place, text, color=_rgb(colour), fontsize=size, va="center")
        while text and written.get_window_extent(self._canvas.get_renderer()).x1 > self._width - 28:
            text = text[:-1]
            written.set_text(f"{text.rstrip()}…")

    def panel(self, left: float = 0, top: float = 0, side: float = 0) -> Any:
        """A square at pixels from the upper left corner, or all the room that is left."""
        if not side:
            return self.figure.add_subplot()
        place = left / self._width, 1 - (top + side) / self._height, side / self._width, side / self._height
        return self.figure.add_axes(place)

    def legend(self, names: Sequence[str], looks: Mapping[str, tuple[Colour, bool]] | None = None) -> None:
        """Names beside their dots, above the panels."""
        from matplotlib.lines import Line2D

        looks = looks or {name: (_colour(name, names), name != names[0]) for name in names}
        across = max(1, min(len(names), self._width // 220))
        self.figure.legend(
            [Line2D([], [], **_dot(*looks[name])) for name in names], [_cut(name, 24) for name in names],
            loc="upper left", ncols=across, bbox_to_anchor=(18 / self._width, 1 - (self._top + 2) / self._height),
            labelcolor=_rgb(PLAIN), borderaxespad=0,
        ).set_in_layout(False)  # fmt: skip
        below, foot = self._top + 8 + 26 * -(-len(names) // across), 44
        engine: Any = self.figure.get_layout_engine()
        width, height = self._width, self._height
        engine.set(rect=(16 / width, foot / height, 1 - 44 / width, 1 - (foot + below) / height))

    def finished(self, note: str = "") -> Image.Image:
        """The figure as a picture, with its last line."""
        if not self._paper:
            self.text(28, self._height - 22, NOTICE, AMBER, 9.5)
            self.text(328, self._height - 22, note, DIM, 9.5)
        self._canvas.draw()
        return Image.fromarray(np.asarray(self._canvas.buffer_rgba())).convert("RGB")


@contextmanager
def _style(*, paper: bool = False) -> Iterator[None]:
    """Our colours; a dollar sign in a name begins no formula, and a letter that the font lacks gives no warning."""
    need_matplotlib()
    import matplotlib

    def ink(colour: Colour) -> tuple[float, ...]:
        return _rgb(ON_WHITE[colour] if paper else colour)

    ours = {
        "figure.facecolor": ink(CANVAS), "axes.facecolor": ink(PANEL), "axes.edgecolor": ink(GRID_LINE),
        "axes.grid": True, "grid.color": ink(GRID_LINE), "axes.axisbelow": True, "axes.labelcolor": ink(PLAIN),
        "xtick.color": ink(GRID_LINE), "ytick.color": ink(GRID_LINE), "xtick.labelcolor": ink(DIM),
        "ytick.labelcolor": ink(DIM), "text.parse_math": False, "legend.frameon": False,
        "legend.fontsize": 8 if paper else 10, "font.size": 8 if paper else 10, "legend.handlelength": 1.0,
    }  # fmt: skip
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(ours)
        yield


def _dots(axes: Any, places: Points, name: str, names: Sequence[str]) -> None:
    look = _dot(_colour(name, names), name != names[0])
    axes.plot([x for x, _ in places], [y for _, y in places], zorder=3, **look)


def _dot(colour: Colour, hollow: bool) -> dict[str, Any]:
    return {
        "linestyle": "none", "marker": "o", "markersize": 6, "markeredgewidth": 1.4, "color": _rgb(colour),
        "clip_on": False, "markerfacecolor": _rgb(PANEL if hollow else colour),
    }  # fmt: skip


def _round_limits(axes: Any, which: str, values: Sequence[float]) -> tuple[float, float]:
    """Limits at round marks around the values, for one axis or both."""
    from matplotlib.ticker import MaxNLocator

    low, high = min(values, default=0.0), max(values, default=1.0)
    low, high = (low, high) if high > low else (low - 0.5, low + 0.5)
    marks = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    for axis in which:
        axes.set(**{f"{axis}lim": (marks[0], marks[-1])})
        getattr(axes, f"{axis}axis").set_ticks(marks, [f"{round(mark, 10):g}" for mark in marks])
    return marks[0], marks[-1]


def _apart(places: Sequence[float], least: float) -> list[int]:
    """Which of the sorted places to name so that no two names lie closer than `least`; the last always.

    >>> _apart([0.0, 0.1, 0.2, 1.0], 0.15)
    [0, 2, 3]
    """
    chosen = [len(places) - 1]
    for n in range(len(places) - 1):
        if places[-1] - places[n] >= least and (len(chosen) == 1 or places[n] - places[chosen[-2]] >= least):
            chosen.insert(-1, n)
    return chosen


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def _colour(name: str, names: Sequence[str]) -> Colour:
    return COLOURS.get(name, STRUCTURE_COLOURS[names.index(name) % len(STRUCTURE_COLOURS)])


def _rgb(colour: Colour) -> tuple[float, ...]:
    return tuple(part / 255 for part in colour)
