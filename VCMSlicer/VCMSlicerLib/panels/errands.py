"""What the panel has done by the worker: Generate, segment a scan, what the model sees; and what is shown then."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _
from vcm.core.errors import Code, VcmError
from vcm.protocol import Examined, Segmented

from VCMSlicerLib.conditions.conditionSource import ConditionChoice
from VCMSlicerLib.conditions.startPoints import StartPoint, fromSegmentedScan
from VCMSlicerLib.engine.job import Job
from VCMSlicerLib.engine.jobState import Failure
from VCMSlicerLib.models.packInfo import PackInfo, usableValue
from VCMSlicerLib.panels.context import PanelContext
from VCMSlicerLib.results.formingImage import FormingImage
from VCMSlicerLib.scene.niftiFile import readNifti, writeNifti
from VCMSlicerLib.scene.parameters import VCMParameters
from VCMSlicerLib.scene.scene import addLabelVolume, addVolume, removeNode
from VCMSlicerLib.scene.sliceViews import showInSlices
from VCMSlicerLib.scene.worldImages import volumeImage

PREVIEWS = 8
SEEN = "VCMSlicer.Seen"


class Errands:
    """Starts jobs with the panel's settings. `refuse` hears why one could not even begin, `onExamined` of a look at the
    conditions."""

    def __init__(
        self,
        context: PanelContext,
        device: Callable[[], str],
        refuse: Callable[[Failure], None],
        onExamined: Callable[[Job], None] = lambda _job: None,
    ) -> None:
        self.context, self._device, self._refuse, self._onExamined = context, device, refuse, onExamined
        self.forming = FormingImage()

    def generate(self, choices: list[ConditionChoice], onDone: Callable[[Job], None]) -> Job | None:
        """Make Samples from the conditions and the parameters of the scene."""
        parameters, pack = self.context.parameters, self._pack
        # From now on the scene says by which model its images were made, whoever opens it.
        parameters.packName = pack.name
        parameters.controlName = self._control() or ""
        sampler, steps = parameters.quality.sampling(pack)
        every = max(1, steps // PREVIEWS) if parameters.livePreview else 0
        options = {
            "pack": pack.name,
            "control": self._control(),
            "controlMayGiveWay": self._mayGiveWay(choices),
            "layout": "auto" if parameters.completeHead else "off",
            "attributes": givenAttributes(parameters, pack),
            "seed": parameters.seed,
            "samples": parameters.sampleCount,
            "sampler": sampler,
            "steps": steps,
            "uncontrolled": parameters.uncontrolled and bool(choices),
            "device": self._device(),
            "previewEvery": every,
        }

        def ended(job: Job) -> None:
            self.forming.putAwaySoon()
            onDone(job)

        self.forming.begin()
        job = self._begin(lambda: self.context.logic.start(choices, **options), ended)
        if job is not None:
            job.onPreview(self.forming.showSoon)
        return job

    def segment(self, volume: Any, onDone: Callable[[StartPoint], None]) -> Job | None:
        """Have a loaded scan segmented."""
        options = {"pack": self._pack.name, "device": self._device()}

        def ended(outcome: Any) -> None:
            if isinstance(outcome, Segmented) and volume.GetScene() is not None:
                onDone(fromSegmentedScan(volume, outcome.path, outcome.structures, self.context.conditions))

        return self._onFile(volume, lambda path: self.context.logic.segment(path, **options), ended)

    def register(self, volume: Any, onEnd: Callable[[Any], None]) -> Job | None:
        """Find where a loaded scan lies relative to the model's heads; `onEnd` hears of every end, None where it could
        not be begun."""
        pack = self._pack.name
        return self._onFile(volume, lambda path: self.context.logic.register(path, pack=pack), onEnd)

    def see(self, choices: list[ConditionChoice]) -> Job | None:
        """Load the conditions as the model gets them."""
        kinds = {choice.name: choice.kind for choice in choices}

        def ended(job: Job) -> None:
            self._onExamined(job)
            self._showSeen(job.outcome, kinds)

        options = {"pack": self._pack.name, "control": self._control()}
        return self._begin(lambda: self.context.logic.examine(choices, **options), ended)

    @property
    def _pack(self) -> PackInfo:
        """The chosen model; without one that is ready nothing can be begun."""
        pack = self.context.readyPack
        assert pack is not None
        return pack

    def _mayGiveWay(self, choices: list[ConditionChoice]) -> bool:
        """Whether the chosen control could take nothing of a completed head: then the worker may find one that can."""
        control = self.context.control
        return control is not None and not control.completes([choice.name for choice in choices])

    def _control(self) -> str | None:
        control = self.context.control
        return control.name if control is not None else None

    def _showSeen(self, outcome: Any, kinds: dict[str, str]) -> None:
        if not isinstance(outcome, Examined):
            return
        for node in [n for n in slicer.util.getNodesByClass("vtkMRMLVolumeNode") if n.GetAttribute(SEEN)]:
            removeNode(node)
        for entry in outcome.prepared:
            title, isImage = _("What the model gets: {name}").format(name=entry.name), kinds.get(entry.name) == "image"
            image = readNifti(entry.path)
            node = addVolume(image, title) if isImage else addLabelVolume(image, title)
            node.SetAttribute(SEEN, entry.name)
            layer = {"background": node} if isImage else {"label": node, "labelOpacity": 0.7}
            showInSlices(**layer)

    def _onFile(self, volume: Any, start: Callable[[Path], Job], onDone: Callable[[Any], None]) -> Job | None:
        """Have the worker look at a volume as it lies in the world, by a file that goes at the end."""
        image = volumeImage(volume)
        if image is None:
            self._refuse(Failure(Code.CONDITION.value, _("{name} has no voxels.").format(name=volume.GetName())))
            return None
        folder: Path | None = None

        def begin() -> Job:
            nonlocal folder
            folder = Path(tempfile.mkdtemp(prefix="vcm-slicer-", dir=slicer.app.temporaryPath))
            return start(writeNifti(folder / "scan.nii", image))

        def tidy() -> None:  # a patient's head should not stay on the disk
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

        def ended(job: Job) -> None:
            tidy()
            onDone(job.outcome)

        job = self._begin(begin, ended)
        if job is None:
            tidy()
        return job

    def _begin(self, start: Callable[[], Job], ended: Callable[[Job], None]) -> Job | None:
        try:
            job = start()
        except VcmError as error:
            self._refuse(Failure(error.code.value, error.sentence, error.remedy))
        except OSError as error:
            words = _("The conditions could not be written: {reason}.").format(reason=error.strerror or error)
            self._refuse(Failure(Code.DISK_FULL.value, words, _("Free some space.")))
        else:
            # One that could not even start the worker has ended already.
            if job.finished:
                ended(job)
            else:
                job.onFinished(ended)
            return job
        return None


def givenAttributes(parameters: VCMParameters, pack: PackInfo) -> dict[str, float | str]:
    """The attributes to send: all but those that are left to follow the masks."""
    given: dict[str, float | str] = {}
    for info in pack.attributes:
        setting = parameters.attribute(info.name)
        if info.structures and not setting.given:
            continue
        given[info.name] = usableValue(info, setting.value)
    return given
