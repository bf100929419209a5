"""Slicer's Segment Editor within the panel: its node, its shortcuts, its life through closed and imported scenes."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from VCMSlicerLib.panels.context import PanelContext

EDITOR_TAG = "VCMSlicerSegmentEditor"
PREPARED = "VCMSlicer.Prepared"
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
        self._hasKeys = False
        editor = ui.editor
        editor.setMaximumNumberOfUndoStates(UNDO_STATES)
        editor.setSegmentationNodeSelectorVisible(False)
        editor.setSourceVolumeNodeSelectorVisible(False)
        editor.setSwitchToSegmentationsButtonVisible(False)
        # Else each change of the layout would show the image under the segmentation again, in place of a result.
        editor.setAutoShowSourceVolumeNode(False)
        editor.setEffectNameOrder(EFFECTS)
        editor.unorderedEffectsVisible = False
        ui.editorSection.connect("contentsCollapsed(bool)", self._onFolded)

    def connectScene(self) -> None:
        """Give the editor its node, and only then the scene: the other way round it would make one of its own."""
        self.ui.editor.setMRMLSegmentEditorNode(editorNode())
        self.ui.editor.setMRMLScene(slicer.mrmlScene)

    def enter(self) -> None:
        """Take the keyboard shortcuts and the views."""
        self._entered = True
        self.connectScene()
        self.ui.editor.setupViewObservations()
        self.ui.editor.updateWidgetFromMRML()
        self._takeOrGiveKeys()

    def exit(self) -> None:
        """Give them back, so that the real Segment Editor and other modules have them."""
        self._entered = False
        self.ui.editor.setActiveEffectByName("")
        self._takeOrGiveKeys()
        self.ui.editor.removeViewObservations()

    def open(self, segmentation: Any, volume: Any, segmentId: str = "") -> None:
        """Edit a segmentation over a volume, that segment to begin with."""
        self.ui.editorSection.collapsed = False
        if not self._entered:
            return
        self._set(segmentation)
        self.ui.editor.setSourceVolumeNode(volume)
        if segmentId:
            self.ui.editor.setCurrentSegmentID(segmentId)
        self._takeOrGiveKeys()

    def updateFromParameters(self, segmentation: Any) -> None:
        """Edit the segmentation that the conditions are drawn in; nothing while the module is not open."""
        if not self._entered:
            return
        if segmentation is not self._segmentation:
            self._set(segmentation)
            if segmentation is not None and self.ui.editor.sourceVolumeNode() is None:
                self.ui.editor.setSourceVolumeNode(volumeUnder(segmentation))
        # Without a volume nothing can be painted: where the segmentation knows none, the user chooses one.
        unknown = segmentation is not None and volumeUnder(segmentation) is None
        self.ui.editor.setSourceVolumeNodeSelectorVisible(unknown)
        self.ui.editor.visible = segmentation is not None
        self.ui.editorHintLabel.visible = segmentation is None
        self.ui.editor.enabled = True
        self._takeOrGiveKeys()

    def beforeSceneCloses(self) -> None:
        """Let go of an effect that is at work on a node that is about to go."""
        self.ui.editor.setActiveEffectByName("")
        self._segmentation = None

    def afterSceneChanged(self) -> None:
        """The node went with the scene, or another came with an import: start anew, if the module is open."""
        if self._entered:
            self.connectScene()
            self.ui.editor.updateWidgetFromMRML()

    def cleanup(self) -> None:
        """End the effects while their widgets still live."""
        self.exit()
        self.ui.editorSection.disconnect("contentsCollapsed(bool)", self._onFolded)
        self.ui.editor.setMRMLScene(None)

    def _onFolded(self, folded: bool) -> None:
        """An effect that cannot be seen should not go on changing what is painted."""
        if folded and self._entered:
            self.ui.editor.setActiveEffectByName("")
        self._takeOrGiveKeys()

    def _takeOrGiveKeys(self) -> None:
        """The editor's keys, such as 1 to 0 for its effects, act only while it is in the open module and unfolded."""
        wanted = self._entered and not self.ui.editorSection.collapsed and self._segmentation is not None
        if wanted != self._hasKeys:
            self._hasKeys = wanted
            (self.ui.editor.installKeyboardShortcuts if wanted else self.ui.editor.uninstallKeyboardShortcuts)()

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
        node = slicer.mrmlScene.AddNode(node)
    # A scene that is closed keeps the node, but with all its settings, and this attribute, as they are by default.
    if node.GetAttribute(PREPARED) is None:
        node.SetAttribute(PREPARED, "true")
        # Structures may touch; painting one should not erase its neighbours unnoticed.
        node.SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteNone)
    return node


def volumeUnder(segmentation: Any) -> Any:
    """The volume a segmentation was drawn on, or None."""
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    return segmentation.GetNodeReference(role)
