"""A scan that lies anywhere is registered to the model's space; the user looks at it, takes it or leaves it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _
from vcm.core.errors import Code, VcmError
from vcm.protocol import Registered

from VCMSlicerLib.conditions.scanRegistration import (
    OFFERED,
    REGISTRATION_REFERENCE,
    STATE,
    VERDICT,
    WORDS,
    RegistrationKeeper,
    accept,
    placeResult,
    registerNode,
    registrationOf,
    registrations,
    release,
    rememberRegistration,
    scanOf,
    showOwnSlices,
    under,
    undo,
)
from VCMSlicerLib.engine.jobState import Failure
from VCMSlicerLib.panels.context import AMBER, GREEN, PanelContext, dot
from VCMSlicerLib.panels.errands import Errands
from VCMSlicerLib.scene.parameters import ResultSpace
from VCMSlicerLib.scene.sliceViews import showInSlices

LITTLE_DEGREES, LITTLE_MM = 2.0, 2.0
"""A scan that is off by less lies right."""
PICTURE_WIDTH = 380


class RegistrationPanel:
    """A part of the section “Conditions”, seen while a registration is offered or in use.

    Nothing is kept here that is not in the scene, but the picture of the last registration and what follows it.
    """

    def __init__(
        self, widget: Any, ui: Any, context: PanelContext, errands: Errands, refuse: Callable[[Failure], None]
    ) -> None:
        self.widget, self.ui, self.context, self._errands, self._refuse = widget, ui, context, errands, refuse
        self._keeper = RegistrationKeeper()
        self._next: Callable[[], None] | None = None
        self._pictures: dict[str, str] = {}
        self._shown, self._showing = "", False
        for space, words in (
            (ResultSpace.SCAN, _("on the scan, in its own space")),
            (ResultSpace.MODEL, _("in the model's space")),
        ):
            ui.resultSpaceBox.addItem(words, space.value)
        ui.acceptRegistrationButton.connect("clicked()", self.accept)
        ui.rejectRegistrationButton.connect("clicked()", self.reject)
        ui.undoRegistrationButton.connect("clicked()", self.reject)
        ui.enlargeOverlayButton.connect("clicked()", self.enlarge)
        ui.ownSlicesButton.connect("clicked()", self.showOwnSlices)
        ui.resultSpaceBox.connect("activated(int)", self._onSpaceChosen)
        widget.visible = False

    def cleanup(self) -> None:
        """Stop looking at the scene."""
        self._keeper.close()

    def beforeSceneCloses(self) -> None:
        """Forget the pictures: another scene's transforms may have the same ids."""
        self._pictures.clear()
        self._next, self._shown = None, ""

    def begin(self, volume: Any, then: Callable[[], None] | None = None) -> None:
        """Have a volume registered; `then` follows once the user has accepted it, or it lies right already.

        A registration of before goes when there is a new one, and stays where none is found.
        """
        earlier = registrationOf(volume)
        carried = under(earlier) if earlier is not None else []
        if earlier is not None:
            release(earlier)

        def ended(outcome: Any) -> None:
            found = outcome if isinstance(outcome, Registered) else None
            if earlier is not None and earlier.GetScene() is not None:
                if found is not None and found.scan_to_model:
                    undo(earlier)
                else:
                    for node in (each for each in carried if each.GetScene() is not None):
                        node.SetAndObserveTransformNodeID(earlier.GetID())
            if found is not None:
                self._found(volume, found, then)

        if self._errands.register(volume, ended) is None:
            ended(None)

    def accept(self) -> None:
        """The registration is right: go on."""
        transform = self._current()
        if transform is None:
            return
        accept(transform)
        following, self._next = self._next, None
        self.context.announce()
        if following is not None:
            following()

    def reject(self) -> None:
        """Take the registration away; everything is as it was."""
        self._next = None
        transform = self._current()
        if transform is not None:
            undo(transform)
        self.context.announce()

    def enlarge(self) -> None:
        """Show the picture in full size."""
        transform = self._current()
        path = self._pictures.get(transform.GetID(), "") if transform is not None else ""
        if not Path(path).is_file():
            return
        box = qt.QDialog(self.widget.window())
        box.setWindowTitle(_("Registration to the model's space"))
        box.setObjectName("VCMSlicerOverlay")
        layout = qt.QVBoxLayout(box)
        label = qt.QLabel()
        label.setPixmap(qt.QPixmap(path))
        layout.addWidget(label)
        box.setAttribute(qt.Qt.WA_DeleteOnClose, True)
        box.show()

    def showOwnSlices(self) -> None:
        """Turn the views to the scan's own planes."""
        transform = self._current()
        scan = scanOf(transform) if transform is not None else None
        if scan is not None:
            showOwnSlices(scan)

    def place(self, results: list[Any]) -> None:
        """Results that were made from a registered scan go where the user wants them."""
        rememberRegistration(results)
        for node in results:
            placeResult(node, self.context.parameters.resultSpace is ResultSpace.SCAN)

    def updateFromParameters(self) -> None:
        """Show the registration that is offered, else that of the conditions."""
        transform, ui = self._current(), self.ui
        self.widget.visible = transform is not None
        if transform is None:
            self._shown = ""
            return
        offered, idle = transform.GetAttribute(STATE) == OFFERED, not self.context.client.state.busy
        level = GREEN if transform.GetAttribute(VERDICT) == "good" else AMBER
        ui.registrationLabel.text = dot(level, transform.GetAttribute(WORDS) or "")
        ui.registrationHintLabel.visible = offered
        for widget in (ui.acceptRegistrationButton, ui.rejectRegistrationButton):
            widget.visible, widget.enabled = offered, idle
        for widget in (ui.undoRegistrationButton, ui.ownSlicesButton, ui.resultSpaceBox, ui.resultSpaceLabel):
            widget.visible = not offered
        ui.undoRegistrationButton.enabled = idle
        if self.context.parameters is not None:
            index = ui.resultSpaceBox.findData(self.context.parameters.resultSpace.value)
            ui.resultSpaceBox.setCurrentIndex(max(0, index))
        self._showPicture(transform, offered)

    def _showPicture(self, transform: Any, offered: bool) -> None:
        path = self._pictures.get(transform.GetID(), "")
        there = bool(path) and Path(path).is_file()
        if there and path != self._shown:
            self._shown = path
            picture = qt.QPixmap(path).scaledToWidth(PICTURE_WIDTH, qt.Qt.SmoothTransformation)
            self.ui.overlayLabel.setPixmap(picture)
        self.ui.overlayLabel.visible = there and offered
        self.ui.enlargeOverlayButton.visible = there

    def _found(self, volume: Any, found: Registered, then: Callable[[], None] | None) -> None:
        if volume.GetScene() is None:
            return
        if not found.scan_to_model:
            advice = _("Is {name} a scan of a head?").format(name=volume.GetName())
            self._refuse(Failure(Code.GEOMETRY.value, found.words, advice))
            return
        if found.verdict == "good" and found.degrees < LITTLE_DEGREES and found.shift_mm < LITTLE_MM:
            if then is not None:
                then()
            return
        try:
            transform = registerNode(volume, found.scan_to_model, found.words, found.verdict)
        except VcmError as error:
            self._refuse(Failure(error.code.value, error.sentence, error.remedy))
            return
        self._pictures[transform.GetID()] = found.overlay_path
        self._next = then
        showInSlices(background=volume)
        self.context.announce()

    def _current(self) -> Any:
        """The registration to speak of, or None."""
        known = registrations()
        offered = [node for node in known if node.GetAttribute(STATE) == OFFERED]
        if offered or len(known) < 2 or self.context.parameters is None:
            return (offered or known or [None])[-1]
        sources = (self.context.parameters.condition(info.name).node for info in self.context.conditions)
        return next(filter(None, map(registrationOf, sources)), known[-1])

    def _onSpaceChosen(self, _index: int) -> None:
        parameters, box = self.context.parameters, self.ui.resultSpaceBox
        if parameters is None:
            return
        parameters.resultSpace = ResultSpace(box.itemData(box.currentIndex))
        for row in self.context.results.rows():
            if row.node.GetNodeReference(REGISTRATION_REFERENCE) is not None:
                placeResult(row.node, parameters.resultSpace is ResultSpace.SCAN)
