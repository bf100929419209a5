"""Slicer's module panel: Help at the top, the module's widget below it, and a scroll area around both."""

from typing import Any

from PySide6 import QtCore, QtWidgets

from ..ctkWidgets.collapsibleButton import ctkCollapsibleButton

_WIDTH = 430
_Policy = QtWidgets.QSizePolicy.Policy


class qSlicerModulePanel(QtWidgets.QScrollArea):
    """As in Slicer, the contents are as wide as the panel and at least as high as their layout's least size, at most
    as high as its largest: what asks for more height than there is, is scrolled.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidgetResizable(True)
        self.setMinimumWidth(_WIDTH)
        contents = QtWidgets.QWidget()
        contents.setSizePolicy(_Policy.Minimum, _Policy.Preferred)
        self._layout = QtWidgets.QVBoxLayout(contents)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSizeConstraint(QtWidgets.QLayout.SizeConstraint.SetMinAndMaxSize)
        self._help = ctkCollapsibleButton("Help && Acknowledgement")
        self._help.setSizePolicy(_Policy.Ignored, _Policy.Fixed)
        self._help.collapsed = True
        self._layout.addWidget(self._help)
        self._layout.addItem(QtWidgets.QSpacerItem(0, 0, _Policy.Minimum, _Policy.MinimumExpanding))
        self.setWidget(contents)

    def addModule(self, module: Any) -> None:
        """Show the module's widget and enter it."""
        widget = module.widgetRepresentation()
        widget.layout().setContentsMargins(0, 0, 0, 0)
        self._layout.insertWidget(1, widget, 1)
        widget.setSizePolicy(_Policy.Minimum, widget.sizePolicy.verticalPolicy())
        widget.setVisible(True)
        widget.installEventFilter(self)
        self._fit()
        widget.enter()

    def takeModule(self) -> None:
        """Let go of the module's widget, whoever left it."""
        item = self._layout.itemAt(1)
        widget = item.widget() if item is not None else None
        if widget is not None:
            widget.removeEventFilter(self)
            self._layout.takeAt(1)
            widget.setVisible(False)
            widget.setParent(None)

    def eventFilter(self, watched: QtCore.QObject, event: QtCore.QEvent) -> bool:
        if event.type() == QtCore.QEvent.Type.Resize:
            self._fit()
        return False

    def _fit(self) -> None:
        """Slicer's panel is never narrower than its contents' least width."""
        least = self.widget().minimumSizeHint().width() + self.verticalScrollBar().sizeHint().width()
        self.setMinimumWidth(max(_WIDTH, least))
