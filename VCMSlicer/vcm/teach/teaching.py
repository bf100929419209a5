"""`vcm teach`: from a cohort's folder to a control's pack and a report of its adherence, in one call."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from vcm.cohort.held_out import split_cases, subject_of
from vcm.conditions.condition import Kind
from vcm.core.csv_tables import csv_text
from vcm.core.errors import MALFORMED, Code, VcmError
from vcm.core.hashing import hash_file
from vcm.core.progress import Progress
from vcm.machine.runtime import choose_runtime
from vcm.outputs.atomic_files import write_text
from vcm.outputs.sealed_json import read_sealed, write_sealed
from vcm.packs.installation import install_folder, pack_folder
from vcm.packs.store import Pack, find_pack
from vcm.reporting.charts import need_matplotlib
from vcm.teach.case_check import CheckedCases, check_cases
from vcm.teach.pace import Pace, measure_pace, plan_in_words, within_a_night
from vcm.teach.record import TeachRecord, read_record, refuse_another
from vcm.teach.report import REPORT, TeachReport, report_page
from vcm.teach.request import Outcome, TeachListeners, TeachRequest, asked_of, refuse_name
from vcm.teach.results import HeldOutResult, summarise, summary_words, try_best
from vcm.teach.settings import TRIALS, choose_settings, steps_in_words
from vcm.training.control.run import ControlRun, open_control_run
from vcm.training.export.export import write_run_pack
from vcm.training.export.model_card import ExportNotes
from vcm.training.trainer.checkpoint import claim_run
from vcm.training.trainer.team import Team
from vcm.training.trainer.trainer import Listeners

FINISHED = "finished.json"
SUMMARY = "held-out.md"
NUMBERED = "report-cases.csv"
"""Which case of the report is which: the pack, with its report, is given away, and this table is not."""
SPARE = 100_000_000
"""Bytes of a disk that are left free."""


def teach(request: TeachRequest, team: Team, listeners: TeachListeners | None = None) -> Outcome:
    """Train a control for new conditions, or resume the training that was started."""
    listeners = (listeners if team.first else None) or TeachListeners()
    finished = _finished(request)
    if finished:
        return finished
    refuse_name(request)
    need_matplotlib()
    pack = find_pack(request.backbone)
    if "segmenter" not in pack.backbone.files and any(
        s.kind is not Kind.IMAGE for s in request.taught.specs(pack.backbone)
    ):
        raise VcmError(
            Code.BAD_REQUEST,
            f"{pack.name} has no segmenter, so adherence could not be measured.",
            "Give the backbone a segmenter (vcm train segmenter), or choose another backbone.",
        )
    # One that only plans writes nothing that another process would mix with.
    with claim_run(request.folder) if team.first and not request.plan_only else nullcontext():
        return _teach(request, pack, team, listeners)


def _teach(request: TeachRequest, pack: Pack, team: Team, listeners: TeachListeners) -> Outcome:
    checked = _check(request, pack, listeners)
    record = _begin(request, pack, checked, team, listeners)
    parts = record.pace.seconds(
        record.settings, checked.total, min(TRIALS, len(record.split.held_out)), len(record.split.held_out)
    )
    for line in plan_in_words(parts, request.minutes):
        listeners.words(line)
    _refuse_full_disk(request.folder, record.pace)
    if request.plan_only:
        return Outcome("planned")
    with _stopped_in_words(request):
        run = _open(request, record, checked, team, listeners)
        how = run.trainer.train(request.minutes)
        if how == "paused":
            return Outcome("paused")
        early = how == "stopped early"
        listeners.words(
            "Validation no longer improved: the training stopped early." if early else "All steps are done."
        )
        return _finish(request, run, record, checked, how, listeners)


def _finished(request: TeachRequest) -> Outcome | None:
    """The result of the same request, if it is still there and is not to be made again."""
    if request.force or request.plan_only:
        return None
    try:
        entry = read_sealed(request.folder / FINISHED)
        whole = hash_file(request.pack_folder / "control.safetensors") == entry["control"]
        same = whole and entry["asked"] == asked_of(request)
    except (VcmError, *MALFORMED):
        return None
    folder = request.pack_folder
    return Outcome("finished", folder, folder / REPORT) if same else None


def _check(request: TeachRequest, pack: Pack, listeners: TeachListeners) -> CheckedCases:
    listeners.words(f"checking the cases in {request.cases}")
    checked = check_cases(
        request.cases, request.taught, pack.backbone, request.taught.specs(pack.backbone),
        lambda done, total: listeners.progress(Progress("case", done, total, done / total, None)),
    )  # fmt: skip
    for finding in checked.found:
        listeners.finding(finding)
    listeners.words(f"{len(checked.usable)} of {checked.total} cases can be used")
    return checked


def _begin(
    request: TeachRequest, pack: Pack, checked: CheckedCases, team: Team, listeners: TeachListeners
) -> TeachRecord:
    """The record of a teaching: what its folder keeps, or a new one."""
    split, taught = split_cases(checked.usable), request.taught.as_dict()
    specs, record = request.taught.specs(pack.backbone), read_record(request.folder)
    if record is None:
        cases = {case.name: case for case in checked.usable}
        chosen = choose_settings(
            pack.backbone, specs, checked.shares, len(split.learned),
            gpu=team.device.type != "cpu", steps=request.steps, batch=request.batch, kind=request.kind,
        )  # fmt: skip
        listeners.words("measuring how fast this machine is")
        learned, held_out = [cases[name] for name in split.learned], cases[split.held_out[0]]
        pace = measure_pace(chosen.settings, specs, learned, held_out, request.latents, team)
        pace = team.gather([pace])[0]  # what follows from it must be the same in every process
        settings, shortened = within_a_night(chosen.settings, pace, request.steps)
        record = TeachRecord(taught, pack.name, split, settings, (*chosen.reasons, *shortened), pace)
        if team.first and not request.plan_only:
            record.save(request.folder)
    else:
        refuse_another(record, taught, pack.name, request.kind, split, request.folder)
        if request.steps is not None and request.steps != record.settings.steps:
            settings = replace(record.settings, steps=request.steps)
            asked = steps_in_words(settings, len(split.learned), gpu=team.device.type != "cpu", given=True)
            record = replace(record, settings=settings, reasons=(asked, *record.reasons[1:]))
    heads = ", ".join(split.heads)
    listeners.words(
        f"{len(split.learned)} cases for training; held out for validation: {len(split.held_out)} of {heads}"
    )
    for reason in record.reasons:
        listeners.words(reason)
    return record


def _open(
    request: TeachRequest, record: TeachRecord, checked: CheckedCases, team: Team, listeners: TeachListeners
) -> ControlRun:
    cases = {case.name: case for case in checked.usable}
    specs = request.taught.specs(find_pack(request.backbone).backbone)

    def step(done: int, total: int) -> None:
        listeners.progress(Progress("training, step", done, total, done / total, (total - done) * record.pace.step))

    run = open_control_run(
        record.settings, [cases[name] for name in record.split.learned], request.folder,
        latents=request.latents, team=team, unseen=[cases[name] for name in record.split.held_out], specs=specs,
        listeners=Listeners(say=listeners.words, step=step),
    )  # fmt: skip
    run.task.validation_size = min(TRIALS, run.task.validation_size)
    return run


def _finish(
    request: TeachRequest,
    run: ControlRun,
    record: TeachRecord,
    checked: CheckedCases,
    how: str,
    listeners: TeachListeners,
) -> Outcome:
    """Try the held-out cases, write pack and report."""
    heads = {case.name: case.head for case in checked.usable}
    listeners.words("evaluating every held-out case")
    step, results = try_best(
        run, heads, lambda done, total: listeners.progress(Progress("held-out case", done, total, done / total, None))
    )
    if run.trainer.team.first:
        _write(request, run, record, checked, how, step, results)
    run.trainer.team.wait()
    return Outcome("finished", request.pack_folder, request.pack_folder / REPORT)


def _write(
    request: TeachRequest,
    run: ControlRun,
    record: TeachRecord,
    checked: CheckedCases,
    how: str,
    step: int,
    results: list[HeldOutResult],
) -> None:
    judged = any(spec.kind is not Kind.IMAGE for spec in run.task.cache.specs)
    rows = summarise(results, judged)
    write_text(request.folder / SUMMARY, summary_words(rows, len(results), step))
    hardware = _hardware(request.device, run.trainer.team.size)
    page = report_page(TeachReport(request, run, record, checked, tuple(results), tuple(rows), how, step, hardware))

    notes = ExportNotes(
        hardware=hardware, command=request.command, data=request.data, licence=request.licence,
        figures=request.folder / SUMMARY,
    )  # fmt: skip

    def fill(folder: Path) -> None:
        write_run_pack(request.folder, folder, notes)
        write_text(folder / REPORT, page)

    numbered = [[f"case {n}", r.case, subject_of(r.head)] for n, r in enumerate(results, 1)]
    write_text(request.folder / NUMBERED, csv_text([["report", "case", "head"], *numbered]))
    if request.out is None:
        with install_folder(request.name, force=request.force) as folder:
            fill(folder)
    else:
        with pack_folder(request.out, force=request.force) as folder:
            fill(folder)
    write_sealed(
        request.folder / FINISHED,
        {
            "pack": str(request.pack_folder),
            "control": hash_file(request.pack_folder / "control.safetensors"),
            "asked": asked_of(request),
        },
    )


def _hardware(device: str, processes: int) -> str:
    words = choose_runtime(device).words.rpartition(",")[0]
    words += f", {platform.system()}"
    return words if processes == 1 else f"{processes} processes, each on {words}"


def _refuse_full_disk(folder: Path, pace: Pace) -> None:
    """Three checkpoints must fit at any time: the last, the one before and the one being written; and the best."""
    place = folder.resolve()
    while not place.exists():
        place = place.parent
    needed, free = 4 * pace.checkpoint + SPARE, shutil.disk_usage(place).free
    if free < needed:
        raise VcmError(
            Code.DISK_FULL,
            f"The disk of {place} has {free / 1e6:.0f} MB left; teaching needs about {needed / 1e6:.0f} MB for its "
            "checkpoints.",
            "Free some space, or put the teaching elsewhere with --work.",
        )


@contextmanager
def _stopped_in_words(request: TeachRequest) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise VcmError(
            Code.CANCELLED,
            f"The teaching of {request.name} was stopped. Its last checkpoint is kept.",
            "Run the same command to resume.",
        ) from None


def teaching_as_dict(outcome: Outcome) -> dict[str, Any]:
    """The outcome for machines."""
    return {
        "state": outcome.how,
        "pack": str(outcome.pack) if outcome.pack else None,
        "report": str(outcome.report) if outcome.report else None,
    }
