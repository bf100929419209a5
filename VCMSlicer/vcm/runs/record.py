"""Judging and writing down the Samples of a run, one by one, so that the folder's report is always true."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vcm.conditions.condition import Kind
from vcm.core.errors import VcmError
from vcm.core.findings import Finding
from vcm.core.volume import Volume
from vcm.judging.alignment import Alignment, align
from vcm.judging.segmentation import Choice
from vcm.machine.runtime import Runtime
from vcm.outputs.claims import remove
from vcm.packs.store import Pack
from vcm.reporting.montage import save_montage
from vcm.reporting.report import Cost, SampleRecord, SamplingRecord, TwinRecord, build_report, write_report
from vcm.runs.results_folder import CONDITION, MONTAGE, REPORT, ResultsFolder
from vcm.sampling.generator import GenerateRequest, Sample
from vcm.sampling.memory_plan import MemoryPlan
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
    samples: list[SampleRecord] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    condition_files: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    noise: hashlib._Hash = field(default_factory=hashlib.sha256)
    report: dict[str, object] = field(default_factory=dict)

    def add(self, sample: Sample, *, last: bool = False) -> None:
        """Write a Sample and enter it in the report; then measure it and complete its entry, or with the `last` Sample
        the report."""
        self._begin()
        with self._reported():
            self._enter(sample)
        self.folder.replace_earlier()
        with self._reported(complete=last):
            self._judge(sample)

    def add_preview(self, index: int, step: int, image: Volume) -> None:
        """Write the image predicted after a step beside the results, in the place of the one before."""
        self._begin()
        with self._reported():
            self._write("preview", index, image, f"synthetic preview after step {step}")

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
            ),
            samples=self.samples,
            segmenter=self.judge.sentence,
            segmenter_labels=self.judge.segmenter.classes if self.judge.segmenter else (),
            condition_files=self.condition_files,
            findings=self.findings,
            cost=Cost({**self.seconds, "whole run": time.perf_counter() - self.started}, {"plan": plan.name}),
            files=[*(file.name for file in self.files), REPORT],
            complete=complete,
            request_sha256=self.request_sha256,
        )
        write_report(self.folder.path / REPORT, self.report)

    @property
    def _made(self) -> str:
        return f"synthetic {self.backbone.backbone.contrast or 'image'} by VCMSlicer"

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

    def _enter(self, sample: Sample) -> None:
        scale = self.backbone.backbone.intensity
        words = f"{self._made}{f' in {scale.unit}' if scale else ''}, research only"
        file = self._write("sample", sample.index, scale.applied(sample.volume) if scale else sample.volume, words)
        twin = None
        if sample.uncontrolled is not None:
            alone = scale.applied(sample.uncontrolled) if scale else sample.uncontrolled
            twin = TwinRecord(self._write("uncontrolled", sample.index, alone, words).name)
        if not self.samples:
            self._write_conditions()
        self.noise.update(np.ascontiguousarray(sample.noise, "<f4").tobytes())
        self.samples.append(SampleRecord(file.name, sample.seed, None, twin))

    def _write_conditions(self) -> None:
        """Write the masks and label maps as the model was given them, on the Grid that all measures are taken on."""
        for index, condition in enumerate(self.request.conditions):
            if condition.spec.kind is not Kind.IMAGE:
                words = f"{condition.spec.name}, as the model was given it"
                self.condition_files[condition.spec.name] = self._write(CONDITION, index, condition.volume, words).name

    def _judge(self, sample: Sample) -> None:
        started = time.perf_counter()
        entry = self.samples[-1]
        (alignment, labels), twin, twin_alignment = self._measure(sample.volume), entry.uncontrolled, None
        if sample.uncontrolled is not None and twin is not None:
            twin_alignment, _ = self._measure(sample.uncontrolled)
            twin = replace(twin, alignment=twin_alignment)
        file = self._write("segmentation", sample.index, labels, f"{self._made}, segmented").name if labels else None
        self.samples[-1] = replace(entry, alignment=alignment, uncontrolled=twin, segmentation=file)
        self._count({**sample.seconds, "measuring": time.perf_counter() - started})
        if self.montage and len(self.samples) == 1:
            self._draw(sample, alignment, twin_alignment)

    def _measure(self, image: Volume) -> tuple[Alignment | None, Volume | None]:
        """Alignment of an image, and the label map by which that was measured."""
        if not self.request.conditions:
            return None, None
        segmenter = self.judge.segmenter
        labels = segmenter.segment(image) if segmenter else None
        return align(image, self.request.conditions, labels, segmenter.name if segmenter else ""), labels

    def _write(self, kind: str, index: int, volume: Volume, description: str) -> Path:
        file = self.folder.file(kind, index)
        if file not in self.files:
            self.files.append(file)
        write_volume(file, volume, description=description)
        return file

    def _draw(self, sample: Sample, alignment: Alignment | None, twin: Alignment | None) -> None:
        made_by = f"{self.backbone.name}" + (f" with {self.control.name}" if self.control else "")
        how = f"{self.request.sampler}, {self.request.step_count} steps, seed {sample.seed}, {self.runtime.precision}"
        file = self.folder.path / MONTAGE
        self.files.append(file)
        save_montage(
            file,
            conditions=self.request.conditions,
            controlled=sample.volume,
            uncontrolled=sample.uncontrolled,
            alignment=alignment,
            uncontrolled_alignment=twin,
            title=f"Synthetic {self.backbone.backbone.showing('brain')}",
            subtitle=f"{made_by} · {how}",
        )

    def _count(self, seconds: dict[str, float]) -> None:
        for stage, value in seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + value
