"""`ctkCollapsibleButton`: a headed section of a panel that folds."""

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from ..pythonQt.objects import PythonQtObject, PythonQtType

_HEADER_HEIGHT = 24
_WANTED = "visibilityToParent"
_UNLIMITED = 16777215  # Qt's QWIDGETSIZE_MAX
_OPEN = QtWidgets.QStyle.PrimitiveElement.PE_IndicatorArrowDown
_FOLDED = QtWidgets.QStyle.PrimitiveElement.PE_IndicatorArrowRight


class ctkCollapsibleButton(PythonQtObject, QtWidgets.QAbstractButton, metaclass=PythonQtType):
    """Checked means open, as in CTK; `collapsed` is the opposite.

    As in CTK, a child that is shown while the button is folded stays hidden until it unfolds, and one that was hidden
    by the module meanwhile stays hidden then.
    """

    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, *arguments: Any) -> None:
        text = next((argument for argument in arguments if isinstance(argument, str)), "")
        super().__init__(*[argument for argument in arguments if not isinstance(argument, str)])
        self._collapsed = False
        self._forcing = False
        self.setCheckable(True)
        self.setChecked(True)
        self.setText(text)
        self.setContentsMargins(4, _HEADER_HEIGHT, 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Minimum, QtWidgets.QSizePolicy.Policy.Preferred)
        self.toggled.connect(lambda opened: self._setCollapsed(not opened))

    def _setCollapsed(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self.setChecked(not collapsed)
        self.setMaximumHeight(_HEADER_HEIGHT if collapsed else _UNLIMITED)
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                self._setChildVisible(child)
        self.updateGeometry()
        self.contentsCollapsed.emit(collapsed)

    collapsed = QtCore.Property(bool, lambda self: self._collapsed, _setCollapsed)

    def _setChildVisible(self, child: QtWidgets.QWidget) -> None:
        wanted = QtCore.QObject.property(child, _WANTED) is not False
        self._forcing = True
        child.setVisible(wanted and not self._collapsed)
        self._forcing = False
        if wanted:
            child.setAttribute(QtCore.Qt.WidgetAttribute.WA_WState_ExplicitShowHide, False)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        super().childEvent(event)
        child = event.child()
        if "_forcing" in self.__dict__ and event.added() and isinstance(child, QtWidgets.QWidget):
            attributes = QtCore.Qt.WidgetAttribute
            explicit = child.testAttribute(attributes.WA_WState_ExplicitShowHide)
            if explicit and child.testAttribute(attributes.WA_WState_Hidden):
                QtCore.QObject.setProperty(child, _WANTED, False)
            child.installEventFilter(self)
            if self._collapsed:
                self._setChildVisible(child)

    def eventFilter(self, child: QtCore.QObject, event: QtCore.QEvent) -> bool:
        kinds = {QtCore.QEvent.Type.ShowToParent: True, QtCore.QEvent.Type.HideToParent: False}
        if event.type() in kinds and not self._forcing:
            QtCore.QObject.setProperty(child, _WANTED, kinds[event.type()])
            if self._collapsed:
                self._setChildVisible(child)
        return False

    def setVisible(self, visible: bool) -> None:
        # Showing and hiding the button shows and hides its children: that is no wish of the module's.
        self._forcing = True
        super().setVisible(visible)
        self._forcing = False

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
