"""`qMRMLNodeComboBox`: chooses, makes and removes nodes of the scene."""

from typing import Any

import shiboken6
import vtk
from PySide6 import QtCore, QtWidgets

from ..pythonQt.objects import PythonQtObject, PythonQtType
from .watch import SCENE_EVENTS, Watch

_CREATE = "create:"


def _switch(name: str, default: bool) -> Any:
    """A Boolean property whose change makes the list anew."""
    stored = f"_{name}"

    def write(self: Any, value: bool) -> None:
        setattr(self, stored, bool(value))
        self._refresh()

    return QtCore.Property(bool, lambda self: self.__dict__.get(stored, default), write)


class qMRMLNodeComboBox(PythonQtObject, QtWidgets.QWidget, metaclass=PythonQtType):
    """Lists the scene's nodes of `nodeTypes`; follows what is added, removed and renamed.

    As in Slicer the first node to come is chosen by itself when `noneEnabled` is off.
    """

    currentNodeChanged = QtCore.Signal((object,), (bool,))
    currentNodeIDChanged = QtCore.Signal(str)
    nodeActivated = QtCore.Signal(object)
    nodeAddedByUser = QtCore.Signal(object)
    nodeAboutToBeRemoved = QtCore.Signal(object)

    addEnabled = _switch("addEnabled", True)
    removeEnabled = _switch("removeEnabled", True)
    renameEnabled = _switch("renameEnabled", False)
    editEnabled = _switch("editEnabled", False)
    noneEnabled = _switch("noneEnabled", False)
    showHidden = _switch("showHidden", False)
    showChildNodeTypes = _switch("showChildNodeTypes", True)
    selectNodeUponCreation = _switch("selectNodeUponCreation", True)
    interactionNodeSingletonTag = QtCore.Property(str, lambda self: "", lambda self, tag: None)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._box = QtWidgets.QComboBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._scene: Any = None
        self._nodeTypes: list[str] = []
        self._attributes: list[tuple[str, str, str | None]] = []
        self._currentID, self._baseName, self._noneDisplay = "", "", "None"
        self._empty = True
        self._watch = Watch(self, self._refresh)
        self._nodeWatch = Watch(self, self._relabel)
        self._box.activated.connect(self._onActivated)

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        self._watch.observe([scene], SCENE_EVENTS)
        self._refresh()

    def mrmlScene(self) -> Any:
        return self._scene

    def addAttribute(self, nodeType: str, name: str, value: str | None = None) -> None:
        """List nodes of `nodeType` only if they carry the attribute, and with that value if one is given."""
        self._attributes.append((nodeType, name, value))
        self._refresh()

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._currentID) if self._scene and self._currentID else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node.GetID() if node else "")

    def setCurrentNodeID(self, nodeID: str) -> None:
        listed = nodeID and nodeID in [node.GetID() for node in self._nodes()]
        self._choose(nodeID if listed else "")

    def nodeCount(self) -> int:
        return len(self._nodes())

    def nodeFromIndex(self, index: int) -> Any:
        nodes = self._nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    def addNode(self, nodeType: str = "") -> Any:
        """Do what "Create new …" in the list does."""
        nodeType = nodeType or self._nodeTypes[0]
        name = self._scene.GenerateUniqueName(self._baseName or self._typeLabel(nodeType))
        node = self._scene.AddNewNodeByClass(nodeType, name)
        for cls, attribute, value in self._attributes:
            if node.IsA(cls) and value is not None:
                node.SetAttribute(attribute, value)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        """Do what "Delete current …" in the list does."""
        node = self.currentNode()
        if node is not None:
            self.nodeAboutToBeRemoved.emit(node)
            self._scene.RemoveNode(node)

    def _nodes(self) -> list[Any]:
        if not self._scene:
            return []
        found: dict[str, Any] = {}
        for nodeType in self._nodeTypes:
            for index in range(self._scene.GetNumberOfNodesByClass(nodeType)):
                node = self._scene.GetNthNodeByClass(index, nodeType)
                if self._lists(node):
                    found[node.GetID()] = node
        return list(found.values())

    def _lists(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        if not self.showChildNodeTypes and node.GetClassName() not in self._nodeTypes:
            return False
        return all(
            not node.IsA(cls)
            or (node.GetAttribute(name) is not None if value is None else node.GetAttribute(name) == value)
            for cls, name, value in self._attributes
        )

    def _refresh(self) -> None:
        nodes = self._nodes()
        self._nodeWatch.observe(nodes, [vtk.vtkCommand.ModifiedEvent])
        with QtCore.QSignalBlocker(self._box):
            self._box.clear()
            if self.noneEnabled or not nodes:
                self._box.addItem(self._noneDisplay if self.noneEnabled else "Select a node", "")
            for node in nodes:
                self._box.addItem(node.GetName(), node.GetID())
            for nodeType in self._nodeTypes if self.addEnabled and self._scene else ():
                self._box.addItem(f"Create new {self._typeLabel(nodeType)}", _CREATE + nodeType)
        listed = [node.GetID() for node in nodes]
        wasEmpty, self._empty = self._empty, not listed
        if self._currentID in listed:
            self._choose(self._currentID)
        else:
            self._choose(listed[0] if listed and self._choosesFirst(wasEmpty) else "")

    def _choosesFirst(self, wasEmpty: bool) -> bool:
        """As in Slicer: when the first node comes, or the chosen one goes; but "nothing chosen" stays so."""
        return not self.noneEnabled and (wasEmpty or bool(self._currentID))

    def _relabel(self) -> None:
        for node in self._nodes():
            # Qt removes children before it says that their parent is gone, and Python may collect the parent meanwhile.
            if not shiboken6.isValid(self._box):
                return
            self._box.setItemText(self._box.findData(node.GetID()), node.GetName())

    def _typeLabel(self, nodeType: str) -> str:
        node = self._scene.CreateNodeByClass(nodeType)
        if node is None:
            return nodeType
        node.UnRegister(None)
        return node.GetNodeTagName()

    def _choose(self, nodeID: str) -> None:
        changed = nodeID != self._currentID
        self._currentID = nodeID
        with QtCore.QSignalBlocker(self._box):
            self._box.setCurrentIndex(max(0, self._box.findData(nodeID)))
        if changed:
            node = self.currentNode()
            self.currentNodeChanged[object].emit(node)
            self.currentNodeChanged[bool].emit(node is not None)
            self.currentNodeIDChanged.emit(nodeID)

    def _onActivated(self, index: int) -> None:
        data = self._box.itemData(index) or ""
        if data.startswith(_CREATE):
            self.addNode(data.removeprefix(_CREATE))
        else:
            self._choose(data)
            self.nodeActivated.emit(self.currentNode())

    def _setNodeTypes(self, nodeTypes: Any) -> None:
        self._nodeTypes = [nodeTypes] if isinstance(nodeTypes, str) else list(nodeTypes)
        self._refresh()

    def _setBaseName(self, baseName: str) -> None:
        self._baseName = baseName

    def _setNoneDisplay(self, text: str) -> None:
        self._noneDisplay = text
        self._refresh()

    nodeTypes = QtCore.Property("QStringList", lambda self: self._nodeTypes, _setNodeTypes)
    baseName = QtCore.Property(str, lambda self: self._baseName, _setBaseName)
    noneDisplay = QtCore.Property(str, lambda self: self._noneDisplay, _setNoneDisplay)
    currentNodeID = QtCore.Property(str, lambda self: self._currentID, setCurrentNodeID)
