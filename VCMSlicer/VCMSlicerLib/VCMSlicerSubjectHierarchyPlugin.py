"""The entry *Use as condition* in the context menu of the module Data. Slicer loads this file by its path."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from AbstractScriptedSubjectHierarchyPlugin import AbstractScriptedSubjectHierarchyPlugin
from slicer.i18n import tr as _

DRAWN = ("vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode")


class VCMSlicerSubjectHierarchyPlugin(AbstractScriptedSubjectHierarchyPlugin):
    """Owns no items; it offers what the chosen model can be steered by."""

    filePath = __file__

    def __init__(self, scriptedPlugin: Any) -> None:
        scriptedPlugin.name = "VCMSlicer"
        AbstractScriptedSubjectHierarchyPlugin.__init__(self, scriptedPlugin)
        self.useAction = qt.QAction(_("Use as condition (VCMSlicer)"), scriptedPlugin)
        self.useAction.objectName = "VCMSlicerUseAsCondition"
        self.useAction.connect("triggered()", self.onUse)

    def canAddNodeToSubjectHierarchy(self, _node: Any, _parentItemID: int) -> float:
        """No node is ours."""
        return 0.0

    def canOwnSubjectHierarchyItem(self, _itemID: int) -> float:
        """No item is ours."""
        return 0.0

    def roleForPlugin(self) -> str:
        """Without items there is no role."""
        return "N/A"

    def itemContextMenuActions(self) -> list[Any]:
        """What may stand in the menu."""
        return [self.useAction]

    def showContextMenuActionsForItem(self, itemID: int) -> None:
        """Offer it for segmentations and label maps, and for images where the chosen model takes one."""
        node = _nodeOf(itemID)
        # Of several rows Slicer names no current one.
        if node is None or not slicer.qSlicerSubjectHierarchyPluginHandler.instance().currentItem():
            return
        if any(node.IsA(kind) for kind in DRAWN) or (node.IsA("vtkMRMLScalarVolumeNode") and _takesImages()):
            self.useAction.visible = True

    def onUse(self) -> None:
        """Open the module, and choose the node for the conditions that it fits."""
        node = _nodeOf(slicer.qSlicerSubjectHierarchyPluginHandler.instance().currentItem())
        if node is None:
            return
        slicer.util.selectModule("VCMSlicer")
        slicer.modules.vcmslicer.widgetRepresentation().self().panel.conditions.useNode(node)


def _nodeOf(itemID: int) -> Any:
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    return hierarchy.GetItemDataNode(itemID) if hierarchy is not None and itemID else None


def _takesImages() -> bool:
    """Whether the panel is there and its model takes an image; it is not made for a look at a menu."""
    widget = getattr(slicer.modules, "VCMSlicerWidget", None)
    panel = getattr(widget, "panel", None)
    return panel is not None and any(not condition.isDrawn for condition in panel.context.conditions)
