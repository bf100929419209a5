"""Charts of a result: volumes obtained against volumes asked for, and Dice with and without conditions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _
from vcm.core.errors import Code, VcmError

from VCMSlicerLib.results.results import ResultRow, keepWith
from VCMSlicerLib.results.scoreNodes import newTable

CHART_REFERENCE = "VCMSlicer.charts"
PARTS_REFERENCE = "VCMSlicer.chartParts"
CHART_ROLE, PART_ROLE = "chart", "chart part"
EQUAL_COLOR, WITH_COLOR, WITHOUT_COLOR = (0.55, 0.55, 0.55), (0.0, 0.45, 0.70), (0.90, 0.62, 0.0)
LOG_RATIO = 20
"""How many times the largest volume is the smallest, from which on volumes are drawn on log axes."""

MARGIN = 1.25


@dataclass(frozen=True)
class _Measured:
    """A structure that was measured."""

    name: str
    asked: float
    obtained: float
    dice: float
    without: float | None


def scoreCharts(row: ResultRow) -> tuple[Any, Any]:
    """The chart of volumes and that of Dice; made once and kept with the result.

    VcmError says why there are none.
    """
    node = row.node
    there = [
        node.GetNthNodeReference(CHART_REFERENCE, n) for n in range(node.GetNumberOfNodeReferences(CHART_REFERENCE))
    ]
    if len(there) == 2 and all(there):
        return there[0], there[1]
    measured = _measured(row)
    if not measured:
        words = _("No structure of {name} was measured, so there is nothing to draw.")
        raise VcmError(Code.CONDITION, words.format(name=node.GetName()))
    columns: dict[str, list[Any]] = {
        "structure": [entry.name for entry in measured],
        "asked_ml": [entry.asked for entry in measured],
        "obtained_ml": [entry.obtained for entry in measured],
        "dice": [entry.dice for entry in measured],
        "dice_without": [entry.without or 0.0 for entry in measured],
    }
    data = _table(row, _("{name}, data of its charts"), columns)
    return _volumeChart(row, data, measured), _diceChart(row, data, measured)


def showChart(chart: Any) -> None:
    """Show a chart in a plot view, in a layout that has one."""
    slicer.modules.plots.logic().ShowChartInLayout(chart)


def _volumeChart(row: ResultRow, data: Any, measured: list[_Measured]) -> Any:
    volumes = [volume for entry in measured for volume in (entry.asked, entry.obtained)]
    low, high = min(volumes), max(volumes)
    isLog = low > 0 and high / low >= LOG_RATIO
    ends = [low / MARGIN if isLog else 0.0, high * MARGIN]
    line = _table(row, _("{name}, equal volumes"), {"asked_ml": ends, "obtained_ml": ends})
    equal = _series(row, line, _("Equal"), EQUAL_COLOR, x="asked_ml", y="obtained_ml")
    equal.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleDash)
    equal.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
    found = _series(row, data, _("Structures (synthetic)"), WITH_COLOR, x="asked_ml", y="obtained_ml")
    found.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleNone)
    found.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
    found.SetMarkerSize(11)
    title = _("{name}: volumes obtained against asked for")
    chart = _chart(row, title, _("Asked for, ml"), _("Obtained, ml"), (equal, found))
    chart.SetXAxisLogScale(isLog)
    chart.SetYAxisLogScale(isLog)
    return chart


def _diceChart(row: ResultRow, data: Any, measured: list[_Measured]) -> Any:
    series = [_series(row, data, _("With conditions (synthetic)"), WITH_COLOR, y="dice")]
    if all(entry.without is not None for entry in measured):
        series.append(_series(row, data, _("Without (synthetic)"), WITHOUT_COLOR, y="dice_without"))
    # Slicer numbers the bars from 0 and shows a bar's name only under the pointer.
    names = ", ".join(f"{place}: {entry.name}" for place, entry in enumerate(measured))
    chart = _chart(row, _("{name}: overlap with what was asked for"), names, _("Dice"), series)
    chart.SetYAxisRangeAuto(False)
    chart.SetYAxisRange(0.0, 1.0)
    return chart


def _measured(row: ResultRow) -> list[_Measured]:
    twin = (
        {(score.condition, score.name): score for score in row.alignmentWithout.classes} if row.alignmentWithout else {}
    )
    found = []
    for score in row.alignment.classes if row.alignment else ():
        if score.obtained_ml is not None and score.dice is not None:
            other = twin.get((score.condition, score.name))
            dice = other.dice if other is not None else None
            found.append(_Measured(score.name, score.requested_ml, score.obtained_ml, score.dice, dice))
    return found


def _table(row: ResultRow, name: str, columns: dict[str, list[Any]]) -> Any:
    table = newTable(name.format(name=row.node.GetName()), hidden=True)
    for title, values in columns.items():
        array = vtk.vtkStringArray() if isinstance(values[0], str) else vtk.vtkDoubleArray()
        array.SetName(title)
        for value in values:
            array.InsertNextValue(value)
        table.AddColumn(array)
    keepWith(row.node, table, PARTS_REFERENCE, PART_ROLE)
    return table


def _series(row: ResultRow, table: Any, name: str, color: tuple[float, float, float], *, y: str, x: str = "") -> Any:
    """Points where `x` is named, else a bar for each structure. The legend shows the series by its name."""
    series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
    series.SetAndObserveTableNodeID(table.GetID())
    kinds = slicer.vtkMRMLPlotSeriesNode
    series.SetPlotType(kinds.PlotTypeScatter if x else kinds.PlotTypeBar)
    if x:
        series.SetXColumnName(x)
    series.SetYColumnName(y)
    if table.GetColumnIndex("structure") >= 0:
        series.SetLabelColumnName("structure")
    series.SetColor(*color)
    keepWith(row.node, series, PARTS_REFERENCE, PART_ROLE)
    return series


def _chart(row: ResultRow, title: str, across: str, up: str, series: Any) -> Any:
    words = title.format(name=row.node.GetName())
    chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", words)
    chart.SetTitle(words)
    chart.SetXAxisTitle(across)
    chart.SetYAxisTitle(up)
    for entry in series:
        chart.AddAndObservePlotSeriesNodeID(entry.GetID())
    keepWith(row.node, chart, CHART_REFERENCE, CHART_ROLE)
    return chart
