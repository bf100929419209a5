"""The engine behind the worker: each request put to the parts of `vcm` that do it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from vcm.core.errors import Code, VcmError
from vcm.core.findings import raise_first_error
from vcm.protocol import (
    Examine,
    Examined,
    Generate,
    Generated,
    GetPack,
    ListPacks,
    Machine,
    PackObtained,
    Packs,
    Preflight,
    PreparedCondition,
    Ready,
    Register,
    Registered,
    Segment,
    Segmented,
    Structure,
    Warm,
    Warmed,
)
from vcm.worker.contract import Call

if TYPE_CHECKING:
    from vcm.core.progress import OnProgress
    from vcm.core.volume import Volume
    from vcm.outputs.claims import Claim
    from vcm.packs.store import Pack
    from vcm.runs.examined_files import ExaminedFiles
    from vcm.runs.job import GenerateJob
    from vcm.runs.warm_models import WarmModels
    from vcm.sampling.generator import Generator, OnPreview


class LocalEngine:
    """Works on this machine and keeps the models of the last request; the heavy packages come with `start`."""

    _models: WarmModels
    _examine: ExaminedFiles

    def start(self) -> Ready:
        import vcm.sampling.generator  # noqa: F401 - the import that takes seconds, before the first request asks for it
        from vcm.machine.runtime import choose_runtime
        from vcm.runs.examined_files import ExaminedFiles
        from vcm.runs.warm_models import WarmModels

        self._models, self._examine = WarmModels(), ExaminedFiles()
        return Ready(choose_runtime().words)

    def generate(self, request: Generate, call: Call) -> Generated:
        from contextlib import ExitStack

        from vcm.runs.run import Listeners, input_files, run_generate
        from vcm.worker.translation import generate_job, generated

        def load(backbone: Pack, control: Pack | None, job: GenerateJob) -> Generator:
            return self._load(backbone, control, job, call)

        job = generate_job(request)
        with ExitStack() as claims:
            show = None
            if request.preview_dir is not None:
                folder = Path(request.preview_dir)
                claims.enter_context(_claimed_for_previews(folder, input_files(job)))
                show = _preview_writer(folder, call)
            listeners = Listeners(_teller(call), show, call.found, call.say, call.cancelled)
            done = run_generate(job, listeners, load, self._models.judge, self._examine, self._models.layout)
            return generated(request, done.report)

    def examine(self, request: Examine, call: Call) -> Examined:
        from vcm.runs.choice import choose_packs
        from vcm.runs.run import examine_conditions, write_seen
        from vcm.worker.translation import condition_file

        packs = choose_packs(request.pack, request.control, (entry.name for entry in request.conditions))
        files = tuple(map(condition_file, request.conditions))
        examinations = examine_conditions(files, *packs)
        findings = tuple(finding for examination in examinations for finding in examination.findings)
        prepared: dict[str, Path] = {}
        if request.prepared_dir is not None:
            prepared = write_seen(Path(request.prepared_dir), examinations, files)
        return Examined(
            request.id, findings, tuple(PreparedCondition(name, str(path)) for name, path in prepared.items())
        )

    def segment(self, request: Segment, call: Call) -> Segmented:
        import numpy as np

        from vcm.judging.reference_head import has_typical_head, template_of
        from vcm.judging.segmentation import choose_segmenter
        from vcm.judging.structures_in_place import in_place
        from vcm.machine.runtime import choose_device
        from vcm.outputs.claims import claim_file
        from vcm.runs.choice import choose_packs
        from vcm.volumes.resampling import refined_labels
        from vcm.volumes.volume_files import read_volume, write_volume

        out = claim_file(request.out, inputs=[request.image])
        backbone, _ = choose_packs(request.pack, None, ())
        image = _examined_image(Path(request.image), backbone, call)
        judge = choose_segmenter(backbone, device=choose_device(request.device))
        if judge.segmenter is None:
            raise VcmError(Code.BAD_REQUEST, f"The image cannot be segmented. {judge.sentence}")
        call.progress("segmenting")
        labels = judge.segmenter.segment(image)
        if has_typical_head(backbone):
            labels = in_place(labels, template_of(backbone))
        call.stop_if_cancelled()
        written = refined_labels(labels, read_volume(request.image).grid) if request.own_grid else labels
        classes = backbone.backbone.segmenter_classes
        with out:
            words = f"made by {judge.segmenter.name}, research only"
            write_volume(request.out, written, description=words, names={c.value: c.name for c in classes})
        structures = (
            Structure(c.value, c.name, int(np.count_nonzero(labels.array == c.value)) * labels.grid.voxel_ml)
            for c in classes
        )
        return Segmented(request.id, request.out, tuple(structures))

    def register(self, request: Register, call: Call) -> Registered:
        from vcm.runs.job import RegisterJob
        from vcm.runs.registering import run_register
        from vcm.worker.translation import registered

        template = Path(request.template) if request.template is not None else None
        job = RegisterJob(Path(request.image), Path(request.out), request.pack, template)
        call.progress("loading")
        return registered(request, run_register(job, _teller(call), call.found, call.cancelled))

    def list_packs(self, request: ListPacks, call: Call) -> Packs:
        from vcm.worker.survey import survey_packs

        return survey_packs(request)

    def get_pack(self, request: GetPack, call: Call) -> PackObtained:
        from vcm.worker.getting import get_pack

        return get_pack(request, call)

    def preflight(self, request: Preflight, call: Call) -> Machine:
        from vcm.worker.survey import survey_machine

        return survey_machine(request)

    def warm(self, request: Warm, call: Call) -> Warmed:
        from vcm.runs.choice import choose_packs
        from vcm.runs.job import GenerateJob

        job = GenerateJob(Path(), device=request.device, precision=request.precision)
        generator = self._load(*choose_packs(request.pack, request.control, ()), job, call)
        return Warmed(request.id, generator.runtime.words)

    def release(self) -> None:
        self._models.release()

    def _load(self, backbone: Pack, control: Pack | None, job: GenerateJob, call: Call) -> Generator:
        def loading(name: str) -> None:
            call.stop_if_cancelled()
            call.progress("loading")
            call.say(f"Loading {name}.")

        generator = self._models.generator(backbone, control, job, loading)
        call.stop_if_cancelled()
        return generator


def _teller(call: Call) -> OnProgress:
    return lambda at: call.progress(at.stage, at.step, at.total, fraction=at.fraction, seconds_left=at.seconds_left)


def _claimed_for_previews(folder: Path, inputs: Iterable[Path]) -> Claim:
    from vcm.outputs.claims import SHORT_WAIT_S, Claim

    claim = Claim(folder, inputs=inputs, wait=SHORT_WAIT_S)
    claim.admit(*folder.glob("preview-*-*.nii"))
    return claim


def _preview_writer(folder: Path, call: Call) -> OnPreview:
    from vcm.volumes.volume_files import write_volume

    def write(sample: int, step: int, volume: Volume) -> None:
        path = folder / f"preview-{sample}-{step}.nii"
        write_volume(path, volume, description=f"synthetic preview, step {step}")
        call.preview(str(path), sample, step)

    return write


def _examined_image(path: Path, backbone: Pack, call: Call) -> Volume:
    """An image of a head in 0–1 on the backbone's Grid, or the doctor's first error."""
    from vcm.conditions.condition import ConditionSpec, Kind
    from vcm.conditions.doctor import examine
    from vcm.runs.run import reference_of
    from vcm.volumes.volume_files import read_volume_file

    examination = examine(
        ConditionSpec(backbone.backbone.contrast or "image", Kind.IMAGE),
        read_volume_file(path),
        backbone.backbone.grid,
        source=path.name,
        reference=reference_of(backbone),
    )
    for finding in examination.findings:
        call.found(finding)
    raise_first_error(examination.findings)
    assert examination.condition is not None
    return examination.condition.volume
