"""One row of the section “Conditions”: on or off, where it comes from, how strong, and whether it can be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from VCMSlicerLib.anatomy import matchingSegments
from VCMSlicerLib.packCatalogue import ConditionInfo
from VCMSlicerLib.panels.context import AMBER, GREEN, GREY, RED, dot
from VCMSlicerLib.parameters import ConditionSetting
from VCMSlicerLib.scene import Check

NODE_TYPES = {
    "mask": ["vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode"],
    "labels": ["vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode"],
    "image": ["vtkMRMLScalarVolumeNode"],
}


class ConditionRow:
    """The widgets of one condition; `onChanged(name, setting)` hears what the user did."""

    def __init__(
        self,
        widget: Any,
        info: ConditionInfo,
        onChanged: Callable[[str, ConditionSetting], None],
        onMake: Callable[[str], None],
    ) -> None:
        self.widget, self.info, self._tell, self._showing = widget, info, onChanged, True
        self.ui = slicer.util.childWidgetVariables(widget)
        self.ui.enabledBox.text = info.name[:1].upper() + info.name[1:]
        if info.description:
            self.ui.enabledBox.toolTip = info.description
        self.ui.sourceBox.nodeTypes = NODE_TYPES[info.kind]
        self.ui.sourceBox.showChildNodeTypes = info.kind != "image"
        self.ui.sourceBox.setMRMLScene(slicer.mrmlScene)
        self.ui.makeButton.visible = info.kind == "image"
        self.ui.makeButton.connect("clicked()", lambda: onMake(info.name))
        self.ui.enabledBox.connect("toggled(bool)", self._onChanged)
        self.ui.sourceBox.connect("currentNodeChanged(vtkMRMLNode*)", self._onSourceChanged)
        self.ui.segmentBox.connect("activated(int)", self._onChanged)
        self.ui.strengthSlider.connect("valueChanged(double)", self._onChanged)
        self._showing = False

    def show(self, setting: ConditionSetting) -> None:
        """Show a setting without telling anyone."""
        self._showing = True
        try:
            self.ui.enabledBox.checked = setting.enabled
            self.ui.sourceBox.setCurrentNode(setting.node)
            self._fillSegments(setting)
            self.ui.strengthSlider.value = setting.strength
            for name in ("segmentBox", "strengthSlider"):
                getattr(self.ui, name).enabled = setting.enabled
            self.ui.strengthSlider.visible = self.ui.strengthLabel.visible = setting.enabled
        finally:
            self._showing = False

    def showState(self, enabled: bool, check: Check | None) -> None:
        """Say whether the condition can be used; None while it is being looked at."""
        if not enabled:
            self.ui.stateLabel.text = dot(GREY, _("Off: the model is free here."))
        elif check is None:
            self.ui.stateLabel.text = dot(GREY, _("Looking…"))
        else:
            level = RED if not check.usable else AMBER if check.lostVoxels else GREEN
            self.ui.stateLabel.text = dot(level, check.words)

    def setEnabled(self, enabled: bool) -> None:
        """Whether the user may change it."""
        self.widget.enabled = enabled

    def release(self) -> None:
        """Let go of the scene before the row is thrown away."""
        self._showing = True
        self.ui.sourceBox.setMRMLScene(None)

    def _fillSegments(self, setting: ConditionSetting) -> None:
        box, node = self.ui.segmentBox, setting.node
        box.clear()
        if node is None or not node.IsA("vtkMRMLSegmentationNode"):
            box.visible = False
            return
        box.visible = True
        matching = matchingSegments(node, self.info)
        segmentation = node.GetSegmentation()
        if self.info.kind == "labels" or len(matching) > 1 or not setting.segmentId:
            box.addItem(_matchWords(self.info, len(matching)), "")
        if self.info.kind == "labels":
            box.toolTip = _(
                "Segments are told apart by terminology, then by name. Where they overlap, the upper one wins."
            )
        else:
            for index in range(segmentation.GetNumberOfSegments()):
                id = segmentation.GetNthSegmentID(index)
                box.addItem(segmentation.GetSegment(id).GetName(), id)
        box.setCurrentIndex(max(0, box.findData(setting.segmentId)))

    def _onSourceChanged(self, node: Any) -> None:
        if not self._showing:
            self._tell(
                self.info.name, ConditionSetting(True, self.ui.strengthSlider.value, bestSegment(node, self.info), node)
            )

    def _onChanged(self, *_arguments: Any) -> None:
        if self._showing:
            return
        ui = self.ui
        segment = ui.segmentBox.itemData(ui.segmentBox.currentIndex) if ui.segmentBox.count else ""
        setting = ConditionSetting(
            ui.enabledBox.checked, ui.strengthSlider.value, segment or "", ui.sourceBox.currentNode()
        )
        self._tell(self.info.name, setting)


def bestSegment(node: Any, info: ConditionInfo) -> str:
    """The segment that a condition is most likely drawn in; empty where several are, or it is no segmentation."""
    if node is None or not node.IsA("vtkMRMLSegmentationNode") or info.kind == "labels":
        return ""
    matching = matchingSegments(node, info)
    segmentation = node.GetSegmentation()
    if len(matching) > 1:
        return ""
    if matching:
        return str(matching[0])
    return str(segmentation.GetNthSegmentID(0)) if segmentation.GetNumberOfSegments() == 1 else ""


def _matchWords(info: ConditionInfo, found: int) -> str:
    if info.kind == "labels":
        return _("{found} of {count} structures").format(found=found, count=len(info.classes))
    return _("All that match ({found})").format(found=found) if found else _("Choose a segment")
