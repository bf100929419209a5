"""Charts as they are seen: dots stand where their values are, words do not overlap, and each says it is synthetic."""

import builtins
import math
import subprocess
import sys

import numpy as np
import pytest
from vcm.core.errors import VcmError
from vcm.reporting import charts
from vcm.reporting.charts import (
    CEILING,
    GREEN,
    TAUGHT,
    WITHOUT,
    Curve,
    Estimate,
    Scatter,
    curve_chart,
    interval_chart,
    learning_curve,
    scatter_chart,
)  # fmt: skip
from vcm.reporting.lettering import AMBER
from vcm.reporting.montage import NOTICE

KINDS = ("controlled", "uncontrolled", "reconstruction")


@pytest.fixture
def figures(monkeypatch):
    """The figures behind the pictures."""
    from matplotlib.figure import Figure

    made = []

    class Watched(Figure):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            made.append(self)

    monkeypatch.setattr("matplotlib.figure.Figure", Watched)
    return made


def ink(picture, colour):
    """The places of all pixels of a colour, as columns and rows from the upper left."""
    rows, columns = np.nonzero(np.abs(np.asarray(picture, int) - colour).sum(axis=2) < 30)
    return columns, rows


def shares(figure, picture, colour, axes=0):
    """The middle of a colour's pixels inside a panel, as shares of its width and height from the lower left."""
    box = figure.axes[axes].get_window_extent()
    columns, rows = ink(picture, colour)
    x, y = (columns - box.x0) / box.width, (picture.height - rows - box.y0) / box.height
    inside = (x > -0.02) & (x < 1.02) & (y > -0.02) & (y < 1.02)
    return x[inside].mean(), y[inside].mean()


def words_of(figure):
    """All visible texts with their boxes in pixels."""
    from matplotlib.text import Text

    renderer = figure.canvas.get_renderer()
    found = figure.findobj(
        lambda artist: isinstance(artist, Text) and artist.get_text().strip() and artist.get_visible()
    )
    ticks = {id(t) for axes in figure.axes if not axes.get_visible() for t in axes.findobj(Text)}
    outside = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            outside |= {id(t.label1) for t in axis.get_major_ticks() if not low - 1e-9 <= t.get_loc() <= high + 1e-9}
    return [(t.get_text(), t.get_window_extent(renderer)) for t in found if id(t) not in ticks | outside]


def assert_tidy(figure, picture):
    """No two texts overlap and none leaves the picture."""
    words = words_of(figure)
    for n, (text, box) in enumerate(words):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= picture.width and box.y1 <= picture.height, (text, box)
        for other, second in words[:n]:
            assert not (box.x0 < second.x1 and second.x0 < box.x1 and box.y0 < second.y1 and second.y0 < box.y1), (
                text, other,
            )  # fmt: skip
    return [text for text, _ in words]


def test_dots_stand_where_their_values_are(figures):
    picture = scatter_chart([Scatter("one", "", {"controlled": [(80.0, 20.0)]})], title="t", across="x", up="y")
    assert shares(figures[-1], picture, GREEN) == (pytest.approx(1, abs=0.01), pytest.approx(0.25, abs=0.01))
    points = [(10, Estimate(0.25)), (1000, Estimate(0.25))]
    picture = curve_chart([Curve("c", GREEN, points)], title="t", subtitle="", across="n", up="d")
    assert shares(figures[-1], picture, GREEN)[0] == pytest.approx(0.5, abs=0.01)
    picture = interval_chart({"a": {"controlled": Estimate(0.3, 0.2, 0.4)}}, title="t", subtitle="")
    assert shares(figures[-1], picture, GREEN) == (pytest.approx(0.3, abs=0.005), pytest.approx(0.5, abs=0.02))


def test_a_dot_on_the_edge_is_whole():
    inside, edge = (
        scatter_chart([Scatter("one", "", {"controlled": [(place, 20.0), (0.0, 80.0)]})], title="t", across="x", up="y")
        for place in (40.0, 80.0)
    )
    assert len(ink(edge, GREEN)[0]) == pytest.approx(len(ink(inside, GREEN)[0]), rel=0.02)


def test_an_interval_is_as_long_as_it_is_and_ends_at_the_panel(figures):
    picture = interval_chart({"a": {"controlled": Estimate(0.3, 0.2, 7.0)}}, title="t", subtitle="")
    box = figures[-1].axes[0].get_window_extent()
    columns, rows = ink(picture, GREEN)
    inside = columns[(rows > picture.height - box.y1) & (rows < picture.height - box.y0)]
    assert (inside.min() - box.x0) / box.width == pytest.approx(0.2, abs=0.005)
    assert inside.max() == pytest.approx(box.x1, abs=2)


def test_the_first_row_is_the_upper_one(figures):
    rows = {"first": {"controlled": Estimate(0.1)}, "second": {"controlled": Estimate(0.9)}}
    picture = interval_chart(rows, title="t", subtitle="")
    columns, heights = ink(picture, GREEN)
    box = figures[-1].axes[0].get_window_extent()
    left = (columns > box.x0) & (columns < box.x0 + box.width / 2)
    right = columns > box.x0 + box.width / 2
    assert heights[left].mean() < heights[right].mean()


def curves(places):
    return [
        Curve("a name of a series", GREEN, [(x, Estimate(0.5, 0.4, 0.6)) for x in places]),
        Curve("uncontrolled", charts.GREY, [(x, Estimate(0.3)) for x in places], dashed=True),
    ]


NAMES = ["lateral ventricles", "a name of a structure that is far too long for any row of a chart", "中文 $\\frac$ $x$"]
DRAWN = {
    "rows": lambda: interval_chart(
        {name: {kind: Estimate(0.5, 0.4, 0.6) for kind in KINDS} for name in NAMES}, title="T" * 200, subtitle="s" * 300
    ),
    "one row in mm": lambda: interval_chart(
        {"a": {"controlled": Estimate(123.4)}}, title="t", subtitle="s", unit="mm"
    ),
    "eight panels": lambda: scatter_chart(
        [Scatter(NAMES[n % 3], "r = 0.97 (0.95–0.98), uncontrolled 0.10", {"controlled": [(9, 15)]}) for n in range(8)],
        title="t", across="ml asked for", up="ml obtained",
    ),
    "three panels": lambda: scatter_chart(
        [Scatter("a", "r", {"controlled": [(1, 2)], "uncontrolled": []})] * 3, title="t", across="x", up="y"
    ),
    "close places": lambda: curve_chart(curves([100, 101, 102, 400]), title="t", subtitle="s", across="n", up="Dice"),
    "many places": lambda: curve_chart(curves(range(1, 90)), title="t", subtitle="s", across="cases", up="Dice"),
    "one place": lambda: curve_chart(curves([7]), title="t", subtitle="s", across="cases", up="Dice"),
    "many series": lambda: curve_chart(
        curves([1, 9]) + [Curve(f"series {n}", GREEN, [(1, Estimate(n / 9))]) for n in range(9)],
        title="t", subtitle="s", across="cases", up="Dice",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DRAWN)
def test_no_word_lies_on_another_and_each_chart_says_it_is_synthetic(figures, case, recwarn):
    picture = DRAWN[case]()
    words = assert_tidy(figures[-1], picture)
    assert NOTICE in words
    assert len(ink(picture, AMBER)[0]) > 50
    assert not recwarn.list


def test_a_learning_curve_is_tidy_on_white_at_twice_the_size(figures):
    for curve, levels in (
        ([(n, 1 / (n + 1)) for n in range(0, 20000, 100)], {}),
        ([(200, 0.45)], {"without": (0.45, WITHOUT), "reconstruction": (0.4501, CEILING)}),
    ):
        picture = learning_curve({"with control": (curve, TAUGHT)}, levels, up="minus the squared error", kept=200)
        assert picture.size == (912, 528)
        assert picture.getpixel((2, 2)) == (255, 255, 255)
        assert {"with control", *levels} <= set(assert_tidy(figures[-1], picture))


def test_the_lines_of_a_learning_curve_are_where_their_values_are(figures):
    picture = learning_curve(
        {"with control": ([(0, 0.5), (400, 0.5)], TAUGHT)},
        {"reconstruction": (0.8, CEILING)},
        up="u",
        within=(0.0, 1.0),
    )
    assert shares(figures[-1], picture, TAUGHT)[1] == pytest.approx(0.5, abs=0.01)
    assert shares(figures[-1], picture, CEILING)[1] == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("values", [[0.0, 1.0], [3.0, 3.0], [-2.0, 11.0], [0.004, 0.009], [1e6, 1e6 + 3], [0.0, 0.0]])
def test_axes_hold_all_values_between_round_marks(figures, values):
    points = [(1, Estimate(value)) for value in values]
    curve_chart([Curve("c", GREEN, points)], title="", subtitle="", across="", up="")
    axes = figures[-1].axes[0]
    low, high = axes.get_ylim()
    assert low <= min(values) <= max(values) <= high
    assert 3 <= len(axes.get_yticks()) <= 8


def test_nothing_to_draw_is_refused():
    with pytest.raises(VcmError, match="at least one row"):
        interval_chart({}, title="", subtitle="")
    with pytest.raises(VcmError, match="at least one panel"):
        scatter_chart([], title="", across="", up="")
    assert math.isnan(Estimate(1.0).low)


def test_without_matplotlib_a_sentence_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args):
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    for draw in (DRAWN["rows"], DRAWN["three panels"], DRAWN["one place"], charts.need_matplotlib):
        with pytest.raises(VcmError, match="need the package matplotlib") as caught:
            draw()
        assert "[train]" in caught.value.remedy


def test_a_users_own_style_changes_nothing(tmp_path):
    (tmp_path / "matplotlibrc").write_text("axes.facecolor: red\nbackend: QtAgg\nfont.size: 40\ntext.usetex: True\n")
    program = (
        "import hashlib, sys\nfrom vcm.reporting.charts import *\n"
        "picture = interval_chart({'a': {'controlled': Estimate(0.3)}}, title='t', subtitle='')\n"
        "print(hashlib.sha256(picture.tobytes()).hexdigest(), 'matplotlib.pyplot' in sys.modules)"
    )
    told = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=folder).stdout
        for folder in (tmp_path, tmp_path.parent)
    }
    assert len(told) == 1
    assert told.pop().endswith("False\n")


def test_the_worker_and_a_generate_need_no_charts():
    program = "import sys, vcm.worker.engine, vcm.worker.service, vcm.runs.run, vcm.runs.batches.run\n"
    program += "print({'vcm.reporting.charts', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
