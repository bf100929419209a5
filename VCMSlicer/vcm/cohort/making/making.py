"""Makes a cohort on disk, in one or several processes, and goes on with one that was begun."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vcm.cohort.files import PARTS, TABLE, CaseEntry, claim_cohort, read_cases, write_parts, write_table
from vcm.cohort.making.heads import Case, CohortMaker
from vcm.core.errors import Code, VcmError
from vcm.core.processes import in_processes
from vcm.machine.local_device import compute_on_one_core
from vcm.outputs.claims import Mode

DESCRIPTION = "synthetic head"
SAVE_EVERY_S = 1.0
"""The table is written this often at most, and at the end: a killed process loses a second's cases, and makes them
again."""
SAME_HEAD = 0.99
"""The share of equal voxels above which labels are those of the same head, made on another machine perhaps."""


def make_cohort(maker: CohortMaker, count: int, out: Path, jobs: int = 1) -> Iterator[CaseEntry]:
    """Make cases 0 to `count` − 1 in `out`, in `jobs` processes; of those there already only what lacks is made."""
    with claim_cohort(out, inputs=maker.maps.files) as claim:
        claim.admit(out / TABLE)
        yield from _make_cohort(maker, count, out, jobs)


def _make_cohort(maker: CohortMaker, count: int, out: Path, jobs: int) -> Iterator[CaseEntry]:
    entries = {e.name: e for e in read_cases(out)} if (out / TABLE).is_file() else {}
    _refuse_foreign(entries.values(), maker, out)
    asked = {*PARTS, *maker.contrasts}
    lacking: list[tuple[int, CaseEntry | None]] = []
    for number in range(count):
        entry = entries.get(f"{number:05d}")
        if entry is None or not entry.is_whole:
            lacking.append((number, None))
        elif not asked <= set(entry.parts):
            lacking.append((number, entry))
        else:
            yield entry
    saved = time.monotonic()
    unsaved = False
    try:
        for entry in in_processes(_Writer(maker, out), lacking, jobs, compute_on_one_core):
            entries[entry.name] = entry
            unsaved = time.monotonic() - saved < SAVE_EVERY_S
            if not unsaved:
                write_table(entries, out)
                saved = time.monotonic()
            yield entry
    finally:
        if unsaved:
            write_table(entries, out)


@dataclass(frozen=True)
class _Writer:
    """Makes and writes one case, or what an entry of it lacks."""

    maker: CohortMaker
    out: Path

    def __call__(self, item: tuple[int, CaseEntry | None]) -> CaseEntry:
        number, before = item
        case = self.maker.make(number)
        with claim_cohort(self.out, inputs=self.maker.maps.files, mode=Mode.MEMBER):
            return write_case(case, self.maker.seed, self.out, before)


def write_case(case: Case, seed: int, out: Path, before: CaseEntry | None = None) -> CaseEntry:
    """Write the volumes of one case, or those that lack `before`; the table is the caller's."""
    folder = out / "cases" / case.name
    there = before.parts if before else ()
    if before is not None:
        _refuse_another_head(before, case)
    write_parts(folder, {name: volume for name, volume in case.parts.items() if name not in there}, DESCRIPTION)
    parts = (*there, *(name for name in case.parts if name not in there))
    return CaseEntry(folder, case.head, seed, case.attributes, case.ventricles_ml, case.brain_ml, parts)


def _refuse_foreign(entries: Iterable[CaseEntry], maker: CohortMaker, out: Path) -> None:
    for entry in entries:
        if entry.seed is None:
            raise VcmError(
                Code.BAD_REQUEST,
                f"{out} holds scans that were brought in from a folder; made heads do not belong among them.",
                "Choose another folder.",
            )
        if entry.seed != maker.seed:
            raise VcmError(
                Code.BAD_REQUEST,
                f"{out} holds cases of seed {entry.seed}, not {maker.seed}.",
                "Choose another folder, or go on with the same seed.",
            )
        if entry.name.isdecimal() and entry.head != maker.head_of(int(entry.name)):
            raise VcmError(
                Code.BAD_REQUEST,
                f"{out} was made from other heads: case {entry.name} is of {entry.head}, and would be of "
                f"{maker.head_of(int(entry.name))} now.",
                "Choose another folder, or go on with the same --heads.",
            )


def _refuse_another_head(before: CaseEntry, case: Case) -> None:
    labels = before.read("labels").array
    if labels.shape != case.labels.array.shape or np.mean(labels == case.labels.array) < SAME_HEAD:
        raise VcmError(
            Code.BAD_REQUEST,
            f"Case {case.name} in {before.folder.parents[1]} is another head than its seed makes now, so no further "
            "contrast of it can be made.",
            "Were the label maps changed? Make the cohort anew in another folder.",
        )
