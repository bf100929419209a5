"""A user's hand: clicks and strokes, sent through Qt's event system."""

from collections.abc import Sequence
from typing import Any

import slicer
from PySide6 import QtCore, QtTest, QtWidgets

from ..ctkWidgets.collapsibleButton import ctkCollapsibleButton

_LEFT = QtCore.Qt.MouseButton.LeftButton
_NO_KEYS = QtCore.Qt.KeyboardModifier.NoModifier


def click(widget: Any) -> None:
    """Click the middle of a widget; AssertionError if a user could not."""
    assert widget.isVisible(), f"{widget.name or widget} is not visible"
    assert widget.enabled, f"{widget.name or widget} is disabled: {widget.toolTip}"
    QtTest.QTest.mouseClick(widget, _LEFT)
    slicer.app.processEvents()


def drag(view: Any, points: Sequence[tuple[int, int]]) -> None:
    """Press the left button at the first of `points` (pixels from the upper left), move along them, release."""
    places = [QtCore.QPoint(int(x), int(y)) for x, y in points]
    QtTest.QTest.mousePress(view, _LEFT, _NO_KEYS, places[0])
    for place in places[1:]:
        QtTest.QTest.mouseMove(view, place)
        slicer.app.processEvents()
    QtTest.QTest.mouseRelease(view, _LEFT, _NO_KEYS, places[-1])
    slicer.app.processEvents()


def strokeRAS(sliceWidget: Any, points: Sequence[tuple[float, float, float]]) -> None:
    """Drag through `points` (RAS, mm) in a slice view, which must show the plane that they are in."""
    drag(sliceWidget, [pixelOf(sliceWidget, point) for point in points])


def pixelOf(sliceWidget: Any, ras: tuple[float, float, float]) -> tuple[int, int]:
    """Pixel (from the upper left) at which a slice view shows the point `ras` (mm)."""
    import vtk

    rasToXY = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(sliceWidget.mrmlSliceNode().GetXYToRAS(), rasToXY)
    x, y, _, _ = rasToXY.MultiplyPoint((*ras, 1))
    return round(x), sliceWidget.height - 1 - round(y)


def reveal(widget: Any) -> None:
    """Unfold the sections around a widget and scroll until it is in sight, as a user does."""
    around, areas = widget.parentWidget(), []
    while around is not None:
        if isinstance(around, ctkCollapsibleButton):
            around.collapsed = False
        if isinstance(around, QtWidgets.QScrollArea):
            areas.append(around)
        around = around.parentWidget()
    slicer.app.processEvents()
    for area in areas:
        area.ensureWidgetVisible(widget, 0, 0)
