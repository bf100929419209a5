"""One row of the section “Conditions”: on or off, where it comes from, how strong, and whether it can be used."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _
from vcm.anatomy.structures import is_named

from VCMSlicerLib.conditions.anatomy import classOf, matchingSegments, segmentIds
from VCMSlicerLib.conditions.conditionCheck import Check
from VCMSlicerLib.conditions.labelVolume import labelNames, labelsIn, labelWords
from VCMSlicerLib.models.packInfo import ConditionInfo
from VCMSlicerLib.panels.context import AMBER, GREEN, GREY, RED, dot
from VCMSlicerLib.scene.parameters import ConditionSetting

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
        self.ui.enabledBox.text = info.title
        if info.description:
            self.ui.enabledBox.toolTip = info.description
        self.ui.sourceBox.nodeTypes = NODE_TYPES[info.kind]
        self.ui.sourceBox.showChildNodeTypes = info.isDrawn
        self.ui.sourceBox.setMRMLScene(slicer.mrmlScene)
        self.ui.makeButton.visible = info.isSkull
        self.ui.makeButton.connect("clicked()", lambda: onMake(info.name))
        self.ui.enabledBox.connect("toggled(bool)", self._onChanged)
        self.ui.sourceBox.connect("currentNodeChanged(vtkMRMLNode*)", self._onSourceChanged)
        self.ui.segmentBox.connect("activated(int)", self._onChanged)
        self.ui.strengthSlider.connect("valueChanged(double)", self._onChanged)
        self._showing = False

    def show(self, setting: ConditionSetting) -> None:
        """Show a setting without a signal."""
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

    def showState(self, enabled: bool, check: Check | None, leftOut: bool = False, completes: bool = False) -> None:
        """Say whether the condition can be used; None while it is looked at. An empty one may be left out, and a layout
        may complete it."""
        if not enabled and completes:
            self.ui.stateLabel.text = dot(GREY, _("Off: it will be completed around what is drawn."))
        elif not enabled:
            self.ui.stateLabel.text = dot(GREY, _("Off: the model is free here."))
        elif check is None:
            self.ui.stateLabel.text = dot(GREY, _("Looking…"))
        elif leftOut and completes:
            words = _("Nothing is drawn yet: until there is, it will be completed around what is drawn.")
            self.ui.stateLabel.text = dot(GREY, words)
        elif leftOut:
            self.ui.stateLabel.text = dot(GREY, _("Nothing is drawn yet: it is left out until there is."))
        else:
            level = RED if not check.usable else AMBER if check.remarks else GREEN
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
        entries = segmentEntries(node, self.info, setting) if node is not None else []
        box.clear()
        for words, id in entries:
            box.addItem(words, id)
        if entries and setting.segmentId and box.findData(setting.segmentId) < 0:
            # Not the first of the others in its place: that would be another structure.
            box.addItem(_("(gone)"), setting.segmentId)
        box.visible = bool(entries)
        box.setCurrentIndex(max(0, box.findData(setting.segmentId)))
        if self.info.kind == "labels" and entries:
            box.toolTip = mappingWords(node, self.info)

    def _onSourceChanged(self, node: Any) -> None:
        if not self._showing:
            enabled = node is not None or bool(self.ui.enabledBox.checked)  # one that is off stays off without a source
            setting = ConditionSetting(enabled, self.ui.strengthSlider.value, bestSegment(node, self.info), node)
            self._tell(self.info.name, setting)

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
    """The segment, or the value of a label map volume, that a condition is most likely drawn in.

    Empty where several are, or the whole is meant.
    """
    if node is None or info.kind != "mask":
        return ""
    if not node.IsA("vtkMRMLSegmentationNode"):
        return _bestLabel(node, info)
    matching = matchingSegments(node, info)
    segmentation = node.GetSegmentation()
    if len(matching) > 1:
        return ""
    if matching:
        return str(matching[0])
    return str(segmentation.GetNthSegmentID(0)) if segmentation.GetNumberOfSegments() == 1 else ""


def segmentEntries(node: Any, info: ConditionInfo, setting: ConditionSetting) -> list[tuple[str, str]]:
    """What can be chosen within a source: words and id, which is empty for all that match."""
    if not info.isDrawn:
        return []
    if not node.IsA("vtkMRMLSegmentationNode"):
        return _labelEntries(node, info)
    matching, segmentation = matchingSegments(node, info), node.GetSegmentation()
    if info.kind == "labels":
        found = {classOf(segmentation.GetSegment(id), info) for id in matching}
        return [(_("{found} of {count} structures").format(found=len(found), count=len(info.classes)), "")]
    several = [(_("All that match ({found})").format(found=len(matching)), "")] if len(matching) > 1 else []
    if not several and not setting.segmentId:
        several = [(_("Choose a segment"), "")]
    return [*several, *((segmentation.GetSegment(id).GetName(), id) for id in segmentIds(segmentation))]


def mappingWords(node: Any, info: ConditionInfo) -> str:
    """Which segment is which structure, as a list in rich text."""
    rules = _("Segments are recognised by terminology, then by name. Where they overlap, the upper one wins.")
    if not node.IsA("vtkMRMLSegmentationNode"):
        return rules
    segments = [node.GetSegmentation().GetSegment(id) for id in matchingSegments(node, info)]
    drawn = [(classOf(segment, info), segment.GetName()) for segment in segments]
    lines = [
        f"{entry.name}: {', '.join(name for known, name in drawn if known == entry) or '–'}" for entry in info.classes
    ]
    return "<br>".join(html.escape(line) for line in (rules, *lines))


def _labelEntries(node: Any, info: ConditionInfo) -> list[tuple[str, str]]:
    values, names = labelsIn(node), labelNames(node)
    if info.kind == "labels" or len(values) < 2:
        return []
    return [(_("Choose a label"), ""), *((labelWords(value, names), str(value)) for value in values)]


def _bestLabel(node: Any, info: ConditionInfo) -> str:
    values, names = labelsIn(node), labelNames(node)
    wanted = [*(entry.name for entry in info.classes), info.name]
    named = [value for value in values if any(is_named(names.get(value, ""), name) for name in wanted)]
    return str(named[0]) if len(values) > 1 and len(named) == 1 else ""
