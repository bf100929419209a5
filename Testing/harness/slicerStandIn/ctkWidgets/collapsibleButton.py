"""`ctkCollapsibleButton`: a headed section of a panel that folds."""

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from ..pythonQt.objects import PythonQtObject, PythonQtType

_HEADER_HEIGHT = 24
_UNLIMITED = 16777215  # Qt's QWIDGETSIZE_MAX


class ctkCollapsibleButton(PythonQtObject, QtWidgets.QAbstractButton, metaclass=PythonQtType):
    """Checked means open, as in CTK; `collapsed` is the opposite."""

    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, *arguments: Any) -> None:
        text = next((argument for argument in arguments if isinstance(argument, str)), "")
        super().__init__(*[argument for argument in arguments if not isinstance(argument, str)])
        self._collapsed = False
        self._hiddenByFolding: list[QtWidgets.QWidget] = []
        self.setCheckable(True)
        self.setChecked(True)
        self.setText(text)
        self.setContentsMargins(8, _HEADER_HEIGHT + 4, 4, 4)
        self.toggled.connect(lambda opened: self._setCollapsed(not opened))

    def _setCollapsed(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self.setChecked(not collapsed)
        if collapsed:
            self._hiddenByFolding = [
                w for w in self.children() if isinstance(w, QtWidgets.QWidget) and not w.isHidden()
            ]
        for widget in self._hiddenByFolding:
            widget.setVisible(not collapsed)
        self.setMaximumHeight(_HEADER_HEIGHT if collapsed else _UNLIMITED)
        self.updateGeometry()
        self.contentsCollapsed.emit(collapsed)

    collapsed = QtCore.Property(bool, lambda self: self._collapsed, _setCollapsed)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        super().childEvent(event)
        isWidget = event.added() and isinstance(event.child(), QtWidgets.QWidget)
        if self.__dict__.get("_collapsed") and isWidget:
            event.child().setVisible(False)
            self._hiddenByFolding.append(event.child())

    def sizeHint(self) -> QtCore.QSize:
        contents = self.layout().sizeHint() if self.layout() and not self._collapsed else QtCore.QSize(120, 0)
        return QtCore.QSize(max(120, contents.width()), max(_HEADER_HEIGHT, contents.height()))

    def minimumSizeHint(self) -> QtCore.QSize:
        open_ = self.layout() is not None and not self._collapsed
        contents = self.layout().minimumSize() if open_ else QtCore.QSize(60, 0)
        return QtCore.QSize(contents.width(), max(_HEADER_HEIGHT, contents.height()))

    def hitButton(self, position: QtCore.QPoint) -> bool:
        return position.y() <= _HEADER_HEIGHT

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width, _HEADER_HEIGHT)
        option.text = ("\u25b8 " if self._collapsed else "\u25be ") + self.text
        self.style().drawControl(QtWidgets.QStyle.ControlElement.CE_PushButton, option, painter, self)
        painter.end()
