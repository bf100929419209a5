"""A whole run, from files to files: examine, generate, judge, write. The command line and the worker both call it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vcm.conditions.condition import Condition, ConditionSpec, Kind
from vcm.conditions.contrasts import asked_contrasts, file_labels, resolve_contrasts
from vcm.conditions.doctor import Examination, examine, examine_region
from vcm.core.errors import Code, VcmError
from vcm.core.findings import Finding, raise_first_error
from vcm.outputs.claims import SHORT_WAIT_S, Claim
from vcm.packs.store import Pack
from vcm.runs.choice import choose_packs, on_grid
from vcm.runs.job import ConditionFile, GenerateJob
from vcm.runs.layout_choice import LayoutChoice, choose_layout, is_whole
from vcm.runs.request_hash import hash_request
from vcm.runs.results_folder import REPORT, ResultsFolder
from vcm.sampling.noise_file import read_noise
from vcm.volumes.volume_files import read_volume_file, write_volume

if TYPE_CHECKING:
    import torch

    from vcm.core.progress import OnProgress
    from vcm.judging.segmentation import Choice
    from vcm.machine.runtime import Runtime
    from vcm.models.layout.layout import Layout
    from vcm.registration.reference import Reference
    from vcm.reporting.report import SampleRecord
    from vcm.runs.completing import CompletedHead, Completer
    from vcm.sampling.generator import Generator, OnPreview
    from vcm.sampling.request import GenerateRequest, Sample

Load = Callable[[Pack, "Pack | None", GenerateJob], "Generator"]
Judge = Callable[[Pack, str, "torch.device"], "Choice"]
LoadLayout = Callable[[Pack, "torch.device"], "Layout"]
Examine = Callable[[Iterable[ConditionFile], Pack, "Pack | None"], tuple[Examination, ...]]


@dataclass(frozen=True)
class Listeners:
    """Callbacks of a run; each may be left out."""

    progress: OnProgress | None = None
    preview: OnPreview | None = None
    finding: Callable[[Finding], None] = lambda _: None
    words: Callable[[str], None] = lambda _: None
    cancelled: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class RunResult:
    """What a run left: its files, the report as written, and the alignment of each Sample in a sentence."""

    files: tuple[Path, ...]
    report: dict[str, Any]
    summaries: tuple[str, ...]


def run_generate(
    job: GenerateJob,
    listeners: Listeners | None = None,
    load: Load | None = None,
    judge: Judge | None = None,
    examine: Examine | None = None,
    load_layout: LoadLayout | None = None,
) -> RunResult:
    """Do a `GenerateJob`. Inputs are examined before anything heavy is loaded; the first error stops the run.

    Each Sample is written as soon as it is finished, and `report.json` always lists what is in the folder; results of
    an earlier run stay until there is a Sample to take their place. Previews that no listener takes are written there
    too. `load`, `judge`, `examine` and `load_layout` take the place of `load_generator`, of the choice of a segmenter,
    of `examine_conditions` and of `vcm.runs.completing.load_layout` where models, segmenters and examinations are kept
    from run to run.
    """
    listeners = listeners or Listeners()
    started = time.perf_counter()
    backbone, control = choose_packs(job.pack, job.control, (c.name for c in job.conditions))
    backbone = on_grid(backbone, control, job.size, job.spacing)
    layout, why = choose_layout(job, backbone, control)
    labels = file_labels(asked_contrasts(backbone.backbone.attributes, job.attributes))
    folder = ResultsFolder.claim(job.out, inputs=input_files(job), force=job.force, labels=labels)
    examinations = (examine or examine_conditions)(job.conditions, backbone, control)
    findings = [finding for examination in examinations for finding in examination.findings]
    if layout is not None:  # a class that was not drawn is completed
        findings = [finding for finding in findings if finding.code != "CLASS_ABSENT"]
    elif why is not None:
        findings.append(why)
    for finding in findings:
        listeners.finding(finding)
    raise_first_error(findings)
    request = _request(job, backbone, tuple(e.condition for e in examinations if e.condition is not None))
    with folder:
        from vcm.runs.record import RunRecord

        asked_sha256 = hash_request(job, backbone, control, layout)
        if layout is not None and is_whole(layout, request.conditions):
            layout = None
        if layout is not None:
            listeners.words(layout.words)
            control = layout.control
        _say_what_to_expect(request, backbone, control, layout is not None, listeners.words)
        listeners.words("loading the model")
        generator = (load or load_generator)(backbone, control, job)
        request = request.on(generator.backbone.process)
        listeners.words(f"running on {generator.runtime.words}")
        plan = generator.plan(1 if layout is not None else request.batch)  # each Sample has a head of its own
        listeners.words(plan.words)
        choice = _choose_judge(job, backbone, generator, bool(request.conditions or layout), judge)
        listeners.words(choice.sentence)
        record = RunRecord(
            folder,
            backbone,
            control,
            generator.runtime,
            request,
            plan,
            findings,
            choice,
            started,
            asked_sha256,
            job.montage,
            layout,
        )
        callbacks = listeners.progress, listeners.preview or record.add_preview, listeners.cancelled
        with folder.as_it_was_unless_replaced():
            completer = _completer(job, backbone, layout, generator, load_layout) if layout else None
            for sample, head in _samples(completer, generator, request, callbacks):
                record.add(sample, head, last=len(record.samples) + 1 == request.count)
    return RunResult(
        (*record.files, folder.path / REPORT),
        record.report,
        tuple(_summary(sample, job.noise) for sample in record.samples),
    )


def examine_conditions(files: Iterable[ConditionFile], backbone: Pack, control: Pack | None) -> tuple[Examination, ...]:
    """Let the input doctor look at every file, and give its Condition the strength, window and region asked for."""
    if control is None:
        return ()
    specs = {spec.name: spec for spec in control.control.conditions}
    files = tuple(files)
    twice = {f.name for f in files if sum(g.name == f.name for g in files) > 1}
    if twice:
        raise VcmError(Code.CONDITION, f"The condition {', '.join(sorted(twice))} was given more than once.")
    return tuple(_examine_one(file, specs[file.name], backbone) for file in files)


def load_generator(backbone: Pack, control: Pack | None, job: GenerateJob) -> Generator:
    """Load the networks of both packs onto the device the job asks for."""
    from vcm.models.loading import load_backbone, load_control
    from vcm.sampling.generator import Generator

    runtime = runtime_for(backbone, job.device, job.precision)
    return Generator(load_backbone(backbone), load_control(control) if control else None, runtime, job.memory)


def runtime_for(backbone: Pack, device: str, precision: str) -> Runtime:
    """Where a backbone's images are made, and in the number format asked for or, with `auto`, the usual one for it."""
    from vcm.machine.runtime import choose_runtime

    return choose_runtime(device, precision, mixed=backbone.backbone.sampling.mixed)


def write_seen(
    folder: Path,
    examinations: Iterable[Examination],
    files: Iterable[ConditionFile],
    *,
    prefix: str = "",
    force: bool = False,
) -> dict[str, Path]:
    """Write what the model sees of each usable condition into a folder, which none of the `files` is replaced in."""
    seen = {e.name: e.condition.volume for e in examinations if e.condition is not None}
    paths = {name: folder / f"{prefix}{name}.nii.gz" for name in seen}
    with Claim(folder, inputs=_files_of(files), force=force, wait=SHORT_WAIT_S) as claim:
        claim.admit(*paths.values())
        for name, path in paths.items():
            write_volume(path, seen[name], description=f"what the model sees as {name}")
    return paths


def input_files(job: GenerateJob) -> list[Path]:
    """The files that a job reads."""
    return [*_files_of(job.conditions), *([job.noise] if job.noise else [])]


def _files_of(conditions: Iterable[ConditionFile]) -> list[Path]:
    conditions = tuple(conditions)
    return [*(one.path for one in conditions), *(one.region for one in conditions if one.region is not None)]


def _request(job: GenerateJob, backbone: Pack, conditions: tuple[Condition, ...]) -> GenerateRequest:
    from vcm.sampling.request import GenerateRequest

    manifest = backbone.backbone
    sampler, steps = manifest.sampling.chosen(job.sampler, job.steps)
    attributes, contrasts = resolve_contrasts(manifest.attributes, job.attributes, job.raw_attributes, conditions)
    return GenerateRequest(
        attributes=attributes,
        contrasts=contrasts,
        conditions=conditions,
        seed=job.seed if job.seed is not None else secrets.randbelow(2**31),
        samples=job.samples,
        sampler=sampler,
        steps=steps,
        noise=read_noise(job.noise, job.samples, manifest.latent.shape) if job.noise else None,
        uncontrolled=job.uncontrolled,
        preview_every=job.preview_every,
        batch=job.batch,
    )


def _completer(
    job: GenerateJob, backbone: Pack, choice: LayoutChoice, generator: Generator, load: LoadLayout | None
) -> Completer:
    from vcm.runs.completing import Completer, load_layout

    return Completer(choice, backbone, job, (load or load_layout)(choice.pack, generator.runtime.device))


def _samples(
    completer: Completer | None, generator: Generator, request: GenerateRequest, callbacks: tuple[Any, ...]
) -> Iterator[tuple[Sample, CompletedHead | None]]:
    """The Samples, each with the head that a layout has completed, where there is one."""
    if completer is None:
        yield from ((sample, None) for sample in generator.generate(request, *callbacks))
    else:
        yield from completer.samples(generator, request, *callbacks)


def _say_what_to_expect(
    request: GenerateRequest, backbone: Pack, control: Pack | None, completed: bool, words: Callable[[str], None]
) -> None:
    for pack in filter(None, (backbone, control)):
        for part in pack.manifest.untrained:
            words(f"The {part} of {pack.name} is untrained: expect noise, not anatomy.")
    if control is not None and not (request.conditions or completed):
        words(f"No condition was given, so the control {control.name} does nothing.")
    if request.uncontrolled and not (request.conditions or completed):
        words("No condition was given, so the images are uncontrolled themselves and have no twin.")


def reference_of(backbone: Pack) -> Reference | None:
    """The head against which the pose of images is measured; None where the pack has none that is worth it."""
    from vcm.judging.reference_head import has_typical_head, template_of

    return template_of(backbone).reference if has_typical_head(backbone) else None


def _examine_one(file: ConditionFile, spec: ConditionSpec, backbone: Pack) -> Examination:
    grid = backbone.backbone.grid
    examination = examine(
        spec,
        read_volume_file(file.path),
        grid,
        label=file.label,
        source=file.path.name,
        reference=reference_of(backbone) if spec.kind is Kind.IMAGE else None,
    )
    findings = list(examination.findings)
    region = None
    if file.region is not None:
        # What is found is kept in the report, where the folders of the user's files have no place.
        weights = replace(read_volume_file(file.region), path=Path(file.region.name))
        looked_at = examine_region(weights, grid, subject=f"region of {file.name}")
        findings.extend(looked_at.findings)
        region = looked_at.region
    condition = examination.condition
    if condition is not None:
        condition = replace(
            condition,
            strength=file.strength,
            start=file.start,
            end=file.end,
            region=region,
            region_source=file.region.name if file.region is not None else "",
        )
    return Examination(examination.name, condition, tuple(findings))


def choose_judge(backbone: Pack, preference: str, device: torch.device) -> Choice:
    """Who measures the Samples of a backbone, loaded onto a device."""
    from vcm.judging.segmentation import choose_segmenter

    return choose_segmenter(backbone, preference, device=device)


def _choose_judge(
    job: GenerateJob, backbone: Pack, generator: Generator, is_asked: bool, judge: Judge | None
) -> Choice:
    from vcm.judging.segmentation import Choice

    if not is_asked:
        return Choice(None, "No condition was given, so there is nothing to measure the Sample against.")
    return (judge or choose_judge)(backbone, job.segmenter, generator.runtime.device)


def _summary(sample: SampleRecord, noise: Path | None) -> str:
    origin = f"noise from {noise.name}" if noise is not None else f"seed {sample.seed}"
    if sample.alignment is None:
        return f"{sample.file} ({origin})"
    words = f"{sample.file} ({origin}): {sample.alignment.summary()}"
    if sample.uncontrolled and sample.uncontrolled.alignment:
        words += f"\n  without control: {sample.uncontrolled.alignment.summary()}"
    if sample.layout and sample.layout.alignment:
        words += f"\n  all of the completed head: {sample.layout.alignment.summary()}"
    return words
