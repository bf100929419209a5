"""Adherence of results, as a table node of the scene and as CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from VCMSlicerLib.results.results import CONTRAST, SYNTHETIC, ResultRow, keepWith

SCORES_REFERENCE = "VCMSlicer.scores"
SCORES_ROLE = "scores"


@dataclass(frozen=True)
class _Column:
    """A column of the table: its name in CSV, its unit, what it says, and the value of a line; None is left empty."""

    name: str
    unit: str
    description: str
    value: Callable[[_Line], float | str | None]
    isText: bool = False


@dataclass(frozen=True)
class _Line:
    """One structure, or one image condition, of one result."""

    row: ResultRow
    condition: str
    structure: str = ""
    score: Any = None
    without: Any = None

    def of(self, name: str) -> float | None:
        """A figure of the image."""
        value: float | None = getattr(self.score, name, None)
        return value


COLUMNS = (
    _Column("image", "", "Name of the synthetic image", lambda line: line.row.node.GetName(), True),
    _Column("seed", "", "Seed of its noise", lambda line: line.row.seed),
    _Column("contrast", "", "What the image shows", lambda line: line.row.node.GetAttribute(CONTRAST) or "", True),
    _Column("condition", "", "Condition it was asked with", lambda line: line.condition, True),
    _Column("structure", "", "Structure that was asked for", lambda line: line.structure, True),
    _Column("asked_ml", "ml", "Volume asked for", lambda line: line.of("requested_ml")),
    _Column("resampled_ml", "ml", "Volume on the model's grid", lambda line: line.of("resampled_ml")),
    _Column("obtained_ml", "ml", "Volume in the image, which was segmented again", lambda line: line.of("obtained_ml")),
    _Column("dice", "", "Overlap of both, 1 is perfect", lambda line: line.of("dice")),
    _Column(
        "dice_without",
        "",
        "The same of the image from the same noise without conditions",
        lambda line: getattr(line.without, "dice", None),
    ),
    _Column("hd95_mm", "mm", "Distance that 95 % of the surfaces keep", lambda line: line.of("hd95_mm")),
    _Column("assd_mm", "mm", "Mean distance of the surfaces", lambda line: line.of("assd_mm")),
    _Column("intensity_ml", "ml", "Volume of fluid in the image by intensity", lambda line: line.of("intensity_ml")),
    _Column("intensity_dice", "", "Overlap with it", lambda line: line.of("intensity_dice")),
    _Column(
        "local_contrast",
        "",
        "Of a lesion: how much brighter it is than the tissue around it, as a share of white matter",
        lambda line: line.of("local_contrast"),
    ),
    _Column(
        "local_contrast_without",
        "",
        "The same place in the image from the same noise without conditions",
        lambda line: getattr(line.without, "local_contrast", None),
    ),
    _Column("mse", "", "Of an image condition: mean squared error, intensities 0 to 1", lambda line: line.of("mse")),
    _Column("mae", "", "Of an image condition: mean absolute error, intensities 0 to 1", lambda line: line.of("mae")),
    _Column("remark", "", "Why something is empty", lambda line: getattr(line.score, "remark", ""), True),
)


def scoreTable(row: ResultRow) -> Any:
    """The table of a result: a row for each structure that was asked for; made once and kept with the result."""
    table = row.node.GetNodeReference(SCORES_REFERENCE)
    if table is None:
        table = newTable(_("{name}, scores").format(name=row.node.GetName()))
        keepWith(row.node, table, SCORES_REFERENCE, SCORES_ROLE)
    _fill(table, [row])
    return table


def exportScores(rows: Sequence[ResultRow], path: str | Path) -> None:
    """Write the scores of results as CSV, whole or not at all; what was not measured is left empty."""
    path = Path(path)
    partial = path.with_name(path.name + ".part")
    try:
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(column.name for column in COLUMNS)
            # Python's own writer: VTK's does not mask quotes and commas within a name.
            writer.writerows([column.value(line) for column in COLUMNS] for line in _lines(rows))
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def hasScores(row: ResultRow) -> bool:
    """Whether anything of a result was measured."""
    return bool(row.alignment and (row.alignment.classes or row.alignment.images))


def _lines(rows: Iterable[ResultRow]) -> list[_Line]:
    lines = []
    for row in rows:
        alignment, twin = row.alignment, row.alignmentWithout
        without = {(score.condition, score.name): score for score in twin.classes} if twin else {}
        for score in alignment.classes if alignment else ():
            twinScore = without.get((score.condition, score.name))
            lines.append(_Line(row, score.condition, score.name, score, twinScore))
        for image in alignment.images if alignment else ():
            lines.append(_Line(row, image.condition, "", image))
    return lines


def newTable(name: str, hidden: bool = False) -> Any:
    """An empty table node; a hidden one is no user's to look at."""
    table = slicer.mrmlScene.CreateNodeByClass("vtkMRMLTableNode")
    table.UnRegister(None)
    table.SetName(slicer.mrmlScene.GenerateUniqueName(name))
    table.SetHideFromEditors(hidden)
    table.SetAttribute(SYNTHETIC, "true")
    return slicer.mrmlScene.AddNode(table)


def _fill(table: Any, rows: Sequence[ResultRow]) -> None:
    table.SetLocked(False)
    table.RemoveAllColumns()
    lines = _lines(rows)
    for column in COLUMNS:
        array = vtk.vtkStringArray() if column.isText else vtk.vtkDoubleArray()
        array.SetName(column.name)
        for line in lines:
            value = column.value(line)
            array.InsertNextValue(str(value or "") if column.isText else math.nan if value is None else float(value))
        table.AddColumn(array)
        table.SetColumnUnitLabel(column.name, column.unit)
        table.SetColumnDescription(column.name, column.description)
    table.SetLocked(True)
