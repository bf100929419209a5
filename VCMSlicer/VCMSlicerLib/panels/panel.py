"""The whole panel: its sections put together, and kept in step with the scene and with the job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from vcm.core.errors import VcmError

from VCMSlicerLib.engine.job import Job
from VCMSlicerLib.engine.jobState import JobState
from VCMSlicerLib.panels.conditionsPanel import ConditionsPanel
from VCMSlicerLib.panels.context import PanelContext
from VCMSlicerLib.panels.dialogs.scrollingPart import ScrollingPart
from VCMSlicerLib.panels.downloadPanel import DownloadPanel
from VCMSlicerLib.panels.errands import Errands
from VCMSlicerLib.panels.generatePanel import GeneratePanel
from VCMSlicerLib.panels.modelPanel import ModelPanel
from VCMSlicerLib.panels.results.resultsPanel import ResultsPanel
from VCMSlicerLib.panels.samplingPanel import SamplingPanel
from VCMSlicerLib.panels.subjectPanel import SubjectPanel
from VCMSlicerLib.problems import Problem, Remedy, problem
from VCMSlicerLib.results.comparison import Comparison, leaveArrangement, putLooksBack
from VCMSlicerLib.results.overlay import showHidden
from VCMSlicerLib.results.results import contrastsOf
from VCMSlicerLib.scene.parameters import Quality, VCMParameters


class Panel:
    """Loads `VCMSlicer.ui` and gives each of its sections to the class that knows it.

    Whatever happens — the scene changes, the job goes on, the user turns a knob — comes together in one `refresh`,
    once for each turn of the event loop.
    """

    def __init__(self, logic: Any, resourcePath: Callable[[str], str]) -> None:
        self._resourcePath, self._observation = resourcePath, None
        self.widget = self._loadUi("VCMSlicer")
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.scrolling = ScrollingPart(self.ui)
        self.logic = logic
        self.context = PanelContext(logic, logic.client, logic.environment, logic.results, Comparison())
        self.context.packs = logic.packs()
        self._refreshing, self._wrongPose = False, ""
        self._later = qt.QTimer(self.widget)  # goes with it, and with what it is connected to
        self._later.setSingleShot(True)
        self._later.setInterval(0)
        self._later.connect("timeout()", self.refresh)
        self.model = ModelPanel(self.ui, self.context)
        self.errands = Errands(self.context, lambda: self.model.device, self._refuse, self._lookAtFindings)
        self.conditions = ConditionsPanel(self.ui, self.context, self._loadUi, self.errands, self._refuse)
        self.subject = SubjectPanel(self.ui, self.context, self.conditions.measured)
        self.sampling = SamplingPanel(self.ui, self.context)
        self.downloads = DownloadPanel(
            self.ui,
            self.context,
            self._loadUi,
            refreshPacks=self.model.refreshPacks,
            setUp=lambda then: self.model.setUp(then=then),
            onFailed=self._refuse,
        )
        self.generate = GeneratePanel(
            self.ui,
            self.context,
            start=self.start,
            setUp=lambda then: self.model.setUp(then=then),
            downloads=self.downloads,
            obstacle=self.conditions.obstacle,
            remedies=self._remedies(),
        )
        self.results = ResultsPanel(self.ui, self.context)
        self.sections = (
            self.model,
            self.downloads,
            self.conditions,
            self.subject,
            self.sampling,
            self.generate,
            self.results,
        )
        self._release = self.context.changed.add(self.refreshLater)

    def setParameters(self, parameters: VCMParameters | None) -> None:
        """Follow the parameters of the scene that is open now."""
        self._forgetParameters()
        self.context.parameters = parameters
        if parameters is not None:
            self._observation = parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, self.refreshLater)
        self.refresh()

    def refresh(self) -> None:
        """Have all sections show how things are."""
        if self._refreshing:
            return
        self._refreshing = True
        try:
            for section in self.sections:
                section.updateFromParameters()
        finally:
            self._refreshing = False

    def refreshLater(self, *_arguments: Any) -> None:
        """Refresh when the present event is done with."""
        self._later.start()

    def enter(self) -> None:
        """The module was opened."""
        self.conditions.editor.enter()
        self._leaveSavedComparison()
        self._offerKeptRuns()
        self.refresh()

    def exit(self) -> None:
        """Another module was opened."""
        self.conditions.editor.exit()

    def beforeSceneCloses(self) -> None:
        """Let go of everything in the scene."""
        self.conditions.beforeSceneCloses()
        self.errands.forming.putAway()
        self.context.comparison.close()
        self.context.overlay.close()
        self._forgetParameters()

    def afterSceneChanged(self) -> None:
        """Take up the new scene."""
        self.conditions.editor.afterSceneChanged()
        self._leaveSavedComparison()
        self._offerKeptRuns()
        self.refresh()

    def _leaveSavedComparison(self) -> None:
        """A scene that was saved in a comparison is shown as usual: nothing in the panel says that it compares."""
        if not self.context.comparison.active:
            putLooksBack()
            leaveArrangement()
        if not self.context.overlay.active:
            showHidden()

    def cleanup(self) -> None:
        """The panel goes away."""
        self._later.stop()
        self._release()
        self._forgetParameters()
        self.context.comparison.close()
        self.context.overlay.close()
        for section in (self.conditions, self.generate, self.model, self.downloads, self.scrolling):
            section.cleanup()

    def start(self) -> None:
        """Generate with what the panel says."""
        if self.context.comparison.active:
            self.context.comparison.close()
        self.context.overlay.close()
        self.errands.generate(self.conditions.choices(), self._onGenerated)

    def _forgetParameters(self) -> None:
        if self.context.parameters is not None and self._observation is not None:
            self.context.parameters.RemoveObserver(self._observation)
        self.context.parameters = self._observation = None

    def _onGenerated(self, job: Job) -> None:
        if self.context.parameters is None:  # the panel has been put away, or the scene is just being closed
            return
        self._lookAtFindings(job)
        if job.state is JobState.DONE and job.nodes:
            self.conditions.registration.place(job.nodes)
            self.sampling.advanceSeed()
            self.results.updateFromParameters()
            self.results.select(job.nodes[0])
            self._present(job.nodes[0])
            self.ui.resultsSection.collapsed = False
        elif job.keptIn is not None:
            self._offerKeptRuns()
        self.refreshLater()

    def _present(self, node: Any) -> None:
        """Show a new image, with the other contrasts of its layout where there are any."""
        if contrasts := contrastsOf(node):
            self.context.comparison.compareContrasts(contrasts)
        else:
            self.context.comparison.show(node)

    def _lookAtFindings(self, job: Job) -> None:
        """A scan that lies wrong is reported with a button that registers it, and so is a head that was to be completed
        and was not."""
        found = {finding.code: finding for finding in job.findings}
        if (pose := found.get("POSE")) is not None:
            self._wrongPose = pose.subject
            self.generate.showProblem(Problem(pose.sentence, pose.remedy, Remedy.REGISTER))
        elif (incomplete := found.get("NOT_COMPLETED")) is not None:
            self.generate.showProblem(Problem(incomplete.sentence, incomplete.remedy, Remedy.SHOW_CONDITIONS))

    def _offerKeptRuns(self) -> None:
        """A result came after its scene was closed: offer to load it into the one that is open."""
        kept = self.logic.keptRuns()
        if kept:
            words = _("An image was finished after its scene had been closed.")
            self.generate.showProblem(Problem(words, _("It is kept on the disk."), Remedy.LOAD_KEPT))

    def _loadKeptRuns(self) -> None:
        nodes = []
        for run in self.logic.keptRuns():
            try:
                nodes += self.logic.openRun(run)
            except (VcmError, OSError, ValueError, RuntimeError) as error:
                run.markImported()  # not offered again; its files stay
                words = _("A kept image cannot be loaded: {reason}").format(reason=error)
                advice = _("What is left of it lies in {folder}.").format(folder=run.folder)
                self.generate.showProblem(Problem(words, advice, Remedy.SHOW_LOG))
        if nodes:
            self._present(nodes[-1])
        self.refreshLater()

    def _refuse(self, failure: Any) -> None:
        self.generate.showProblem(problem(failure))

    def _remedies(self) -> dict[Remedy, Callable[[], None]]:
        ui = self.ui
        return {
            Remedy.RETRY: self.start,
            Remedy.RETRY_ON_CPU: self._retryOnCpu,
            Remedy.LIGHTER: self._retryLighter,
            Remedy.CHOOSE_MODEL: self.model.chooseModelFolder,
            Remedy.CHOOSE_PYTHON: self.model.choosePython,
            Remedy.SET_UP: lambda: self.model.setUp(then=self.start),
            Remedy.SHOW_CONDITIONS: lambda: self._unfold(ui.conditionsSection),
            Remedy.SHOW_SUBJECT: lambda: self._unfold(ui.subjectSection),
            Remedy.LOAD_KEPT: self._loadKeptRuns,
            Remedy.REGISTER: lambda: self.conditions.register(self._wrongPose),
        }

    def _unfold(self, section: Any) -> None:
        section.collapsed = False
        self.scrolling.reveal(section)
        section.setFocus()

    def _retryOnCpu(self) -> None:
        self.model.chooseDevice("cpu")
        self.start()

    def _retryLighter(self) -> None:
        self.context.parameters.quality = Quality.PREVIEW
        self.start()

    def _loadUi(self, name: str) -> Any:
        widget = slicer.util.loadUI(self._resourcePath(f"UI/{name}.ui"))
        widget.setMRMLScene(slicer.mrmlScene)
        return widget
