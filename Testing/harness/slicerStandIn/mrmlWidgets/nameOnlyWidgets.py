"""Widgets that a .ui file may name and a module may hand the scene and a node; they show nothing."""

from typing import Any

from PySide6 import QtCore, QtWidgets

from ..ctkWidgets.rangeWidget import ctkRangeWidget
from ..ctkWidgets.sliderWidget import ctkSliderWidget
from ..ctkWidgets.spinBox import ctkDoubleSpinBox
from ..pythonQt.objects import PythonQtType
from .mrmlWidget import qMRMLWidget


class qMRMLSubjectHierarchyTreeView(qMRMLWidget):
    """Keeps the current item."""

    currentItemChanged = QtCore.Signal(object)
    currentItemsChanged = QtCore.Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._item = 0
        self._nodeTypes: list[str] = []

    def subjectHierarchyNode(self) -> Any:
        return self.mrmlScene().GetSubjectHierarchyNode() if self.mrmlScene() else None

    def currentItem(self) -> int:
        return self._item

    def setCurrentItem(self, item: int) -> None:
        if item != self._item:
            self._item = item
            self.currentItemChanged.emit(item)
            self.currentItemsChanged.emit([item])

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentItem(self.subjectHierarchyNode().GetItemByDataNode(node) if node is not None else 0)

    def currentNode(self) -> Any:
        return self.subjectHierarchyNode().GetItemDataNode(self._item) if self._item else None

    def clearSelection(self) -> None:
        self.setCurrentItem(0)

    def setRootItem(self, item: int) -> None:
        """Accepted."""

    def _setNodeTypes(self, nodeTypes: Any) -> None:
        self._nodeTypes = list(nodeTypes)

    nodeTypes = QtCore.Property("QStringList", lambda self: self._nodeTypes, _setNodeTypes)


class _NodeShower(qMRMLWidget):
    """Takes a node and shows nothing of it."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._node: Any = None

    def setMRMLVolumeNode(self, node: Any) -> None:
        self._node = node

    setMRMLNode = setMRMLSequenceBrowserNode = setMRMLVolumeNode

    def mrmlVolumeNode(self) -> Any:
        return self._node


_SHOWN_EMPTY = (
    "qMRMLCheckableNodeComboBox",
    "qMRMLColorTableComboBox",
    "qMRMLSequenceBrowserPlayWidget",
    "qMRMLSequenceBrowserSeekWidget",
    "qMRMLSubjectHierarchyComboBox",
    "qMRMLTransformSliders",
    "qMRMLVolumeThresholdWidget",
    "qMRMLWindowLevelWidget",
)


def nameOnlyWidgets() -> dict[str, type]:
    """The classes by name."""
    shown = {name: PythonQtType(name, (_NodeShower,), {"__module__": __name__}) for name in _SHOWN_EMPTY}
    return {
        **shown,
        "qMRMLSubjectHierarchyTreeView": qMRMLSubjectHierarchyTreeView,
        "qMRMLSliderWidget": PythonQtType("qMRMLSliderWidget", (ctkSliderWidget,), {"__module__": __name__}),
        "qMRMLRangeWidget": PythonQtType("qMRMLRangeWidget", (ctkRangeWidget,), {"__module__": __name__}),
        "qMRMLSpinBox": PythonQtType("qMRMLSpinBox", (ctkDoubleSpinBox,), {"__module__": __name__}),
    }
