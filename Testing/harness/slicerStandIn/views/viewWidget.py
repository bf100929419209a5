"""A Qt widget that shows an off-screen view and hands it the mouse."""

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from ..pythonQt.objects import PythonQtObject, PythonQtType

_BUTTONS = {
    QtCore.Qt.MouseButton.LeftButton: "Left",
    QtCore.Qt.MouseButton.RightButton: "Right",
    QtCore.Qt.MouseButton.MiddleButton: "Middle",
}


class ViewWidget(PythonQtObject, QtWidgets.QWidget, metaclass=PythonQtType):
    """Renders when the event loop is idle, however often it was asked to.

    Other widgets may take the mouse before the view does: see `addMouseListener`.
    """

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._renderView: Any = None
        self._image: QtGui.QImage | None = None
        self._mouseListeners: list[Any] = []
        self._timer = QtCore.QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.forceRender)
        self.setMouseTracking(True)
        self.setMinimumSize(80, 80)

    def scheduleRender(self) -> None:
        if not self._timer.active:
            self._timer.start(10)

    def forceRender(self) -> None:
        """Render now, if the view has been shown."""
        if self._renderView is None or self.width < 2 or not self.isVisible():
            return
        pixels = self._renderView.pixels()
        height, width, _ = pixels.shape
        self._image = QtGui.QImage(pixels.data, width, height, 3 * width, QtGui.QImage.Format.Format_RGB888).copy()
        self.update()

    def renderWindow(self) -> Any:
        return self._renderView.window

    def interactor(self) -> Any:
        return self._renderView.interactor

    def addMouseListener(self, listener: Any) -> None:
        """`listener(view, kind, x, y)` with kind press, move or release gets the left button; True takes the event.

        x, y are in VTK's pixels: origin at the lower left.
        """
        self._mouseListeners.append(listener)

    def removeMouseListener(self, listener: Any) -> None:
        if listener in self._mouseListeners:
            self._mouseListeners.remove(listener)

    def displayPosition(self, position: QtCore.QPointF) -> tuple[int, int]:
        return int(position.x()), self.height - 1 - int(position.y())

    def _mouse(self, event: QtGui.QMouseEvent, kind: str, vtkEvent: str) -> None:
        x, y = self.displayPosition(event.position())
        leftHeld = QtCore.Qt.MouseButton.LeftButton in (
            event.button(),
            event.buttons() & QtCore.Qt.MouseButton.LeftButton,
        )
        if leftHeld and any(listener(self, kind, x, y) for listener in list(self._mouseListeners)):
            return
        modifiers = event.modifiers()
        control = bool(modifiers & QtCore.Qt.KeyboardModifier.ControlModifier)
        shift = bool(modifiers & QtCore.Qt.KeyboardModifier.ShiftModifier)
        self.interactor().SetEventInformation(x, y, int(control), int(shift))
        self.interactor().InvokeEvent(vtkEvent)

    def mouseMoveEvent(self, event: QtGui.QMouseEvent) -> None:
        self._mouse(event, "move", "MouseMoveEvent")

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        self._mouse(event, "press", f"{_BUTTONS[event.button()]}ButtonPressEvent")

    def mouseReleaseEvent(self, event: QtGui.QMouseEvent) -> None:
        self._mouse(event, "release", f"{_BUTTONS[event.button()]}ButtonReleaseEvent")

    def wheelEvent(self, event: QtGui.QWheelEvent) -> None:
        forward = event.angleDelta().y() > 0
        self.interactor().InvokeEvent("MouseWheelForwardEvent" if forward else "MouseWheelBackwardEvent")

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        self._resizeView(event.size().width(), event.size().height())
        self.scheduleRender()

    def _resizeView(self, width: int, height: int) -> None:
        if self._renderView is not None:
            self._renderView.resize(width, height)

    def showEvent(self, event: QtGui.QShowEvent) -> None:
        self.scheduleRender()

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        if self._image is None:
            painter.fillRect(self.rect, QtCore.Qt.GlobalColor.black)
        else:
            painter.drawImage(0, 0, self._image)
        painter.end()
