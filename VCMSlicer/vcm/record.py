"""Judging and writing down the Samples of a run, one by one, so that the folder's report is always true."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vcm.alignment import Alignment, align
from vcm.findings import Finding
from vcm.generate import GenerateRequest, Generator, Sample
from vcm.montage import save_montage
from vcm.packs.store import Pack
from vcm.report import Cost, SampleRecord, SamplingRecord, TwinRecord, build_report, write_report
from vcm.results_folder import MONTAGE, REPORT, ResultsFolder
from vcm.segmentation import Choice
from vcm.volume import Volume
from vcm.volume_files import write_volume

SYNTHETIC = "synthetic T1w by VCMSlicer, research only"


@dataclass(eq=False)
class RunRecord:
    """What a run has made so far, and what it was made from."""

    folder: ResultsFolder
    backbone: Pack
    control: Pack | None
    generator: Generator
    request: GenerateRequest
    findings: Sequence[Finding]
    judge: Choice
    started: float
    samples: list[SampleRecord] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    noise: hashlib._Hash = field(default_factory=hashlib.sha256)

    def add(self, sample: Sample) -> SampleRecord:
        """Write a Sample, measure it, and bring the report up to date."""
        started = time.perf_counter()
        alignment = self._measure(sample.volume)
        twin_alignment = self._measure(sample.uncontrolled) if sample.uncontrolled else None
        self._count({**sample.seconds, "measuring": time.perf_counter() - started})
        file = self._write("sample", sample.index, sample.volume)
        twin = None
        if sample.uncontrolled is not None:
            twin_file = self._write("uncontrolled", sample.index, sample.uncontrolled)
            twin = TwinRecord(twin_file.name, twin_alignment)
        record = SampleRecord(file.name, sample.seed, alignment, twin)
        self.noise.update(np.ascontiguousarray(sample.noise, "<f4").tobytes())
        if not self.samples:
            self._draw(sample, alignment, twin_alignment)
        self.samples.append(record)
        self.write_report(complete=False)
        return record

    def write_report(self, *, complete: bool) -> dict[str, object]:
        """Put `report.json` in place for what is there; `complete` once the run has ended."""
        request, runtime = self.request, self.generator.runtime
        plan = self.generator.plan(request.batch)
        report = build_report(
            backbone=self.backbone.manifest,
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
            findings=self.findings,
            cost=Cost({**self.seconds, "whole run": time.perf_counter() - self.started}, {"plan": plan.name}),
            files=[*(file.name for file in self.files), REPORT],
            complete=complete,
        )
        write_report(self.folder.path / REPORT, report)
        return report

    def _measure(self, image: Volume) -> Alignment | None:
        if not self.request.conditions:
            return None
        segmenter = self.judge.segmenter
        labels = segmenter.segment(image) if segmenter else None
        return align(image, self.request.conditions, labels, segmenter.name if segmenter else "")

    def _write(self, kind: str, index: int, volume: Volume) -> Path:
        file = self.folder.file(kind, index)
        write_volume(file, volume, description=SYNTHETIC)
        self.files.append(file)
        return file

    def _draw(self, sample: Sample, alignment: Alignment | None, twin: Alignment | None) -> None:
        runtime = self.generator.runtime
        made_by = f"{self.backbone.name}" + (f" with {self.control.name}" if self.control else "")
        how = f"{self.request.sampler}, {self.request.step_count} steps, seed {sample.seed}, {runtime.precision}"
        file = self.folder.path / MONTAGE
        save_montage(
            file,
            conditions=self.request.conditions,
            controlled=sample.volume,
            uncontrolled=sample.uncontrolled,
            alignment=alignment,
            uncontrolled_alignment=twin,
            title="Synthetic T1w brain",
            subtitle=f"{made_by} · {how}",
        )
        self.files.append(file)

    def _count(self, seconds: dict[str, float]) -> None:
        for stage, value in seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + value
