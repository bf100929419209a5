"""Gives data nodes their items in the subject hierarchy: Slicer's Qt plugins do this, the MRML library does not."""

from typing import Any

import slicer
import vtk

# Node class and the plugin that owns its items; the first that fits.
_PLUGINS = {
    "vtkMRMLLabelMapVolumeNode": "LabelMaps",
    "vtkMRMLVolumeNode": "Volumes",
    "vtkMRMLSegmentationNode": "Segmentations",
    "vtkMRMLModelNode": "Models",
    "vtkMRMLMarkupsNode": "Markups",
    "vtkMRMLTransformNode": "Transforms",
    "vtkMRMLTableNode": "Tables",
    "vtkMRMLTextNode": "Texts",
    "vtkMRMLSequenceBrowserNode": "Sequences",
    "vtkMRMLSequenceNode": "Sequences",
}


class SubjectHierarchyItems:
    """Watches a scene for its life: a node that comes gets an item, a node that goes loses it."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        scene.AddObserver(scene.NodeAddedEvent, self._onNodeAdded)
        scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._onNodeAboutToBeRemoved)
        scene.AddObserver(scene.EndImportEvent, lambda caller, event: self._addMissing())

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAdded(self, caller: Any, event: str, node: Any) -> None:
        if not self._scene.IsImporting():
            self._add(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAboutToBeRemoved(self, caller: Any, event: str, node: Any) -> None:
        hierarchy = self._hierarchy()
        if hierarchy is None or self._scene.IsClosing() or _plugin(node) is None:
            return
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.RemoveItem(item, False, False)

    def _addMissing(self) -> None:
        for node in slicer.util.getNodesByClass("vtkMRMLStorableNode"):
            self._add(node)

    def _add(self, node: Any) -> None:
        plugin, hierarchy = _plugin(node), self._hierarchy()
        if plugin is None or hierarchy is None or node.GetHideFromEditors() or hierarchy.GetItemByDataNode(node):
            return
        hierarchy.CreateItem(hierarchy.GetSceneItemID(), node, plugin)

    def _hierarchy(self) -> Any:
        return self._scene.GetSubjectHierarchyNode()


def _plugin(node: Any) -> str | None:
    return next((plugin for className, plugin in _PLUGINS.items() if node.IsA(className)), None)
