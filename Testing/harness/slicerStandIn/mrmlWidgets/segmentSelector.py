"""`qMRMLSegmentSelectorWidget`: a segmentation node and one of its segments."""

from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from .mrmlWidget import qMRMLWidget
from .nodeComboBox import qMRMLNodeComboBox


class qMRMLSegmentSelectorWidget(qMRMLWidget):
    """Two combo boxes, the second listing the segments of the first's node."""

    currentNodeChanged = QtCore.Signal(object)
    currentSegmentChanged = QtCore.Signal(str)
    segmentSelectionChanged = QtCore.Signal("QStringList")

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._noneEnabled = False
        self._segmentation: Any = None
        self._tags: list[int] = []
        self._nodes = qMRMLNodeComboBox(self)
        self._nodes.nodeTypes = ["vtkMRMLSegmentationNode"]
        self._nodes.addEnabled = False
        self._segments = QtWidgets.QComboBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._nodes)
        layout.addWidget(self._segments)
        self._nodes.currentNodeChanged[object].connect(self._onNode)
        self._segments.currentIndexChanged.connect(self._onSegment)

    def setMRMLScene(self, scene: Any) -> None:
        super().setMRMLScene(scene)
        self._nodes.setMRMLScene(scene)

    def currentNode(self) -> Any:
        return self._nodes.currentNode()

    def currentNodeID(self) -> str:
        return self._nodes.currentNodeID

    def setCurrentNode(self, node: Any) -> None:
        self._nodes.setCurrentNode(node)

    def setCurrentNodeID(self, nodeID: str) -> None:
        self._nodes.setCurrentNodeID(nodeID)

    def currentSegmentID(self) -> str:
        return self._segments.currentData or ""

    def setCurrentSegmentID(self, segmentID: str) -> None:
        self._segments.setCurrentIndex(max(0, self._segments.findData(segmentID)))

    def _setNoneEnabled(self, enabled: bool) -> None:
        self._noneEnabled = enabled
        self._nodes.noneEnabled = enabled

    noneEnabled = QtCore.Property(bool, lambda self: self._noneEnabled, _setNoneEnabled)
    segmentNodeSelectorVisible = segmentationNodeSelectorVisible = QtCore.Property(
        bool, lambda self: not self._nodes.isHidden(), lambda self, visible: self._nodes.setVisible(visible)
    )

    def _onNode(self, node: Any) -> None:
        for tag in self._tags:
            self._segmentation.RemoveObserver(tag)
        self._segmentation, self._tags = (node.GetSegmentation() if node is not None else None), []
        events = slicer.vtkSegmentation
        if self._segmentation is not None:
            for event in (events.SegmentAdded, events.SegmentRemoved, events.SegmentModified):
                self._tags.append(self._segmentation.AddObserver(event, lambda caller, name: self._refresh()))
        self._refresh()
        self.currentNodeChanged.emit(node)

    def _refresh(self) -> None:
        kept = self.currentSegmentID()
        with QtCore.QSignalBlocker(self._segments):
            self._segments.clear()
            if self._noneEnabled:
                self._segments.addItem("None", "")
            for index in range(self._segmentation.GetNumberOfSegments() if self._segmentation is not None else 0):
                segment = self._segmentation.GetNthSegment(index)
                self._segments.addItem(segment.GetName(), self._segmentation.GetNthSegmentID(index))
            self._segments.setCurrentIndex(max(0, self._segments.findData(kept)))
        if self.currentSegmentID() != kept:
            self._onSegment()

    def _onSegment(self, index: int = 0) -> None:
        self.currentSegmentChanged.emit(self.currentSegmentID())
        self.segmentSelectionChanged.emit([self.currentSegmentID()] if self.currentSegmentID() else [])
