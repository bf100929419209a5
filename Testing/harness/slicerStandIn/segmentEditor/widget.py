"""`qMRMLSegmentEditorWidget`: the interface of Slicer's, its list of segments, Paint, Erase, Undo and Redo."""

from collections.abc import Callable
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from ..mrmlWidgets.mrmlWidget import qMRMLWidget
from .effects import EraseEffect, PaintEffect
from .segmentsView import qMRMLSegmentsTableView
from .toolBar import EditorToolBar

_SETTINGS = {
    "readOnly": False,
    "undoEnabled": True,
    "segmentationNodeSelectorVisible": True,
    "sourceVolumeNodeSelectorVisible": True,
    "switchToSegmentationsButtonVisible": True,
    "autoShowSourceVolumeNode": True,
    "unorderedEffectsVisible": True,
}


def _setting(name: str) -> QtCore.Property:
    def write(self: "qMRMLSegmentEditorWidget", value: bool) -> None:
        self._settings[name] = bool(value)
        self._modified()

    return QtCore.Property(bool, lambda self: self._settings[name], write)


def _setter(name: str) -> Callable[["qMRMLSegmentEditorWidget", bool], None]:
    return lambda self, value: setattr(self, name, value)


class qMRMLSegmentEditorWidget(qMRMLWidget):
    """Edits as Slicer does, through vtkSlicerSegmentEditorLogic.

    As in Slicer the editor node comes before the scene, and the mouse reaches an effect only between
    `setupViewObservations` and `removeViewObservations`.
    """

    segmentationNodeChanged = QtCore.Signal(object)
    sourceVolumeNodeChanged = QtCore.Signal(object)
    currentSegmentIDChanged = QtCore.Signal(str)

    readOnly, setReadOnly = _setting("readOnly"), _setter("readOnly")
    undoEnabled, setUndoEnabled = _setting("undoEnabled"), _setter("undoEnabled")
    segmentationNodeSelectorVisible = _setting("segmentationNodeSelectorVisible")
    setSegmentationNodeSelectorVisible = _setter("segmentationNodeSelectorVisible")
    sourceVolumeNodeSelectorVisible = _setting("sourceVolumeNodeSelectorVisible")
    setSourceVolumeNodeSelectorVisible = _setter("sourceVolumeNodeSelectorVisible")
    switchToSegmentationsButtonVisible = _setting("switchToSegmentationsButtonVisible")
    setSwitchToSegmentationsButtonVisible = _setter("switchToSegmentationsButtonVisible")
    autoShowSourceVolumeNode = _setting("autoShowSourceVolumeNode")
    setAutoShowSourceVolumeNode = _setter("autoShowSourceVolumeNode")
    unorderedEffectsVisible = _setting("unorderedEffectsVisible")

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._effects = {effect.name: effect for effect in (PaintEffect(self), EraseEffect(self))}
        self._effect: PaintEffect | None = None
        self._observedViews: list[Any] = []
        self._viewsObserved = self._followsLayout = False
        self._settings = dict(_SETTINGS)
        self._shortcuts: list[QtGui.QShortcut] = []
        self._effectOrder: list[str] = []
        self._toolBar = EditorToolBar(self)
        self._table = qMRMLSegmentsTableView(self)
        box = QtWidgets.QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self._toolBar)
        box.addWidget(self._table)
        self._table.selectionChanged.connect(self._onTableSelection)
        self._modified()

    # Nodes

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        self._node = node
        self._logic.SetSegmentEditorNode(node)
        self.updateWidgetFromMRML()

    def mrmlSegmentEditorNode(self) -> Any:
        return self._node

    def setMRMLScene(self, scene: Any) -> None:
        self._logic.SetMRMLScene(scene)
        super().setMRMLScene(scene)
        if slicer.app.layoutManager() is not None and not self._followsLayout:
            slicer.app.layoutManager().layoutChanged.connect(self._onLayoutChanged)
            self._followsLayout = True
        self.updateWidgetFromMRML()

    def segmentationNode(self) -> Any:
        return self._node.GetSegmentationNode() if self._node else None

    def sourceVolumeNode(self) -> Any:
        return self._node.GetSourceVolumeNode() if self._node else None

    def setSegmentationNode(self, node: Any) -> None:
        self._needNode()
        if node is self.segmentationNode():
            return
        self._logic.SetSegmentationNode(node)
        self._node.SetAndObserveSegmentationNode(node)
        if node is not None and node.GetSegmentation().GetNumberOfSegments():
            self.setCurrentSegmentID(node.GetSegmentation().GetNthSegmentID(0))
        self.updateWidgetFromMRML()
        self.segmentationNodeChanged.emit(node)

    def setSourceVolumeNode(self, node: Any) -> None:
        self._needNode()
        if node is self.sourceVolumeNode():
            return
        self._logic.SetSourceVolumeNode(node)
        self._node.SetAndObserveSourceVolumeNode(node)
        segmentation = self.segmentationNode()
        if node is not None and segmentation is not None and not self._logic.GetReferenceImageGeometryString():
            segmentation.SetReferenceImageGeometryParameterFromVolumeNode(node)
        if node is not None and self._settings["autoShowSourceVolumeNode"]:
            self._showSourceVolume()
        self.updateWidgetFromMRML()
        self.sourceVolumeNodeChanged.emit(node)

    def _showSourceVolume(self) -> None:
        """As showSourceVolumeInSliceViewers of qMRMLSegmentEditorWidget.cxx: in each view that shows it nowhere."""
        if slicer.app.layoutManager() is None:
            return
        nodeID = self.sourceVolumeNode().GetID()
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            if nodeID not in (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()):
                composite.SetBackgroundVolumeID(nodeID)
                composite.SetForegroundVolumeID(None)
                composite.SetLabelVolumeID(None)

    def _needNode(self) -> None:
        if self._node is None:
            raise RuntimeError("the segment editor needs its node first: setMRMLSegmentEditorNode")

    # Segments

    def currentSegmentID(self) -> str:
        return (self._node.GetSelectedSegmentID() or "") if self._node else ""

    def setCurrentSegmentID(self, segmentID: str) -> None:
        self._needNode()
        if segmentID != self.currentSegmentID():
            self._node.SetSelectedSegmentID(segmentID)
            self.updateWidgetFromMRML()
            self.currentSegmentIDChanged.emit(segmentID)

    def _onAddSegment(self) -> None:
        """Do what the Add button does."""
        self._logic.SaveStateForUndo()
        segmentID = self._logic.AddEmptySegment()
        self._node.SetSelectedSegmentID("")
        self.setCurrentSegmentID(segmentID)
        self._modified()

    def _onRemoveSegment(self) -> None:
        """Do what the Remove button does."""
        self._logic.SaveStateForUndo()
        self._logic.RemoveSelectedSegment()
        self._modified()

    def _onTableSelection(self) -> None:
        chosen = self._table.selectedSegmentIDs()
        if chosen and self._node is not None:
            self.setCurrentSegmentID(chosen[0])

    # Effects

    def availableEffectNames(self) -> list[str]:
        return list(self._effects)

    def effectByName(self, name: str) -> PaintEffect | None:
        return self._effects.get(name)

    def activeEffect(self) -> PaintEffect | None:
        return self._effect

    def setActiveEffectByName(self, name: str | None) -> None:
        self.setActiveEffect(self._effects[name] if name and name != "None" else None)

    def setActiveEffect(self, effect: PaintEffect | None) -> None:
        if effect is not None and (self.segmentationNode() is None or self.sourceVolumeNode() is None):
            effect = None  # as in Slicer, whose buttons are grey until both are there
        self._effect = effect
        if self._node is not None:
            self._node.SetActiveEffectName(effect.name if effect else "")
        self._modified()

    def setEffectNameOrder(self, names: list[str]) -> None:
        self._effectOrder = list(names)
        self._modified()

    def effectNameOrder(self) -> list[str]:
        return self._effectOrder

    # Undo

    def setMaximumNumberOfUndoStates(self, count: int) -> None:
        self._logic.SetMaximumNumberOfUndoStates(count)

    def saveStateForUndo(self) -> None:
        self._logic.SaveStateForUndo()
        self._modified()

    def undo(self) -> None:
        self._logic.Undo()
        self._modified()

    def redo(self) -> None:
        self._logic.Redo()
        self._modified()

    # Coming and going

    def setupViewObservations(self) -> None:
        layoutManager = slicer.app.layoutManager()
        self.removeViewObservations()
        for name in layoutManager.sliceViewNames() if layoutManager else ():
            view = layoutManager.sliceWidget(name)
            view.addMouseListener(self._onMouse)
            self._observedViews.append(view)
        self._viewsObserved = True

    def removeViewObservations(self) -> None:
        for view in self._observedViews:
            view.removeMouseListener(self._onMouse)
        self._observedViews = []
        self._viewsObserved = False

    def _onLayoutChanged(self, _layout: int) -> None:
        """As onLayoutChanged of qMRMLSegmentEditorWidget.cxx: the views of a new layout show the source volume."""
        if not self._viewsObserved:
            return
        self.setupViewObservations()
        if self._settings["autoShowSourceVolumeNode"] and self.sourceVolumeNode() is not None:
            self._showSourceVolume()

    def installKeyboardShortcuts(self, parent: QtWidgets.QWidget | None = None) -> None:
        """Keys 1 to 9 and 0 for the effects, and Escape, wherever in the main window the focus is, as in Slicer."""
        self.uninstallKeyboardShortcuts()
        window = parent or slicer.util.mainWindow()
        names = [name for name in self._effectOrder if name in self._effects] or list(self._effects)
        keys = {str((index + 1) % 10): name for index, name in enumerate(names[:10])} | {"Esc": ""}
        for key, name in keys.items() if window is not None else ():
            shortcut = QtGui.QShortcut(QtGui.QKeySequence(key), window)
            shortcut.activated.connect(lambda name=name: self._onEffectKey(name))
            self._shortcuts.append(shortcut)

    def uninstallKeyboardShortcuts(self) -> None:
        for shortcut in self._shortcuts:
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts = []

    def _onEffectKey(self, name: str) -> None:
        active = self._effect is not None and self._effect.name == name
        self.setActiveEffectByName("" if active else name)

    def _onMouse(self, view: Any, kind: str, x: int, y: int) -> bool:
        return self._effect is not None and self._effect.onMouse(view, kind, x, y)

    def updateWidgetFromMRML(self) -> None:
        self._table.setSegmentationNode(self.segmentationNode())
        self._table.setSelectedSegmentIDs([self.currentSegmentID()] if self.currentSegmentID() else [])
        self._modified()

    def _modified(self) -> None:
        """Bring buttons and table up to date."""
        self._toolBar.update_(self)
