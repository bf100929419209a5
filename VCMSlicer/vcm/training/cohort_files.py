"""A cohort on disk: a folder a case, and `cases.csv`, which lists only what is there whole.

cases.csv
cases/00000/image.nii.gz   intensities in 0–1
cases/00000/labels.nii.gz  the segmenter's classes
cases/00000/skull.nii.gz   the image without what lies inside the skull
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vcm.atomic_files import write_text
from vcm.errors import Code, VcmError
from vcm.training.cohort import Case, CohortMaker
from vcm.volume import Volume
from vcm.volumes.volume_files import read_volume, write_volume

TABLE = "cases.csv"
PARTS = ("image", "labels", "skull")
ATTRIBUTES = ("sex", "age", "ventricular_volume", "brain_volume")
COLUMNS = ("case", "head", "seed", *ATTRIBUTES, "ventricles_ml", "brain_ml")
DESCRIPTION = "synthetic head"


@dataclass(frozen=True)
class CaseEntry:
    """One row of `cases.csv`."""

    folder: Path
    head: str
    seed: int
    attributes: Mapping[str, float]
    ventricles_ml: float
    brain_ml: float

    @property
    def name(self) -> str:
        return self.folder.name

    def read(self, part: str) -> Volume:
        """The case's `image`, `labels` or `skull`."""
        return read_volume(self.folder / f"{part}.nii.gz")

    def as_row(self) -> dict[str, str]:
        return {
            "case": self.name,
            "head": self.head,
            "seed": str(self.seed),
            **{name: f"{self.attributes[name]:.6f}" for name in ATTRIBUTES},
            "ventricles_ml": f"{self.ventricles_ml:.3f}",
            "brain_ml": f"{self.brain_ml:.3f}",
        }


def make_cohort(maker: CohortMaker, count: int, out: Path) -> Iterator[CaseEntry]:
    """Make cases 0 to `count` − 1 in `out`, one after the other; those there already, of the same seed, are kept."""
    entries = {e.name: e for e in read_cases(out)} if (out / TABLE).is_file() else {}
    foreign = next((e for e in entries.values() if e.seed != maker.seed), None)
    if foreign:
        raise VcmError(
            Code.BAD_REQUEST,
            f"{out} holds cases of seed {foreign.seed}, not {maker.seed}.",
            "Choose another folder, or go on with the same seed.",
        )
    for number in range(count):
        name = f"{number:05d}"
        if name not in entries:
            entries[name] = write_case(maker.make(number), maker.seed, out)
            write_table(entries, out)
        yield entries[name]


def write_case(case: Case, seed: int, out: Path) -> CaseEntry:
    """Write the volumes of one case; the table is the caller's."""
    folder = out / "cases" / case.name
    for part in PARTS:
        write_volume(folder / f"{part}.nii.gz", getattr(case, part), description=DESCRIPTION)
    return CaseEntry(folder, case.head, seed, case.attributes, case.ventricles_ml, case.brain_ml)


def write_table(entries: Mapping[str, CaseEntry], out: Path) -> None:
    """Put `cases.csv` in place whole."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(entries[name].as_row() for name in sorted(entries))
    write_text(out / TABLE, text.getvalue())


def read_cases(folder: Path) -> list[CaseEntry]:
    """The cases of a cohort's folder, in the table's order."""
    path = folder / TABLE
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return [_entry(row, folder) for row in csv.DictReader(stream)]
    except FileNotFoundError:
        raise VcmError(
            Code.FILE_MISSING, f"There is no {TABLE} in {folder}.", "Make a cohort first: vcm cohort make --help"
        ) from None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise VcmError(
            Code.FILE_UNREADABLE,
            f"{path} is not the table of a cohort: it needs the columns {', '.join(COLUMNS)}.",
        ) from error


def _entry(row: Mapping[str, str], folder: Path) -> CaseEntry:
    return CaseEntry(
        folder=folder / "cases" / row["case"],
        head=row["head"],
        seed=int(row["seed"]),
        attributes={name: float(row[name]) for name in ATTRIBUTES},
        ventricles_ml=float(row["ventricles_ml"]),
        brain_ml=float(row["brain_ml"]),
    )
