"""Generate ⇄ Cancel, how far it is, what went wrong and what can be done about it, and the image while it forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from VCMSlicerLib.engine.jobState import JobState
from VCMSlicerLib.models.packInfo import READY
from VCMSlicerLib.panels.context import PanelContext
from VCMSlicerLib.problems import Problem, Remedy, button, problem

PROGRESS_STEPS = 1000
TICK_MS = 200


class GeneratePanel:
    """One button, driven by the client's state. `obstacle` says what stands in the way of it in the other sections."""

    def __init__(
        self,
        ui: Any,
        context: PanelContext,
        *,
        start: Callable[[], None],
        setUp: Callable[[Callable[[], None]], None],
        downloads: Any,
        obstacle: Callable[[], str],
        remedies: dict[Remedy, Callable[[], None]],
    ) -> None:
        self.ui, self.context = ui, context
        self._start, self._setUp, self._obstacle, self._remedies = start, setUp, obstacle, remedies
        self._downloads = downloads
        self._problem: Problem | None = None
        self._showing = False
        self._timer = qt.QTimer(ui.generateButton)
        self._timer.setInterval(TICK_MS)
        self._timer.connect("timeout()", self.showProgress)
        ui.generateButton.connect("clicked()", self._onClicked)
        ui.remedyButton.connect("clicked()", self._onRemedy)
        ui.showLogButton.connect("clicked()", self.showLog)
        ui.problemCloseButton.connect("clicked()", self.dismissProblem)
        ui.livePreviewBox.connect("toggled(bool)", self._onPreviewToggled)
        self._releases = [context.client.onChanged(self._onState)]

    def cleanup(self) -> None:
        """Stop listening."""
        self._timer.stop()
        for release in self._releases:
            release()

    def whyNot(self) -> str:
        """Why Generate cannot be pressed now, in a sentence; empty when it can, also where it begins by setting up or
        by getting the model."""
        context, pack = self.context, self.context.pack
        if context.parameters is None:
            return _("There is no scene.")
        if self._downloads.wanted is not None:
            return _("The model is on its way to this computer.") if self._downloads.download.busy else ""
        if pack is None:
            return _("The chosen model is not on this computer.")
        if pack.state != READY:
            return f"{pack.title}: {pack.words}"
        if context.control is None and context.parameters.controlName:
            return _("What this scene's image follows is not on this computer. Choose another in the section Model.")
        return self._obstacle()

    def updateFromParameters(self) -> None:
        """Show what the button would do, or why it cannot."""
        ui, state, environment = self.ui, self.context.client.state, self.context.environment
        if environment.busy and not state.busy:
            self._showSettingUp()
            return
        reason = "" if state.busy else self.whyNot()
        ui.generateButton.text = {
            JobState.CANCELLING: _("Cancelling…"),
            JobState.IMPORTING: _("Loading the result…"),
        }.get(state, _("Cancel") if state.busy else _("Generate"))
        ui.generateButton.enabled = state.canCancel if state.busy else not reason
        if state.busy:
            ui.generateButton.toolTip = _("Stop. What was made before stays.")
        else:
            ui.generateButton.toolTip = reason or _("Make a synthetic image that follows the conditions.")
        first = "" if reason or state.busy else self._first()
        ui.generateHintLabel.text = reason or first
        ui.generateHintLabel.visible = bool(reason or first)
        ui.progressArea.visible = state.busy
        if self.context.parameters is not None:
            self._showing = True
            ui.livePreviewBox.checked = self.context.parameters.livePreview
            self._showing = False
        self.showProgress()

    def _first(self) -> str:
        """What comes before Generate, in a sentence; empty where nothing does."""
        if not self.context.environment.ready:
            return _("The computing packages are not set up yet: that comes first, after you have seen how much it is.")
        if self._downloads.wanted is not None:
            return _("The model is not here yet: that comes first, after you have seen its size and its licence.")
        return ""

    def _showSettingUp(self) -> None:
        """The packages are being set up: that can be broken off, and Generate comes after it."""
        ui, environment = self.ui, self.context.environment
        ui.generateButton.text, ui.generateButton.enabled = _("Cancel"), True
        ui.generateButton.toolTip = _(
            "Break off the setting up. What was downloaded is kept, so that it can go on later."
        )
        ui.generateHintLabel.visible = False
        ui.progressArea.visible = True
        ui.progressBar.setRange(0, PROGRESS_STEPS if environment.fraction > 0 else 0)
        ui.progressBar.value = round(environment.fraction * PROGRESS_STEPS)
        ui.progressLabel.text = _("Setting up: {step}").format(step=environment.words)

    def showProgress(self) -> None:
        """How far the job is, in the bar and in words."""
        client = self.context.client
        if not client.state.busy:
            return
        moving = client.state is JobState.RUNNING and client.fraction > 0
        self.ui.progressBar.setRange(0, PROGRESS_STEPS if moving else 0)
        if moving:
            self.ui.progressBar.value = round(client.fraction * PROGRESS_STEPS)
        self.ui.progressLabel.text = progressWords(client)

    def showProblem(self, found: Problem) -> None:
        """Tell what went wrong, with a button that does something about it."""
        self._problem = found
        ui = self.ui
        ui.problemLabel.text = f"<b>{found.sentence}</b> {found.advice}".strip()
        ui.remedyButton.text, ui.remedyButton.toolTip = button(found.remedy)
        ui.showLogButton.visible = found.remedy is not Remedy.SHOW_LOG
        ui.problemFrame.visible = True

    def dismissProblem(self) -> None:
        """Put the message away."""
        self._problem = None
        self.ui.problemFrame.visible = False

    def showLog(self) -> None:
        """Show what the worker wrote."""
        box = qt.QDialog(self.ui.generateButton.window())
        box.setWindowTitle(_("Log of the computing process"))
        box.setObjectName("VCMSlicerLog")
        box.resize(720, 420)
        layout = qt.QVBoxLayout(box)
        text = qt.QPlainTextEdit()
        text.setReadOnly(True)
        text.setPlainText(self.context.client.log or _("Nothing has been written yet."))
        layout.addWidget(text)
        box.setAttribute(qt.Qt.WA_DeleteOnClose, True)
        box.show()

    def _onClicked(self) -> None:
        client, environment = self.context.client, self.context.environment
        if client.state.canCancel:
            client.cancel()
        elif client.state.busy or self.whyNot():
            return
        elif environment.busy:
            environment.cancel()
        else:
            self.dismissProblem()
            self._startOrPrepare()

    def _startOrPrepare(self) -> None:
        if not self.context.environment.ready:
            self._setUp(self._goOn)
        elif self._downloads.wanted is not None:
            self._downloads.ask(self._goOn)
        else:
            self._start()

    def _goOn(self) -> None:
        """What was pressed before the setting up or the download, if it still makes sense."""
        if not self.context.client.state.busy and self.context.environment.ready and not self.whyNot():
            self._startOrPrepare()

    def _onState(self, state: JobState) -> None:
        if state.busy:
            self._timer.start()
        else:
            self._timer.stop()
        if state is JobState.FAILED and self.context.client.failure is not None:
            self.showProblem(problem(self.context.client.failure))
        self.context.announce()

    def _onRemedy(self) -> None:
        if self._problem is None:
            return
        remedy = self._problem.remedy
        self.dismissProblem()
        self._remedies.get(remedy, self.showLog)()

    def _onPreviewToggled(self, checked: bool) -> None:
        if not self._showing and self.context.parameters is not None:
            self.context.parameters.livePreview = checked


def progressWords(client: Any) -> str:
    """What the job is doing and about how long it will take."""
    if client.state is JobState.STARTING:
        return _("Starting…")
    if client.state is JobState.CANCELLING:
        return _("Cancelling…")
    if client.state is JobState.IMPORTING:
        return _("Loading the result…")
    stage = stageWords(client.stage)
    left = client.secondsLeft
    return f"{stage} · {timeWords(left)}" if left is not None else f"{stage}…"


def stageWords(stage: str) -> str:
    """A stage of the worker's in the user's words.

    >>> stageWords("uncontrolled sampling"), stageWords("polishing")
    ('Forming the image without conditions', 'Polishing')
    """
    known = {
        "loading": _("Loading the model"),
        "completing the head": _("Completing the rest of the head"),
        "sampling": _("Forming the image"),
        "matching": _("Fitting it to the image given"),
        "decoding": _("Drawing the image"),
        "uncontrolled sampling": _("Forming the image without conditions"),
        "uncontrolled decoding": _("Drawing the image without conditions"),
        "measuring": _("Measuring how well it follows"),
        "segmenting": _("Finding the structures"),
        "searching the head": _("Searching the head in the scan"),
        "aligning it": _("Registering the scan to the model's space"),
    }
    return known.get(stage.strip(), stage.strip().capitalize() or _("Working"))


def timeWords(seconds: float) -> str:
    """A duration as people say it.

    >>> timeWords(3.2), timeWords(48), timeWords(190)
    ('a few seconds left', 'about 50 s left', 'about 3 min left')
    """
    if seconds < 5:
        return _("a few seconds left")
    if seconds < 90:
        return _("about {n} s left").format(n=max(5, round(seconds / 5) * 5))
    return _("about {n} min left").format(n=round(seconds / 60))
