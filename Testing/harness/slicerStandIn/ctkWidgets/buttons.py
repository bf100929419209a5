"""`ctkCheckablePushButton` and `ctkColorPickerButton`."""

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from ..pythonQt.objects import PythonQtObject, PythonQtType


class ctkPushButton(PythonQtObject, QtWidgets.QPushButton, metaclass=PythonQtType):
    """As Qt's."""


class ctkCheckablePushButton(ctkPushButton):
    """The check box in the button is not drawn; that it may rule the button's own state is kept."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._ruled = False

    def _setRuled(self, ruled: bool) -> None:
        self._ruled = ruled

    checkBoxControlsButtonToggleState = QtCore.Property(bool, lambda self: self._ruled, _setRuled)


class ctkColorPickerButton(PythonQtObject, QtWidgets.QPushButton, metaclass=PythonQtType):
    """Shows the name of its colour; black at first. It opens no dialog."""

    colorChanged = QtCore.Signal(QtGui.QColor)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._color = QtGui.QColor(0, 0, 0)

    def setColor(self, color: QtGui.QColor) -> None:
        if color != self._color:
            self._color = QtGui.QColor(color)
            self.setText(self._color.name())
            self.colorChanged.emit(self._color)

    color = QtCore.Property(QtGui.QColor, lambda self: self._color, setColor)
