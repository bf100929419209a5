"""The section “Conditions”: start points, a row for each condition of the model, what the model sees, the editor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from vcm.conditions.attributes import AttributeSpec
from vcm.core.errors import Code
from vcm.core.plain_text import capital

from VCMSlicerLib.conditions import startPoints
from VCMSlicerLib.conditions.anatomy import matchingSegments
from VCMSlicerLib.conditions.conditionCheck import Check, check
from VCMSlicerLib.conditions.conditionSource import ConditionChoice
from VCMSlicerLib.conditions.givenInputs import notTaken
from VCMSlicerLib.conditions.scanRegistration import registrationOf, sourceVolume
from VCMSlicerLib.engine.jobState import Failure
from VCMSlicerLib.models.packInfo import ConditionInfo
from VCMSlicerLib.panels.conditionRow import ConditionRow, bestSegment
from VCMSlicerLib.panels.context import PanelContext
from VCMSlicerLib.panels.dialogs.menus import fillMenu, makeMenu
from VCMSlicerLib.panels.dialogs.skullDialog import SkullDialog
from VCMSlicerLib.panels.editorPanel import EditorPanel
from VCMSlicerLib.panels.errands import Errands
from VCMSlicerLib.panels.registrationPanel import RegistrationPanel
from VCMSlicerLib.results.measuredSegmentation import LAYOUT_ROLE
from VCMSlicerLib.results.ownCopy import ownCopy
from VCMSlicerLib.results.results import ROLE
from VCMSlicerLib.scene.parameters import ConditionSetting
from VCMSlicerLib.scene.sliceViews import showInSlices

LOOK_AFTER_MS = 250


class ConditionsPanel:
    """Keeps a row for each condition of the chosen model, and looks again when what it is drawn in changes."""

    def __init__(
        self,
        ui: Any,
        context: PanelContext,
        loadUi: Callable[[str], Any],
        errands: Errands,
        refuse: Callable[[Failure], None],
    ) -> None:
        self.ui, self.context, self._loadUi, self._errands = ui, context, loadUi, errands
        self.rows: dict[str, ConditionRow] = {}
        self.checks: dict[str, Check] = {}
        self.editor = EditorPanel(ui, context)
        self._infos: tuple[ConditionInfo, ...] | None = None
        self._watched: dict[Any, list[int]] = {}
        self._skull: SkullDialog | None = None
        self.registration = self._addRegistration(refuse)
        self._timer = qt.QTimer(ui.startDemoButton)
        self._timer.setSingleShot(True)
        self._timer.setInterval(LOOK_AFTER_MS)
        self._timer.connect("timeout()", self.look)
        ui.startDemoButton.connect("clicked()", self.startDemo)
        ui.startTemplateButton.connect("clicked()", self.startTemplate)
        ui.startBlankButton.connect("clicked()", self.startBlank)
        self._scanMenu = makeMenu(ui.startScanButton)
        self._scanMenu.connect("aboutToShow()", self._fillScanMenu)
        self._scanTip, self._demoTip = ui.startScanButton.toolTip, ui.startDemoButton.toolTip
        ui.seeButton.connect("clicked()", self.see)
        ui.completeHeadBox.connect("toggled(bool)", self._onCompleteToggled)

    def beforeSceneCloses(self) -> None:
        """Let go of the nodes that are about to go."""
        self._timer.stop()
        self._unwatch()
        self.registration.beforeSceneCloses()
        self.editor.beforeSceneCloses()

    def cleanup(self) -> None:
        """Stop looking, and let go of the scene."""
        self._timer.stop()
        self._unwatch()
        for row in self.rows.values():
            row.release()
        if self._skull is not None:
            self._skull.close()
        self.editor.cleanup()
        self.registration.cleanup()

    def conditions(self) -> tuple[ConditionInfo, ...]:
        """What the chosen control can be steered by."""
        return self.context.conditions

    def choices(self) -> list[ConditionChoice]:
        """What is chosen for the conditions that are on, but for those that are left out."""
        parameters, leftOut = self.context.parameters, self.leftOut()
        chosen = [parameters.choice(info) for info in self.conditions()] if parameters is not None else []
        return [choice for choice in chosen if choice.enabled and choice.name not in leftOut]

    def leftOut(self) -> list[str]:
        """The conditions that are on and empty, where the control can do without them and another is drawn."""
        control = self.context.control
        empty = [name for name, found in self.checks.items() if found.empty]
        drawn = [name for name, found in self.checks.items() if not found.empty]
        return empty if control is not None and control.free and drawn else []

    def measured(self, attribute: AttributeSpec) -> float | None:
        """The volume in ml that the conditions tell of an attribute of the subject, or None; as the engine takes it."""
        leftOut = self.leftOut()
        for info in self.conditions():
            found, inside = self.checks.get(info.name), attribute.measured_by(info)
            if found is not None and found.usable and info.name not in leftOut and inside:
                return sum(found.millilitres.get(entry.value, 0.0) for entry in inside)
        return None

    def obstacle(self) -> str:
        """Why the conditions stand in the way of Generate, or empty."""
        for choice in self.choices():
            found = self.checks.get(choice.name)
            title = next(info.title for info in self.conditions() if info.name == choice.name)
            if found is None:
                return _("{name} is still being looked at.").format(name=title)
            if not found.usable:
                return found.words if found.words.startswith(f"{title}:") else f"{title}: {found.words}"
        control, names = self.context.control, [choice.name for choice in self.choices()]
        return notTaken(control, names) if control is not None and names and not control.takes(names) else ""

    def updateFromParameters(self) -> None:
        """Show the conditions of the model and what is chosen for them."""
        infos = self.conditions()
        if infos != self._infos:
            self._rebuild(infos)
        parameters, busy = self.context.parameters, self.context.client.state.busy
        for name, row in self.rows.items():
            row.show(parameters.condition(name) if parameters is not None else ConditionSetting())
            row.setEnabled(not busy)
        pack, ui = self._pack, self.ui
        segmenter = pack is not None and pack.hasSegmenter
        demo = startPoints.hasVentricles(infos) or (pack is not None and pack.tissueControl is not None)
        for button, able in (
            (ui.startDemoButton, demo),
            (ui.startTemplateButton, True),
            (ui.startBlankButton, True),
            (ui.startScanButton, segmenter),
        ):
            button.enabled = able and not busy and bool(infos)
        ui.startScanButton.text = capital(pack.scan) if pack is not None else _("Image")
        noSegmenter = _("This model cannot find structures in an image by itself.")
        ui.startScanButton.toolTip = self._scanTip if segmenter else noSegmenter
        ui.startDemoButton.toolTip = self._demoTip if demo else _("The demo case is one of ventricles.")
        self.ui.noConditionsLabel.visible = not infos
        self._showCompleting(pack is not None and pack.hasLayout and any(info.isDrawn for info in infos), busy)
        self.registration.updateFromParameters()
        self._watch()
        # While a job runs nothing hangs on the answer, and looking at large masks would hold up the panel.
        if busy:
            self.ui.seeButton.enabled = False
        else:
            self.look()
        self.editor.updateFromParameters(self._edited())

    def look(self) -> None:
        """See whether each condition can be used, and say so in its row."""
        if self.context.client.state.busy:
            return
        before = dict(self.checks)
        self.checks = {}
        pack, parameters, completes = self.context.readyPack, self.context.parameters, self.context.completes
        for info in self.conditions():
            choice = parameters.choice(info) if parameters is not None else None
            if choice is not None and choice.enabled and pack is not None and pack.grid is not None:
                self.checks[info.name] = check(choice, info, pack.grid, completes=completes)
        leftOut = self.leftOut()
        drawn = [i.name for i in self.conditions() if i.isDrawn and i.name in self.checks and i.name not in leftOut]
        for name, row in self.rows.items():
            enabled = parameters is not None and parameters.condition(name).enabled
            completed = completes and bool(drawn) and row.info.isDrawn
            row.showState(enabled, self.checks.get(name), name in leftOut, completed)
        usable = [name for name, found in self.checks.items() if found.usable]
        self.ui.seeButton.enabled = bool(usable) and not self.context.client.state.busy
        if self.checks != before:
            self.context.announce()

    def startDemo(self) -> None:
        """Enlarged ventricles over a typical head, with all else that the control cannot do without.

        Where the user has chosen nothing that the image should follow, it is the map of all tissues: of the controls
        that ship, its images look most like a head.
        """
        parameters, pack = self.context.parameters, self._pack
        if not parameters.controlName and pack.tissueControl is not None:
            parameters.controlName = pack.tissueControl.name
        control = self.context.control
        whole = control is not None and not control.subsets and len(control.conditions) > 1
        self.use(startPoints.demoCase(self.conditions(), whole))

    def startTemplate(self) -> None:
        """The structures of the typical head that the model takes."""
        self.use(startPoints.template(self.conditions()))

    def startBlank(self) -> None:
        """An empty segment for each structure on the model's grid."""
        names = [entry.name for info in self.conditions() if info.isDrawn for entry in info.classes or (info,)]
        self.use(startPoints.blank(self._pack.grid, dict.fromkeys(names)))

    def startFromScan(self, volume: Any) -> None:
        """Have the worker register a scan to the model's space, where that is not done, and segment it; start from
        that."""

        def segment() -> None:
            self._errands.segment(volume, self.use)

        if self._pack.hasTypicalHead and registrationOf(volume) is None:
            self.registration.begin(volume, segment)
        else:
            segment()

    def register(self, name: str) -> None:
        """Register what a condition is drawn on."""
        volume = sourceVolume(self.context.parameters.condition(name).node)
        if volume is None:
            words = _("It is not known on which scan {name} was drawn.").format(name=name)
            self._refuse(
                Failure(
                    Code.CONDITION.value,
                    words,
                    _("Register its scan from the menu “{scan}”.").format(scan=self.ui.startScanButton.text),
                )
            )
            return
        self.registration.begin(volume)

    def use(self, point: startPoints.StartPoint) -> None:
        """Take the conditions from a start point, show it, and open the editor on it; others are switched off."""
        parameters = self.context.parameters
        with slicer.util.NodeModify(parameters.parameterNode):
            for info in self.conditions():
                setting = parameters.condition(info.name)
                node = point.segmentation if info.isDrawn else point.images.get(info.name)
                if matchingSegments(node, info) if info.isDrawn else node is not None:
                    setting = ConditionSetting(True, setting.strength, bestSegment(node, info), node)
                else:
                    setting.enabled = False
                parameters.setCondition(info.name, setting)
        showInSlices(background=point.volume, foreground=None, label=None)
        self.editor.open(point.segmentation, point.volume, startPoints.ventriclesIn(point.segmentation))
        self.context.announce()

    def useNode(self, node: Any) -> None:
        """Choose a node of the scene for all conditions that it fits; a message says where it fits none.

        The label map of a whole head is followed as a whole, by the control of the tissues.
        """
        tissues = self._pack.tissueControl
        if node.GetAttribute(ROLE) == LAYOUT_ROLE and tissues is not None:
            self.context.parameters.controlName = tissues.name
        fitting = [info for info in self.conditions() if self._fits(node, info)]
        if not fitting:
            words = _("{name} does not fit what the chosen model follows: {conditions}.")
            taken = ", ".join(info.inWords() for info in self.conditions()) or _("nothing")
            slicer.util.infoDisplay(words.format(name=node.GetName(), conditions=taken), _("Use as condition"))
            return
        parameters, node = self.context.parameters, ownCopy(node)
        with slicer.util.NodeModify(parameters.parameterNode):
            for info in fitting:
                segment = bestSegment(node, info) if node.IsA("vtkMRMLSegmentationNode") else ""
                strength = parameters.condition(info.name).strength
                parameters.setCondition(info.name, ConditionSetting(True, strength, segment, node))
        self.ui.conditionsSection.collapsed = False
        self.context.announce()

    def _fits(self, node: Any, info: ConditionInfo) -> bool:
        """A segmentation fits by its structures, or else where there is but one thing to draw."""
        if not info.isDrawn:
            return not node.IsA("vtkMRMLLabelMapVolumeNode") and bool(node.IsA("vtkMRMLScalarVolumeNode"))
        if node.IsA("vtkMRMLSegmentationNode"):
            drawn = [other for other in self.conditions() if other.isDrawn]
            return bool(matchingSegments(node, info)) or drawn == [info]
        return bool(node.IsA("vtkMRMLLabelMapVolumeNode"))

    def makeImage(self, name: str) -> None:
        """Make the image of a condition from a scan and a segment of the brain."""

        def made(volume: Any) -> None:
            setting = self.context.parameters.condition(name)
            self._onRowChanged(name, ConditionSetting(True, setting.strength, "", volume))

        if self._skull is not None:
            self._skull.close()
        self._skull = SkullDialog(self._loadUi("SkullImage"), self.ui.conditionsSection.window(), made)
        self._skull.show()

    def see(self) -> None:
        """Load what the model sees."""
        self._errands.see([choice for choice in self.choices() if self.checks[choice.name].usable])

    def _showCompleting(self, possible: bool, busy: bool) -> None:
        box, parameters = self.ui.completeHeadBox, self.context.parameters
        box.visible, box.enabled = possible, not busy
        if parameters is not None and box.checked != parameters.completeHead:
            box.checked = parameters.completeHead

    def _onCompleteToggled(self, checked: bool) -> None:
        parameters = self.context.parameters
        if parameters is not None and parameters.completeHead != checked:
            parameters.completeHead = checked
            self.context.announce()

    @property
    def _pack(self) -> Any:
        return self.context.readyPack

    def _edited(self) -> Any:
        """The segmentation the editor works on: that of the first condition that has one."""
        for info in self.conditions():
            choice = self.context.parameters.choice(info) if self.context.parameters is not None else None
            if choice is not None and choice.segmentationNode is not None:
                return choice.segmentationNode
        return None

    def _addRegistration(self, refuse: Callable[[Failure], None]) -> RegistrationPanel:
        self._refuse = refuse
        widget = self._loadUi("Registration")
        layout = self.ui.conditionsSection.layout()
        layout.insertWidget(layout.indexOf(self.ui.conditionRows), widget)
        ui = slicer.util.childWidgetVariables(widget)
        return RegistrationPanel(widget, ui, self.context, self._errands, refuse)

    def _rebuild(self, infos: tuple[ConditionInfo, ...]) -> None:
        layout = self.ui.conditionRows.layout()
        for row in self.rows.values():
            row.release()
            layout.removeWidget(row.widget)
            row.widget.deleteLater()
        self.rows = {}
        for info in infos:
            row = ConditionRow(self._loadUi("ConditionRow"), info, self._onRowChanged, self.makeImage)
            layout.addWidget(row.widget)
            self.rows[info.name] = row
        self._infos = infos

    def _onRowChanged(self, name: str, setting: ConditionSetting) -> None:
        if self.context.parameters is not None:
            self.context.parameters.setCondition(name, replace(setting, node=ownCopy(setting.node)))
            self.context.announce()

    def _watch(self) -> None:
        """Look again some time after a source was edited, moved or renamed."""
        nodes = (
            {self.context.parameters.condition(i.name).node for i in self.conditions()}
            if self.context.parameters
            else set()
        )
        nodes.discard(None)
        if nodes == set(self._watched):
            return
        self._unwatch()
        for node in nodes:
            events = [slicer.vtkMRMLTransformableNode.TransformModifiedEvent]
            events.append(slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent if node.IsA("vtkMRMLVolumeNode") else 0)
            if node.IsA("vtkMRMLSegmentationNode"):
                events = [*events[:1], *SEGMENTATION_EVENTS]
            self._watched[node] = [node.AddObserver(event, self._onSourceEdited) for event in events if event]

    def _unwatch(self) -> None:
        for node, tags in self._watched.items():
            for tag in tags:
                node.RemoveObserver(tag)
        self._watched = {}

    def _onSourceEdited(self, *_arguments: Any) -> None:
        self._timer.start()

    def _fillScanMenu(self) -> None:
        volumes = [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if isScanCandidate(node)]
        tip = _("Register this image to the model's space, have its structures found, and start from them.")
        only = _("Carry this image, and what was drawn on it, into the model's space.")
        entries = [
            (_("Start from {name}").format(name=node.GetName()), tip, lambda node=node: self.startFromScan(node))
            for node in volumes
        ]
        if self._pack is not None and self._pack.hasTypicalHead:
            entries += [
                (_("Register {name} only").format(name=n.GetName()), only, lambda n=n: self.registration.begin(n))
                for n in volumes
            ]
        fillMenu(self._scanMenu, entries)
        if not volumes:
            self._scanMenu.addAction(_("Load a scan first")).setEnabled(False)


def isScanCandidate(node: Any) -> bool:
    """Whether a volume may be a head to start from."""
    return not node.GetHideFromEditors() and not node.IsA("vtkMRMLLabelMapVolumeNode")


SEGMENTATION_EVENTS = (
    slicer.vtkSegmentation.SourceRepresentationModified,
    slicer.vtkSegmentation.SegmentAdded,
    slicer.vtkSegmentation.SegmentRemoved,
    slicer.vtkSegmentation.SegmentModified,
)
