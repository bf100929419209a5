"""What scripts and the panel do with the module: from nodes of the scene to nodes of the scene.

ventricles = (segmentationNode, "Ventricles")
volumeNode = logic.generate(conditions={"ventricles": ventricles}, attributes={"age": 72, "sex": "F"}, seed=1)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from vcm.core.errors import Code, VcmError
from vcm.protocol import Examine, Generate, Generated, Register, Segment

from VCMSlicerLib.conditions.conditionSource import ConditionChoice
from VCMSlicerLib.conditions.givenInputs import (
    Conditions,
    controlOf,
    exportChoices,
    readyPack,
    splitAttributes,
    usableChoices,
)
from VCMSlicerLib.engine.job import Job
from VCMSlicerLib.engine.jobState import IMPORT_FAILED, Failure
from VCMSlicerLib.engine.runFolder import RunFolder, keptRuns, removeOld
from VCMSlicerLib.engine.workerClient import WorkerClient
from VCMSlicerLib.models.packCatalogue import listPacks, useChosenFolder
from VCMSlicerLib.models.packInfo import PackInfo
from VCMSlicerLib.results.resultImport import Preloading, imagePaths
from VCMSlicerLib.results.results import Results
from VCMSlicerLib.scene.scene import forgetPreloaded


class LogicFacade:
    """Generates from nodes. Neither a closed scene nor a failed worker takes it down."""

    def __init__(self, client: WorkerClient, results: Results | None = None, runs: Path | None = None) -> None:
        self.client = client
        self.results = results or Results()
        self._runs = runs
        useChosenFolder()
        removeOld(runs)
        self._run: RunFolder | None = None
        self._job: Job | None = None
        self._choices: list[ConditionChoice] = []
        self._imported: list[RunFolder] = []
        self._preloading: Preloading | None = None
        self._sceneIsThatOfTheJob = True
        client.setImporter(self._importRun)
        closing = slicer.vtkMRMLScene.StartCloseEvent
        self._observation = slicer.mrmlScene.AddObserver(closing, lambda *_arguments: self._forgetScene())

    # For scripts

    def packs(self) -> tuple[PackInfo, ...]:
        """The models that are here and those that could be."""
        return listPacks()

    def generate(self, conditions: Conditions = (), **options: Any) -> Any:
        """Make images and wait for them: the volume node, or a list of them where several samples were asked for.

        Options are those of `start`. JobFailed tells in a sentence what went wrong.
        """
        nodes = self.start(conditions, **options).wait()
        return nodes[0] if len(nodes) == 1 else nodes

    def start(
        self,
        conditions: Conditions = (),
        attributes: Mapping[str, float | str] | None = None,
        *,
        pack: str | None = None,
        control: str | None = None,
        controlMayGiveWay: bool = False,
        previewEvery: int = 0,
        **options: Any,
    ) -> Job:
        """Begin to make images; returns at once.

        `attributes` are in human units (`{"age": 72, "sex": "F"}`); `options` are fields of `vcm.protocol.Generate`,
        such as `seed`, `samples`, `steps`, `uncontrolled`, `device`, `layout`. Without `control` it is the simplest
        that takes these conditions or, where a layout completes them, the one that shows most of a head; with
        `controlMayGiveWay` that one may also take the place of the `control` named.
        """
        self._refuseWhileBusy()
        info = readyPack(pack)
        conditions = conditions if isinstance(conditions, Mapping) else list(conditions)
        steering = controlOf(control, conditions, info)
        run = RunFolder.make(self._runs)
        try:
            usable = usableChoices(conditions, info, steering)
            choices = [choice for choice, _image in usable]
            inputs = exportChoices(usable, info, steering, run.inputs)
            human, raw = splitAttributes(attributes or {}, info)
            request = Generate(
                id=self.client.newId(),
                out=str(run.out),
                conditions=inputs,
                pack=info.name,
                control=steering.name if steering is not None and choices else None,
                control_may_give_way=control is None or controlMayGiveWay,
                attributes=human,
                raw_attributes={**raw, **options.pop("raw_attributes", {})},
                preview_every=previewEvery,
                preview_dir=str(run.previews) if previewEvery else None,
                **options,
            )
        except BaseException:
            run.remove()
            raise
        self._run, self._choices, self._sceneIsThatOfTheJob = run, choices, True
        return self._begin(request)

    def examine(self, conditions: Conditions, *, pack: str | None = None, control: str | None = None) -> Job:
        """Begin to find out what the model sees: the job's `outcome` names the prepared volumes, `findings` says more.

        The files lie in the job's folder until the next job begins.
        """
        self._refuseWhileBusy()
        info = readyPack(pack)
        conditions = conditions if isinstance(conditions, Mapping) else list(conditions)
        steering = controlOf(control, conditions, info)
        run = RunFolder.make(self._runs)
        try:
            inputs = exportChoices(usableChoices(conditions, info, steering), info, steering, run.inputs)
        except BaseException:
            run.remove()
            raise
        self._run, self._choices = run, []
        chosen = steering.name if steering is not None else None
        return self._begin(Examine(self.client.newId(), inputs, info.name, chosen, prepared_dir=str(run.out)))

    def segment(self, image: str | Path, *, pack: str | None = None, device: str = "auto") -> Job:
        """Begin to turn an image file into the structures of a pack's segmenter; `outcome.path` is the label map, on
        the image's own voxels."""
        self._refuseWhileBusy()
        self._run, self._choices = RunFolder.make(self._runs), []
        out = str(self._run.out / "structures.nii.gz")
        return self._begin(Segment(self.client.newId(), str(image), out, readyPack(pack).name, device, own_grid=True))

    def register(self, image: str | Path, *, pack: str | None = None) -> Job:
        """Begin to find where an image file lies relative to a pack's heads; `outcome` holds the matrix, a verdict
        and the path of a picture."""
        self._refuseWhileBusy()
        self._run, self._choices = RunFolder.make(self._runs), []
        return self._begin(Register(self.client.newId(), str(image), str(self._run.out), readyPack(pack).name))

    def keptRuns(self) -> list[RunFolder]:
        """Runs whose scene was closed before their images could come into it."""
        return keptRuns(self._runs)

    def openRun(self, run: RunFolder) -> list[Any]:
        """Bring the images of a kept run into the scene that is open now."""
        request, generated = run.open()
        nodes = self.results.add(generated, request, ())
        run.markImported()
        self._imported.append(run)
        return nodes

    def shutdown(self, seconds: float = 2.0) -> None:
        """End the worker and remove what is in the scene already from the disk; for the end of the application."""
        if self._observation is not None:
            slicer.mrmlScene.RemoveObserver(self._observation)
            self._observation = None
        self._stopPreloading()
        self.client.shutdown(seconds)
        for run in self._imported:
            run.remove()
        self._imported.clear()

    # The way of a job

    def _refuseWhileBusy(self) -> None:
        if self.client.state.busy:
            raise VcmError(Code.BAD_REQUEST, _("Another job is running."), _("Wait for it, or cancel it."))

    def _begin(self, request: Any) -> Job:
        job = self._job = Job(self.client, request)
        run = self._run

        def ended(outcome: Any) -> None:
            self._stopPreloading()
            self._cleanUp(run, outcome, request)
            if self._job is job:
                self._job, self._run, self._choices = None, None, []
            job.end(outcome)

        self.client.run(request, ended)
        return job

    def _cleanUp(self, run: RunFolder | None, outcome: Any, request: Any) -> None:
        if run is None:
            return
        run.tidy()
        if isinstance(request, Generate) and not isinstance(outcome, Generated) and not _importFailed(outcome):
            run.remove()
        elif not isinstance(request, Generate):
            self._imported.append(run)

    def _importRun(self, generated: Generated, request: Generate, finished: Any) -> None:
        """Called by the client while its state is IMPORTING."""
        run, job, choices = self._run, self._job, self._choices
        assert run is not None and job is not None
        run.keep(request, generated)

        def ready(error: Exception | None) -> None:
            self._preloading = None
            try:
                if error is not None:
                    raise error
                if self._sceneIsThatOfTheJob:
                    there = [choice for choice in choices if choice.node is not None and choice.node.GetScene()]
                    job.nodes = self.results.add(generated, request, there)
                    run.markImported()
                    self._imported.append(run)
                else:
                    job.keptIn = run.folder
            except Exception as problem:
                finished(_cannotLoad(problem, run))
                return
            finally:
                forgetPreloaded()
            # Nodes now, tables and views at the next turn of the event loop: together they would hold the window up.
            qt.QTimer.singleShot(0, finished)

        if self._sceneIsThatOfTheJob:
            self._preloading = Preloading(imagePaths(generated), ready)
        else:
            ready(None)

    def _forgetScene(self) -> None:
        """The scene is being closed: a job goes on, and its images stay on the disk for `openRun`."""
        self._sceneIsThatOfTheJob = False
        self._choices = []

    def _stopPreloading(self) -> None:
        if self._preloading is not None:
            self._preloading.stop()
            self._preloading = None
        forgetPreloaded()


def _importFailed(outcome: Any) -> bool:
    return isinstance(outcome, Failure) and outcome.code == IMPORT_FAILED


def _cannotLoad(problem: Exception, run: RunFolder) -> Failure:
    sentence = _("The images were made but cannot be loaded: {reason}.").format(reason=str(problem).rstrip("."))
    return Failure(IMPORT_FAILED, sentence, _("They are in {folder}.").format(folder=run.out))
