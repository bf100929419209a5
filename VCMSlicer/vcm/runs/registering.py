"""A registration from files to files: the transform, the scan in its new place, a picture and a report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vcm.core.errors import Code, VcmError
from vcm.core.findings import Finding, raise_first_error
from vcm.core.progress import OnProgress, ProgressMeter
from vcm.core.volume import Volume
from vcm.outputs.atomic_files import write_json
from vcm.outputs.claims import Claim
from vcm.registration.scan import ALIGN, SEARCH, Registration, register_scan
from vcm.registration.transform_file import write_transform
from vcm.runs.choice import choose_packs
from vcm.runs.job import RegisterJob
from vcm.volumes.volume_files import read_volume_file, write_volume

TRANSFORM, TRANSFORM_H5 = "scan-to-model.tfm", "scan-to-model.h5"
MOVED, OVERLAY, REPORT = "scan-in-model-space.nii.gz", "overlay.png", "registration.json"
FILES = (TRANSFORM, TRANSFORM_H5, MOVED, OVERLAY, REPORT)


@dataclass(frozen=True, eq=False)
class RegisterResult:
    """The registration, the folder with its files, and the report as written."""

    found: Registration
    folder: Path
    report: dict[str, Any]


def run_register(
    job: RegisterJob,
    progress: OnProgress | None = None,
    finding: Callable[[Finding], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> RegisterResult:
    """Do a `RegisterJob`. A scan in which no head is found leaves a report and a picture and no transform."""
    inputs = [job.scan, *([job.template] if job.template else [])]
    with Claim(job.out, inputs=inputs, force=job.force) as claim:
        claim.admit(*(job.out / name for name in FILES))
        result = _register(job, progress, finding, cancelled)
        for name in FILES:
            if name not in result.report["files"]:
                claim.remove(job.out / name)
    return result


def _register(
    job: RegisterJob,
    progress: OnProgress | None,
    finding: Callable[[Finding], None],
    cancelled: Callable[[], bool],
) -> RegisterResult:
    from vcm.conditions.doctor.intensities import check_finite
    from vcm.conditions.doctor.notebook import Notebook
    from vcm.conditions.doctor.place import placed

    started = time.perf_counter()
    pack, _ = choose_packs(job.pack, None, ())
    file = read_volume_file(job.scan)
    notes = Notebook("scan", job.scan.name)
    scan = placed(file, pack.backbone.grid, notes)
    check_finite(scan, notes)
    for entry in notes.findings:
        finding(entry)
    raise_first_error(notes.findings)

    from vcm.judging.reference_head import template_of
    from vcm.reporting.montage import save_picture
    from vcm.reporting.registration_sheet import NOTICE, registration_sheet

    meter = ProgressMeter([(SEARCH, 1.0, 100), (ALIGN, 2.0, 100)], progress)
    done = {SEARCH: 0, ALIGN: 0}

    def advance(stage: str, step: int, total: int) -> None:
        while done[stage] < 100 * step // total:
            done[stage] += 1
            meter.advance(stage)

    template = template_of(pack, job.template)
    found = register_scan(scan, template.reference, advance, cancelled)
    if cancelled():
        raise VcmError(Code.CANCELLED, "It was cancelled.")
    report = _report(job, pack.name, template.source, found, time.perf_counter() - started)
    if report["scan_to_model_ras_mm"]:
        write_transform(job.out / TRANSFORM, found.pose)
        write_transform(job.out / TRANSFORM_H5, found.pose)
        words = "a scan, laid on the model's heads by its header alone"
        write_volume(job.out / MOVED, found.pose.applied(scan), description=words, synthetic=False)
    picture = registration_sheet(Volume(scan.array.astype(np.float32), scan.grid), template, found)
    save_picture(job.out / OVERLAY, picture, NOTICE)
    write_json(job.out / REPORT, report)
    return RegisterResult(found, job.out, report)


def _report(job: RegisterJob, pack: str, source: str, found: Registration, seconds: float) -> dict[str, Any]:
    from vcm.registration.scan import Verdict

    usable = found.verdict is not Verdict.FAILED
    return {
        "scan": job.scan.name,
        "pack": pack,
        "reference": source,
        "verdict": found.verdict.value,
        "words": found.words,
        "correlation_ratio": round(found.similarity, 4),
        "brain_in_field_of_view": round(found.coverage, 4),
        "degrees": round(found.pose.degrees, 2),
        "shift_mm": round(found.shift_mm, 2),
        "scan_to_model_ras_mm": found.pose.matrix.tolist() if usable else None,
        "files": list(FILES) if usable else [OVERLAY, REPORT],
        "seconds": round(seconds, 1),
    }
