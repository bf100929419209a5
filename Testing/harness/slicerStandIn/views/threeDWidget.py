"""`qMRMLThreeDWidget`: the 3D view of the layout, a coloured field with the view node behind it.

Rendering surfaces would take each test a tenth of a second a frame, and modules leave 3D to Slicer.
"""

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from .controllers import ViewController
from .viewWidget import ViewWidget

_TOP, _BOTTOM = QtGui.QColor(117, 120, 191), QtGui.QColor(194, 194, 232)


class qMRMLThreeDWidget(ViewWidget):
    """A placeholder that answers for its view node."""

    def __init__(self, viewNode: Any, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._node = viewNode
        self._controller = ViewController()
        self.setObjectName(f"qMRMLThreeDWidget{viewNode.GetLayoutName()}")

    def mrmlViewNode(self) -> Any:
        return self._node

    def threeDView(self) -> "qMRMLThreeDWidget":
        return self

    def threeDController(self) -> ViewController:
        return self._controller

    def resetFocalPoint(self) -> None:
        """Accepted."""

    def _mouse(self, event: QtGui.QMouseEvent, kind: str, vtkEvent: str) -> None:
        event.accept()

    def wheelEvent(self, event: QtGui.QWheelEvent) -> None:
        event.accept()

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        gradient = QtGui.QLinearGradient(0, 0, 0, self.height)
        gradient.setColorAt(0, _TOP)
        gradient.setColorAt(1, _BOTTOM)
        painter.fillRect(self.rect, gradient)
        painter.drawText(self.rect, QtCore.Qt.AlignmentFlag.AlignCenter, "3D")
        painter.end()
