"""`qMRMLSegmentsTableView`: the segments of a segmentation, with their colours; kept up to date."""

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from ..mrmlWidgets.watch import SEGMENT_EVENTS, Watch
from ..pythonQt.objects import PythonQtObject, PythonQtType


class qMRMLSegmentsTableView(PythonQtObject, QtWidgets.QWidget, metaclass=PythonQtType):
    """A list rather than a table; a segment is chosen by clicking it."""

    selectionChanged = QtCore.Signal()

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._segmentation: Any = None
        self._watch = Watch(self, self._refresh)
        self._list = QtWidgets.QListWidget(self)
        self._list.setMaximumHeight(110)
        self._list.itemSelectionChanged.connect(self.selectionChanged)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._list)

    def setMRMLScene(self, scene: Any) -> None:
        """Accepted: the segmentation node knows its scene."""

    def setSegmentationNode(self, node: Any) -> None:
        segmentation = node.GetSegmentation() if node is not None else None
        if segmentation is not self._segmentation:
            self._segmentation = segmentation
            self._watch.observe([segmentation], SEGMENT_EVENTS)
            self._refresh()

    def segmentCount(self) -> int:
        return self._segmentation.GetNumberOfSegments() if self._segmentation is not None else 0

    def selectedSegmentIDs(self) -> list[str]:
        return [item.data(QtCore.Qt.ItemDataRole.UserRole) for item in self._list.selectedItems()]

    def setSelectedSegmentIDs(self, segmentIDs: list[str]) -> None:
        with QtCore.QSignalBlocker(self._list):
            for row in range(self._list.count):
                item = self._list.item(row)
                item.setSelected(item.data(QtCore.Qt.ItemDataRole.UserRole) in segmentIDs)

    def _refresh(self) -> None:
        chosen = self.selectedSegmentIDs()
        with QtCore.QSignalBlocker(self._list):
            self._list.clear()
            for index in range(self.segmentCount()):
                segment = self._segmentation.GetNthSegment(index)
                item = QtWidgets.QListWidgetItem(_colourIcon(segment.GetColor()), segment.GetName())
                item.setData(QtCore.Qt.ItemDataRole.UserRole, self._segmentation.GetNthSegmentID(index))
                self._list.addItem(item)
        self.setSelectedSegmentIDs(chosen)


def _colourIcon(colour: tuple[float, float, float]) -> QtGui.QIcon:
    pixmap = QtGui.QPixmap(12, 12)
    pixmap.fill(QtGui.QColor.fromRgbF(*colour))
    return QtGui.QIcon(pixmap)
