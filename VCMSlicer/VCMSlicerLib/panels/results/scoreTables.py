"""The two tables of the section “Results”: the Samples with the adherence of each, and one by structures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import qt
from slicer.i18n import tr as _
from vcm.core.plain_text import capital
from vcm.protocol import AlignmentSummary

from VCMSlicerLib.results.results import ResultRow

ROW_PIXELS = 24
MOST_ROWS = 9
SEVERAL = 3
LARGE_ML = 100
NARROWEST = 44
NOTHING = "–"
OWN_SEGMENTER = "the own segmenter of "


@dataclass(frozen=True)
class Cell:
    """What stands in a cell, what its tooltip adds, and whether it should catch the eye."""

    words: str
    tip: str = ""
    bold: bool = False


def sampleHeaders() -> list[Cell]:
    """The columns of the table of Samples."""
    return [
        Cell(_("Image"), _("The synthetic image; its name holds the seed.")),
        Cell(_("Dice"), _("Overlap with what was asked for, 1 is perfect. Of several structures, their mean.")),
        Cell(_("Without"), _("The Dice of the image that the same seed gives without the conditions.")),
        Cell(_("HD95, mm"), _("The distance that 95 % of the surfaces keep. Of several structures, their mean.")),
    ]


def sampleCells(row: ResultRow) -> list[Cell]:
    """One Sample as a whole."""
    name = row.node.GetName()
    return [
        Cell(name, row.summary or name),
        Cell(_number(mean(row.dice.values()), "{:.2f}"), lowestWords(row)),
        Cell(_number(mean(row.diceWithout.values()), "{:.2f}"), lowestWords(row)),
        Cell(_number(mean(row.hd95.values()), "{:.1f}"), lowestWords(row)),
    ]


def structureHeaders() -> list[Cell]:
    """The columns of the table of structures."""
    return [
        Cell(_("Structure"), _("What was asked for.")),
        Cell(_("Asked, ml"), _("Its volume in what was drawn.")),
        Cell(
            _("Obtained"), _("Its volume in the image, which was segmented again. Of an image, the mean error (0–1).")
        ),
        Cell(_("Dice"), _("Overlap of both, 1 is perfect.")),
        Cell(_("Without"), _("The same of the image that the same seed gives without the conditions.")),
        Cell(_("HD95, mm"), _("The distance that 95 % of the surface keeps.")),
    ]


def structureCells(row: ResultRow) -> list[list[Cell]]:
    """One Sample structure by structure, then its image conditions."""
    alignment, without = row.alignment or _NONE, row.alignmentWithout or _NONE
    dices = [score.dice for score in alignment.classes if score.dice is not None]
    lowest = min(dices) if len(dices) >= SEVERAL else None
    twins = {(score.condition, score.name): score for score in without.classes}
    lines = []
    for score in alignment.classes:
        twin = twins.get((score.condition, score.name))
        words = [
            capital(score.name.replace("_", " ")),
            _volume(score.requested_ml),
            _volume(score.obtained_ml),
            _number(score.dice, "{:.2f}"),
            _number(twin.dice if twin is not None else None, "{:.2f}"),
            _number(score.hd95_mm, "{:.1f}"),
        ]
        bold = lowest is not None and score.dice == lowest
        lines.append([Cell(text, score.remark or words[0], bold) for text in words])
    errors = {score.condition: score.mae for score in without.images}
    for image in alignment.images:
        error = _number(image.mae, "±{:.3f}")
        words = [
            capital(image.condition.replace("_", " ")),
            NOTHING,
            error,
            NOTHING,
            _number(errors.get(image.condition), "±{:.3f}"),
            NOTHING,
        ]
        lines.append([Cell(text, image.remark or words[0]) for text in words])
    return lines


def measuredWords(row: ResultRow | None) -> str:
    """How the figures of a Sample came about."""
    if row is None:
        return _("Nothing has been made yet.")
    if row.alignment is None:
        return _("Made without any condition, so there is nothing to measure it by.")
    if not row.alignment.judge:
        return row.summary
    words = _("Measured on the image itself: {judge} found its structures again.")
    whole = row.alignmentWithLayout
    dice = mean(score.dice for score in whole.classes) if whole is not None else None
    completed = (
        _("Against the completed head, all {count} structures: mean Dice {dice:.2f}.") if dice is not None else ""
    )
    count = sum(score.dice is not None for score in whole.classes) if whole is not None else 0
    return f"{words.format(judge=judgeWords(row.alignment.judge))} {completed.format(count=count, dice=dice)}".strip()


def judgeWords(judge: str) -> str:
    """Who measured, in words that need no knowledge of the engine.

    >>> judgeWords("the own segmenter of brainldm-mini"), judgeWords("SynthSeg 2.0")
    ("brainldm-mini's segmentation", 'SynthSeg 2.0')
    """
    name = judge.removeprefix(OWN_SEGMENTER)
    return _("{name}'s segmentation").format(name=name) if name != judge else judge


def lowestWords(row: ResultRow) -> str:
    """Which structure of several has the lowest adherence."""
    measured = {name: value for name, value in row.dice.items() if value is not None}
    if len(measured) < 2:
        return row.summary
    name = min(measured, key=lambda name: measured[name])
    words = _("Mean of {count} structures; the lowest Dice has {name}: {dice:.2f}.")
    return words.format(count=len(measured), name=name, dice=measured[name])


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of what was measured, or None.

    >>> mean([0.5, None, 1.0]), mean([None])
    (0.75, None)
    """
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def prepareTable(table: Any) -> None:
    """The look of both tables."""
    table.verticalHeader().hide()
    table.verticalHeader().setDefaultSectionSize(ROW_PIXELS)
    table.horizontalHeader().setHighlightSections(False)
    table.horizontalHeader().setFixedHeight(ROW_PIXELS)
    table.horizontalHeader().setMinimumSectionSize(NARROWEST)


def fillTable(table: Any, headers: Sequence[Cell], lines: Sequence[Sequence[Cell]]) -> None:
    """Show cells; the first column takes the width that the numbers leave, the table the height that it needs."""
    table.clear()
    table.setColumnCount(len(headers))
    table.setRowCount(len(lines))
    for column, header in enumerate(headers):
        table.setHorizontalHeaderItem(column, _item(header, column))
        mode = qt.QHeaderView.ResizeToContents if column else qt.QHeaderView.Stretch
        table.horizontalHeader().setSectionResizeMode(column, mode)
    for row, cells in enumerate(lines):
        for column, cell in enumerate(cells):
            table.setItem(row, column, _item(cell, column))
    table.setFixedHeight(ROW_PIXELS * (1 + min(len(lines), MOST_ROWS)) + 2 * table.frameWidth)


def _item(cell: Cell, column: int) -> Any:
    item = qt.QTableWidgetItem(cell.words)
    item.setToolTip(cell.tip)
    side = qt.Qt.AlignRight if column else qt.Qt.AlignLeft
    item.setTextAlignment(side | qt.Qt.AlignVCenter)
    if cell.bold:
        font = item.font()
        font.setBold(True)
        item.setFont(font)
    return item


def _volume(value: float | None) -> str:
    return _number(value, "{:.0f}" if value is not None and value >= LARGE_ML else "{:.1f}")


def _number(value: float | None, form: str) -> str:
    return form.format(value) if value is not None else NOTHING


_NONE = AlignmentSummary("", "")
