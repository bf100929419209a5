"""A folder of scans becomes a cohort; every scan ends either in `cases.csv` or, with its sentence, in `refused.csv`.

cases.csv            the cases that are there whole, as in every cohort; they have no seed
refused.csv          what was refused, and why
findings/NAME.json   what the input doctor found about one scan, its pose and its overlap with the template
from_folder.json     how the scans were brought in; a cohort is continued only in the same way
sheet-1.png …        every case with the contours of its brain and ventricles, worst overlap with the template first
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vcm.cohort.files import TABLE, CaseEntry, claim_cohort, read_cases, write_parts, write_table
from vcm.cohort.scans.case import Intake, Intaken, take_in
from vcm.cohort.scans.pairs import Refusal, Scan, Scans
from vcm.core.csv_tables import csv_of_records
from vcm.core.errors import MALFORMED, Code, VcmError
from vcm.core.findings import Finding, Level
from vcm.core.hashing import hash_file
from vcm.core.processes import in_processes
from vcm.core.typed_json import read_fields
from vcm.machine.local_device import compute_on_one_core
from vcm.outputs.atomic_files import write_text
from vcm.outputs.claims import Mode, remove
from vcm.outputs.sealed_json import read_sealed, write_sealed

REFUSED = "refused.csv"
SETTINGS = "from_folder.json"
COLUMNS = ("case", "image", "segmentation", "code", "sentence", "remedy")
FIRST_SHEET = "sheet-1.png"
SAVE_EVERY_S = 1.0


@dataclass(frozen=True)
class Arrival:
    """What became of one scan: an entry of the cohort, or a refusal; and the findings about it."""

    name: str
    entry: CaseEntry | None
    refusal: Refusal | None
    findings: tuple[Finding, ...]
    overlap: float | None = None


def take_in_folder(scans: Scans, intake: Intake, out: Path, jobs: int = 1) -> Iterator[Arrival]:
    """Bring scans into the cohort `out`, in `jobs` processes. Those brought in before from the same files are kept."""
    with claim_cohort(out, inputs=scans.files) as claim:
        claim.admit(*(out / name for name in (TABLE, REFUSED, SETTINGS, FIRST_SHEET)))
        yield from _take_in_folder(scans, intake, out, jobs)


def _take_in_folder(scans: Scans, intake: Intake, out: Path, jobs: int) -> Iterator[Arrival]:
    entries = {entry.name: entry for entry in (read_cases(out) if (out / TABLE).is_file() else [])}
    _refuse_made_heads(entries, out)
    _check_settings(intake, out, begun=bool(entries))
    refusals = {refusal.name + str(n): refusal for n, refusal in enumerate(scans.refusals)}
    for refusal in scans.refusals:
        yield Arrival(refusal.name, None, refusal, ())
    lacking = []
    for scan in scans.pairs:
        entry = entries.get(scan.name)
        kept = _kept(scan, intake, out) if entry is not None and entry.is_whole else None
        if entry is None or kept is None:
            lacking.append(scan)
            entries.pop(scan.name, None)
        else:
            yield Arrival(scan.name, entry, None, *kept)
    _write_tables(entries, refusals, out)
    saved = time.monotonic()
    try:
        for arrival in in_processes(_Taker(intake, out), lacking, jobs, compute_on_one_core):
            if arrival.entry is not None:
                entries[arrival.name] = arrival.entry
            elif arrival.refusal is not None:
                refusals[arrival.name] = arrival.refusal
            if time.monotonic() - saved >= SAVE_EVERY_S:
                _write_tables(entries, refusals, out)
                saved = time.monotonic()
            yield arrival
    finally:
        _write_tables(entries, refusals, out)


@dataclass(frozen=True, eq=False)
class _Taker:
    """Brings in one scan and writes its files."""

    intake: Intake
    out: Path

    def __call__(self, scan: Scan) -> Arrival:
        inputs = _inputs(scan, self.intake)
        taken = take_in(scan, self.intake)
        with claim_cohort(self.out, inputs=[scan.image, scan.segmentation], mode=Mode.MEMBER):
            return self._write(scan, taken, inputs)

    def _write(self, scan: Scan, taken: Intaken, inputs: Mapping[str, str]) -> Arrival:
        refusal = _refusal(taken)
        entry = None
        if refusal is None:
            folder = self.out / "cases" / scan.name
            write_parts(folder, taken.parts, f"{self.intake.contrast} scan on a model's grid".strip(), synthetic=False)
            if "skull" not in taken.parts:
                remove(folder / "skull.nii.gz")
            entry = CaseEntry(
                folder, scan.image.name, None, taken.attributes, taken.ventricles_ml, taken.brain_ml, tuple(taken.parts)
            )
        write_sealed(_findings_path(scan, self.out), _record(taken, inputs))
        return Arrival(scan.name, entry, refusal, taken.findings, taken.overlap)


def _refusal(taken: Intaken) -> Refusal | None:
    first = next((finding for finding in taken.findings if finding.level is Level.ERROR), None)
    if first is None:
        return None
    scan = taken.scan
    return Refusal(
        scan.name, scan.image_name, scan.segmentation_name, first.code, scan.in_words(first.sentence), first.remedy
    )


def _record(taken: Intaken, inputs: Mapping[str, str]) -> dict[str, Any]:
    return {
        "case": taken.scan.name,
        "image": taken.scan.image_name,
        "segmentation": taken.scan.segmentation_name,
        "usable": bool(taken.parts),
        "brain_overlap": taken.overlap,
        "scan_to_model_mm": taken.pose.matrix.tolist() if taken.pose is not None else None,
        "inputs": dict(inputs),
        "findings": [finding.as_dict() for finding in taken.findings],
    }


def _inputs(scan: Scan, intake: Intake) -> dict[str, str]:
    """What a case was made from: another file or another age makes it anew. Of the table only the backbone's attributes
    are kept."""
    hashes = {
        name: hash_file(path) if path.is_file() else ""
        for name, path in (("image", scan.image), ("segmentation", scan.segmentation))
    }
    given = {spec.name: scan.given[spec.name].strip() for spec in intake.attributes if spec.name in scan.given}
    return {**hashes, "sex": "", "age": "", **given}


def _kept(scan: Scan, intake: Intake, out: Path) -> tuple[tuple[Finding, ...], float | None] | None:
    """Findings about a case that was brought in from the same files before, and its overlap; None where it was not."""
    try:
        record = read_sealed(_findings_path(scan, out))
        findings = tuple(read_fields(Finding, entry) for entry in record["findings"])
        overlap = record["brain_overlap"]
        return (
            (findings, float(overlap) if overlap is not None else None)
            if record["inputs"] == _inputs(scan, intake)
            else None
        )
    except (VcmError, *MALFORMED):
        return None


def _findings_path(scan: Scan, out: Path) -> Path:
    return out / "findings" / f"{scan.name}.json"


def _write_tables(entries: Mapping[str, CaseEntry], refusals: Mapping[str, Refusal], out: Path) -> None:
    write_table(entries, out)
    rows = [
        {
            "case": refusal.name,
            "image": refusal.image,
            "segmentation": refusal.segmentation,
            "code": refusal.code,
            "sentence": refusal.sentence,
            "remedy": refusal.remedy,
        }
        for refusal in sorted(refusals.values(), key=lambda one: (one.name, one.image, one.segmentation))
    ]
    write_text(out / REFUSED, csv_of_records(COLUMNS, rows))


def _check_settings(intake: Intake, out: Path, *, begun: bool) -> None:
    """A cohort goes on as it was begun; one that holds no case yet is begun by whoever brings in the first."""
    path = out / SETTINGS
    settings = {
        "registration": intake.registration,
        "template": intake.template.source if intake.template else None,
        "labels": intake.reading.name,
        "grid": intake.grid.as_dict(),
        **({"intensities": "of whole scans"} if intake.whole_scans else {}),
    }
    if not begun or not path.exists():
        write_sealed(path, settings)
        return
    try:
        before = read_sealed(path)
    except (VcmError, *MALFORMED):
        before = {}
    different = [name for name, value in settings.items() if before.get(name) != value]
    if different:
        raise VcmError(
            Code.BAD_REQUEST,
            f"The cases in {out} were brought in with other settings: {' and '.join(different)} differ.",
            "Choose another folder, or go on with the same options.",
        )


def _refuse_made_heads(entries: Mapping[str, CaseEntry], out: Path) -> None:
    if any(entry.seed is not None for entry in entries.values()):
        raise VcmError(
            Code.BAD_REQUEST,
            f"{out} holds made heads; scans do not belong among them.",
            "Choose another folder.",
        )


def summary(arrivals: Sequence[Arrival]) -> list[str]:
    """What is said at the end: how many cases, how many refused, and how often each warning."""
    whole = sum(arrival.entry is not None for arrival in arrivals)
    refused = len(arrivals) - whole
    lines = [f"{whole} of {len(arrivals)} scans are cases now" + (f"; {refused} were refused" if refused else "")]
    counts: dict[str, int] = {}
    for arrival in arrivals:
        if arrival.entry is not None:
            for code in {finding.code for finding in arrival.findings if finding.level is Level.WARNING}:
                counts[code] = counts.get(code, 0) + 1
    lines += [f"warned of {code} in {n} of them" for code, n in sorted(counts.items())]
    return lines
