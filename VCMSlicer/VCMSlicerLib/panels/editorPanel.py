"""Slicer's Segment Editor within the panel: its node, its shortcuts, its life through closed and imported scenes."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from VCMSlicerLib.panels.context import PanelContext

EDITOR_TAG = "VCMSlicerSegmentEditor"
EFFECTS = [
    "Paint",
    "Draw",
    "Erase",
    "Threshold",
    "Grow from seeds",
    "Margin",
    "Smoothing",
    "Scissors",
    "Islands",
    "Logical operators",
]
UNDO_STATES = 10


class EditorPanel:
    """Shows the editor on one segmentation; has the keyboard and the views only between `enter` and `exit`."""

    def __init__(self, ui: Any, context: PanelContext) -> None:
        self.ui, self.context, self._entered = ui, context, False
        self._segmentation: Any = None
        editor = ui.editor
        editor.setMaximumNumberOfUndoStates(UNDO_STATES)
        editor.setSegmentationNodeSelectorVisible(False)
        editor.setSourceVolumeNodeSelectorVisible(False)
        editor.setSwitchToSegmentationsButtonVisible(False)
        editor.setEffectNameOrder(EFFECTS)
        editor.unorderedEffectsVisible = False
        self.connectScene()

    def connectScene(self) -> None:
        """Give the editor its node, and only then the scene: the other way round it would make one of its own."""
        self.ui.editor.setMRMLSegmentEditorNode(editorNode())
        self.ui.editor.setMRMLScene(slicer.mrmlScene)

    def enter(self) -> None:
        """Take the keyboard shortcuts and the views."""
        self._entered = True
        self.connectScene()
        self.ui.editor.installKeyboardShortcuts()
        self.ui.editor.setupViewObservations()
        self.ui.editor.updateWidgetFromMRML()

    def exit(self) -> None:
        """Give them back, so that the real Segment Editor and other modules have them."""
        self._entered = False
        self.ui.editor.setActiveEffectByName("")
        self.ui.editor.uninstallKeyboardShortcuts()
        self.ui.editor.removeViewObservations()

    def open(self, segmentation: Any, volume: Any, segmentId: str = "") -> None:
        """Edit a segmentation over a volume, that segment to begin with."""
        self.ui.editorSection.collapsed = False
        self._set(segmentation)
        self.ui.editor.setSourceVolumeNode(volume)
        if segmentId:
            self.ui.editor.setCurrentSegmentID(segmentId)

    def updateFromParameters(self, segmentation: Any) -> None:
        """Edit the segmentation that the conditions are drawn in."""
        if segmentation is not self._segmentation:
            self._set(segmentation)
            if segmentation is not None and self.ui.editor.sourceVolumeNode() is None:
                self.ui.editor.setSourceVolumeNode(volumeUnder(segmentation))
        self.ui.editor.visible = segmentation is not None
        self.ui.editorHintLabel.visible = segmentation is None
        self.ui.editor.enabled = True

    def beforeSceneCloses(self) -> None:
        """Let go of an effect that is at work on a node that is about to go."""
        self.ui.editor.setActiveEffectByName("")
        self._segmentation = None

    def afterSceneChanged(self) -> None:
        """The node went with the scene, or another came with an import: start anew."""
        self.connectScene()
        if self._entered:
            self.ui.editor.updateWidgetFromMRML()

    def cleanup(self) -> None:
        """End the effects while their widgets still live."""
        self.ui.editor.setActiveEffectByName("")
        self.ui.editor.setMRMLScene(None)

    def _set(self, segmentation: Any) -> None:
        self._segmentation = segmentation
        self.ui.editor.setSegmentationNode(segmentation)


def editorNode() -> Any:
    """The editor's parameter node of this module, apart from the Segment Editor module's own."""
    node = slicer.mrmlScene.GetSingletonNode(EDITOR_TAG, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
        node.UnRegister(None)
        node.SetSingletonTag(EDITOR_TAG)
        node.SetName(_("VCMSlicer segment editor"))
        # Structures may touch; painting one should not eat away its neighbours unseen.
        node.SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteNone)
        node = slicer.mrmlScene.AddNode(node)
    return node


def volumeUnder(segmentation: Any) -> Any:
    """The volume a segmentation was drawn on, or None."""
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    return segmentation.GetNodeReference(role)
