"""Judging and writing down the Samples of a run, one by one, so that the folder's report is always true."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from vcm.anatomy.structures import LESION, WHITE_MATTER
from vcm.conditions.condition import ClassSpec, Condition, ConditionSpec, Kind
from vcm.conditions.contrasts import contrast_of, file_labels
from vcm.core.errors import VcmError
from vcm.core.findings import Finding
from vcm.core.volume import Volume
from vcm.judging.alignment import Alignment, align
from vcm.judging.segmentation import Choice, known_labels
from vcm.machine.runtime import Runtime, format_words
from vcm.outputs.claims import remove
from vcm.packs.store import Pack
from vcm.reporting.contrast_montage import ContrastMontage
from vcm.reporting.montage import save_montage, save_picture
from vcm.reporting.report import (
    Cost,
    LayoutRecord,
    SampleRecord,
    SamplingRecord,
    TwinRecord,
    build_report,
    write_report,
)
from vcm.runs.completing import CompletedHead
from vcm.runs.layout_choice import LayoutChoice
from vcm.runs.results_folder import CONDITION, MONTAGE, REPORT, ResultsFolder
from vcm.sampling.memory_plan import MemoryPlan
from vcm.sampling.request import GenerateRequest, Sample
from vcm.volumes.volume_files import write_volume


@dataclass(eq=False)
class RunRecord:
    """What a run has made so far, and what it was made from."""

    folder: ResultsFolder
    backbone: Pack
    control: Pack | None
    runtime: Runtime
    request: GenerateRequest
    plan: MemoryPlan
    findings: Sequence[Finding]
    judge: Choice
    started: float
    request_sha256: str | None = None
    montage: bool = True
    layout: LayoutChoice | None = None
    samples: list[SampleRecord] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    condition_files: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    noise: hashlib._Hash = field(default_factory=hashlib.sha256)
    report: dict[str, object] = field(default_factory=dict)

    def add(self, sample: Sample, head: CompletedHead | None = None, *, last: bool = False) -> None:
        """Write a Sample, with the `head` that a layout completed for it, and enter it in the report; then measure it
        and complete its entry, or with the `last` Sample the report."""
        self._begin()
        with self._reported():
            self._enter(sample, head)
        self.folder.replace_earlier()
        with self._reported(complete=last):
            self._judge(sample, head)

    def add_preview(self, number: int, step: int, image: Volume) -> None:
        """Write the image predicted after a step beside the results, in the place of the one before."""
        self._begin()
        index, variant = self.request.place(number)
        with self._reported():
            self._write("preview", index, image, f"synthetic preview after step {step}", self._labels[variant])

    def write_report(self, *, complete: bool) -> None:
        """Put `report.json` in place for what is there; `complete` once the run has ended."""
        request, runtime, plan = self.request, self.runtime, self.plan
        self.report = build_report(
            backbone=self.backbone.backbone,
            control=self.control.manifest if self.control else None,
            conditions=request.conditions,
            attributes=request.attributes,
            sampling=SamplingRecord(
                sampler=request.sampler,
                steps=request.step_count,
                seed=request.seed,
                precision=runtime.precision,
                device=runtime.words,
                plan=plan.words,
                noise_sha256=self.noise.hexdigest(),
                noise_given=request.noise is not None,
            ),
            samples=self.samples,
            contrasts=request.contrasts,
            segmenter=self.judge.sentence,
            segmenter_labels=self.judge.segmenter.classes if self.judge.segmenter else (),
            condition_files=self.condition_files,
            findings=self.findings,
            cost=Cost({**self.seconds, "whole run": time.perf_counter() - self.started}, {"plan": plan.name}),
            files=[*(file.name for file in self.files), REPORT],
            complete=complete,
            request_sha256=self.request_sha256,
            layout=self.layout.pack.layout if self.layout else None,
        )
        write_report(self.folder.path / REPORT, self.report)

    def _contrast(self, sample: Sample) -> str:
        return contrast_of(self.request.variants[sample.variant], self.backbone.backbone.contrast)

    def _made(self, sample: Sample) -> str:
        return f"synthetic {self._contrast(sample) or 'image'} by VCMSlicer"

    @cached_property
    def _contrasts(self) -> ContrastMontage:
        return ContrastMontage(self.request.conditions)

    @cached_property
    def _labels(self) -> tuple[str, ...]:
        """What stands in the names of files for each variant of the request."""
        return file_labels(self.request.contrasts) or ("",)

    def _begin(self) -> None:
        """Before the first file there is a report, by which a killed run's files are known to be ours."""
        if not self.files:
            self.folder.make_room()
            self.write_report(complete=False)

    @contextmanager
    def _reported(self, *, complete: bool = False) -> Iterator[None]:
        """Bring the report up to date with what the block writes; if either fails, take back what was written."""
        files, samples, noise = list(self.files), list(self.samples), self.noise.copy()
        conditions = dict(self.condition_files)
        try:
            yield
            self.write_report(complete=complete)
        except BaseException:
            for file in set(self.files) - set(files):
                remove(file)
            self.files, self.samples, self.noise, self.condition_files = files, samples, noise, conditions
            with suppress(VcmError):
                self.write_report(complete=False)
            raise

    def _enter(self, sample: Sample, head: CompletedHead | None) -> None:
        scale = self.backbone.backbone.intensity
        words = f"{self._made(sample)}{f' in {scale.unit}' if scale else ''}, research only"
        label = self._labels[sample.variant]
        image = scale.applied(sample.volume) if scale else sample.volume
        file = self._write("sample", sample.index, image, words, label)
        twin = None
        if sample.uncontrolled is not None:
            alone = scale.applied(sample.uncontrolled) if scale else sample.uncontrolled
            twin = TwinRecord(self._write("uncontrolled", sample.index, alone, words, label).name)
        if not self.samples:
            self._write_conditions()
        if sample.variant == 0:
            self.noise.update(np.ascontiguousarray(sample.noise, "<f4").tobytes())
        layout = None
        if head is not None:
            words = "synthetic label map, completed by a layout, research only"
            classes = self.layout.pack.layout.classes if self.layout else ()
            completed = self._write("layout", sample.index, head.volume, words, classes=classes)
            layout = LayoutRecord(completed.name, head.attributes)
        contrast = self._contrast(sample)
        self.samples.append(SampleRecord(file.name, sample.seed, None, twin, contrast=contrast, layout=layout))

    def _write_conditions(self) -> None:
        """Write the masks and label maps as the model was given them, on the Grid that all measures are taken on."""
        for index, condition in enumerate(self.request.conditions):
            if condition.spec.kind is not Kind.IMAGE:
                words, spec = f"{condition.spec.name}, as the model was given it", condition.spec
                classes = spec.classes if spec.kind is Kind.LABELS else ()
                file = self._write(CONDITION, index, condition.volume, words, classes=classes)
                self.condition_files[spec.name] = file.name

    def _judge(self, sample: Sample, head: CompletedHead | None) -> None:
        started = time.perf_counter()
        entry = self.samples[-1]
        (alignment, labels), twin, twin_alignment = self._measure(sample.volume), entry.uncontrolled, None
        if sample.uncontrolled is not None and twin is not None:
            twin_alignment, _ = self._measure(sample.uncontrolled)
            twin = replace(twin, alignment=twin_alignment)
        if labels:
            words, label = f"{self._made(sample)}, segmented", self._labels[sample.variant]
            classes = self.judge.segmenter.classes if self.judge.segmenter else ()
            segmented = self._write("segmentation", sample.index, labels, words, label, classes=classes)
            entry = replace(entry, segmentation=segmented.name)
            if entry.layout is not None and head is not None:
                whole = self._measured_by_head(sample.volume, head.volume, labels)
                entry = replace(entry, layout=replace(entry.layout, alignment=whole))
        self.samples[-1] = replace(entry, alignment=alignment, uncontrolled=twin)
        self._count({**sample.seconds, "measuring": time.perf_counter() - started})
        if self.montage and sample.index == 0:
            self._draw(sample, head, alignment, twin_alignment)

    def _measure(self, image: Volume) -> tuple[Alignment | None, Volume | None]:
        """Alignment of an image, and the label map by which that was measured."""
        if not self.request.conditions and self.layout is None:
            return None, None
        segmenter = self.judge.segmenter
        labels = segmenter.segment(image) if segmenter else None
        if not self.request.conditions:
            return None, labels
        name = segmenter.name if segmenter else ""
        return align(image, self.request.conditions, labels, name, known=known_labels(segmenter)), labels

    def _measured_by_head(self, image: Volume, head: Volume, labels: Volume) -> Alignment:
        """Alignment with the whole of a completed head, as far as the segmenter knows its structures."""
        assert self.layout is not None and self.judge.segmenter is not None
        judged = known_labels(self.judge.segmenter)
        classes = tuple(
            replace(entry, segmenter=(entry.value,))
            for entry in self.layout.pack.layout.classes
            if entry.value in judged and (head.array == entry.value).any()
        )
        truth = head.array if LESION in judged else np.where(head.array == LESION, WHITE_MATTER, head.array)
        whole = Condition(ConditionSpec("layout", Kind.LABELS, classes), Volume(truth, head.grid))
        return align(image, [whole], labels, self.judge.segmenter.name, distances=False)

    def _write(
        self,
        kind: str,
        index: int,
        volume: Volume,
        description: str,
        label: str = "",
        *,
        classes: Sequence[ClassSpec] = (),
    ) -> Path:
        file = self.folder.file(kind, index, label)
        if file not in self.files:
            self.files.append(file)
        write_volume(file, volume, description=description, names={entry.value: entry.name for entry in classes})
        return file

    def _draw(
        self, sample: Sample, head: CompletedHead | None, alignment: Alignment | None, twin: Alignment | None
    ) -> None:
        """Of several contrasts the picture is drawn when the last of them is there, and shows them all."""
        contrast, completed = self._contrast(sample), head.volume if head else None
        if self.request.contrasts:
            self._contrasts.add(contrast, sample.volume, alignment, twin, completed)
            if sample.variant + 1 < len(self.request.contrasts):
                return
        made_by = f"{self.backbone.name}" + (f" with {self.control.name}" if self.control else "")
        made_by += f", completed by {self.layout.pack.name}" if self.layout else ""
        origin = "noise from a file" if self.request.noise is not None else f"seed {sample.seed}"
        precision = format_words(self.runtime.precision)
        how = f"{self.request.sampler}, {self.request.step_count} steps, {origin}, {precision}"
        file = self.folder.path / MONTAGE
        self.files.append(file)
        if self.request.contrasts:
            title = f"Synthetic brain: {', '.join(self._contrasts.names)}"
            save_picture(file, self._contrasts.picture(title, f"{made_by} · {how}, all from the same noise"))
            del self._contrasts
            return
        save_montage(
            file,
            conditions=self.request.conditions,
            controlled=sample.volume,
            uncontrolled=sample.uncontrolled,
            completed=completed,
            alignment=alignment,
            uncontrolled_alignment=twin,
            title=" ".join(filter(None, ("Synthetic", contrast, "brain"))),
            subtitle=f"{made_by} · {how}",
        )

    def _count(self, seconds: dict[str, float]) -> None:
        for stage, value in seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + value
