"""`qMRMLSegmentSelectorWidget`: a segmentation node and one of its segments."""

from typing import Any

from PySide6 import QtCore, QtWidgets

from .mrmlWidget import qMRMLWidget
from .nodeComboBox import qMRMLNodeComboBox
from .watch import SEGMENT_EVENTS, Watch


class qMRMLSegmentSelectorWidget(qMRMLWidget):
    """Two combo boxes, the second listing the segments of the first's node."""

    currentNodeChanged = QtCore.Signal(object)
    currentSegmentChanged = QtCore.Signal(str)
    segmentSelectionChanged = QtCore.Signal("QStringList")

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._noneEnabled = False
        self._segmentation: Any = None
        self._watch = Watch(self, self._refresh)
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
    segmentationNodeSelectorVisible = QtCore.Property(
        bool, lambda self: not self._nodes.isHidden(), lambda self, visible: self._nodes.setVisible(visible)
    )

    def _onNode(self, node: Any) -> None:
        self._segmentation = node.GetSegmentation() if node is not None else None
        self._watch.observe([self._segmentation], SEGMENT_EVENTS)
        self._refresh()
        self.currentNodeChanged.emit(node)

    def _refresh(self) -> None:
        kept, segmentation = self.currentSegmentID(), self._segmentation
        with QtCore.QSignalBlocker(self._segments):
            self._segments.clear()
            if self._noneEnabled:
                self._segments.addItem("None", "")
            for index in range(segmentation.GetNumberOfSegments() if segmentation is not None else 0):
                segment = segmentation.GetNthSegment(index)
                self._segments.addItem(segment.GetName(), segmentation.GetNthSegmentID(index))
            self._segments.setCurrentIndex(max(0, self._segments.findData(kept)))
        if self.currentSegmentID() != kept:
            self._onSegment()

    def _onSegment(self, index: int = 0) -> None:
        self.currentSegmentChanged.emit(self.currentSegmentID())
        self.segmentSelectionChanged.emit([self.currentSegmentID()] if self.currentSegmentID() else [])
