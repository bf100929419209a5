"""`ctkCollapsibleButton`: a headed section of a panel that folds."""

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from ..pythonQt.objects import PythonQtObject, PythonQtType

_HEADER_HEIGHT = 24
_UNLIMITED = 16777215  # Qt's QWIDGETSIZE_MAX
_OPEN = QtWidgets.QStyle.PrimitiveElement.PE_IndicatorArrowDown
_FOLDED = QtWidgets.QStyle.PrimitiveElement.PE_IndicatorArrowRight


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
        self.setContentsMargins(4, _HEADER_HEIGHT, 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Minimum)
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
        if self.layout() is None or self._collapsed:
            return QtCore.QSize(120, _HEADER_HEIGHT)
        return self.layout().totalSizeHint()

    def minimumSizeHint(self) -> QtCore.QSize:
        if self.layout() is None or self._collapsed:
            return QtCore.QSize(60, _HEADER_HEIGHT)
        return self.layout().totalMinimumSize()

    def hitButton(self, position: QtCore.QPoint) -> bool:
        return position.y() <= _HEADER_HEIGHT

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        header = option.rect = QtCore.QRect(0, 0, self.width, _HEADER_HEIGHT)
        style = self.style()
        style.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, option, painter, self)
        option.rect = QtCore.QRect(6, 6, _HEADER_HEIGHT - 12, _HEADER_HEIGHT - 12)
        style.drawPrimitive(_FOLDED if self._collapsed else _OPEN, option, painter, self)
        flags = QtCore.Qt.AlignmentFlag.AlignLeft | QtCore.Qt.AlignmentFlag.AlignVCenter
        painter.setPen(option.palette.color(QtGui.QPalette.ColorRole.ButtonText))
        painter.drawText(header.adjusted(_HEADER_HEIGHT, 0, 0, 0), flags, self.text)
        painter.end()
