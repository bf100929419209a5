"""A cohort on disk: a folder a case, and `cases.csv`, which lists only what is there whole.

cases.csv
cases/00000/image.nii.gz   intensities in 0–1
cases/00000/labels.nii.gz  the segmenter's classes
cases/00000/skull.nii.gz   the image without what lies inside the skull
cases/00000/t2.nii.gz      the same head in another contrast, where that was asked for; also flair.nii.gz
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vcm.core.csv_tables import csv_of_records, read_records
from vcm.core.errors import MALFORMED, Code, VcmError
from vcm.core.reading import missing_as, open_text
from vcm.core.volume import Volume
from vcm.outputs.atomic_files import write_text
from vcm.outputs.claims import Claim, Mode
from vcm.volumes.volume_files import read_volume, write_volume

TABLE = "cases.csv"
NAME = re.compile(r"\w[\w.-]*")
"""Of a case, or a part of one."""
IMAGE, SKULL = "image", "skull"
PARTS = (IMAGE, "labels", SKULL)
FIRST, LAST = ("case", "head", "seed"), ("ventricles_ml", "brain_ml", "parts")
SINCE_FIRST = (*FIRST, *LAST[:-1])
"""The columns that every cohort has; a table without `parts` holds `PARTS` in each case."""


@dataclass(frozen=True)
class CaseEntry:
    """One row of `cases.csv`. A scan that was brought in from a folder has no seed; `head` is then its file's name.

    `attributes` are raw (0–1), by the names of a backbone's; those that are not known of this case are left out.
    `shown` is the part that is its image: another contrast of a head is a case of its own (`contrasts.py`).
    """

    folder: Path
    head: str
    seed: int | None
    attributes: Mapping[str, float]
    ventricles_ml: float
    brain_ml: float
    parts: tuple[str, ...] = PARTS
    shown: str = IMAGE

    @property
    def name(self) -> str:
        return self.folder.name if self.shown == IMAGE else f"{self.folder.name}-{self.shown}"

    @property
    def is_whole(self) -> bool:
        """Whether the files of all its parts are there."""
        return all(self.path(part).is_file() for part in self.parts)

    def path(self, part: str) -> Path:
        return self.folder / f"{self.shown if part == IMAGE else part}.nii.gz"

    def read(self, part: str) -> Volume:
        """The case's `image`, `labels`, `skull` or another of its `parts`."""
        if part not in self.parts:
            raise VcmError(
                Code.FILE_MISSING,
                f"Case {self.name} has no {part}; it has {', '.join(self.parts)}.",
                "Leave this case out, or choose what all cases have.",
            )
        return read_volume(self.path(part))

    def as_row(self) -> dict[str, str]:
        return {
            "case": self.name,
            "head": self.head,
            "seed": "" if self.seed is None else str(self.seed),
            **{name: f"{value:.6f}" for name, value in self.attributes.items()},
            "ventricles_ml": f"{self.ventricles_ml:.3f}",
            "brain_ml": f"{self.brain_ml:.3f}",
            "parts": " ".join(self.parts),
        }


def write_parts(folder: Path, parts: Mapping[str, Volume], description: str, *, synthetic: bool = True) -> None:
    """Write volumes into a case's folder."""
    for part, volume in parts.items():
        write_volume(folder / f"{part}.nii.gz", volume, description=description, synthetic=synthetic)


def claim_cohort(folder: Path, *, inputs: Iterable[Path] = (), mode: Mode = Mode.ALONE) -> Claim:
    """The folder of a cohort, for one process alone; what earlier versions made there is taken for ours."""

    def is_of_the_cohort(file: Path) -> bool:
        if file.name == TABLE or file.parent.parent.name == "cases":
            with suppress(VcmError):
                return (file.name == TABLE or file.name.endswith(".nii.gz")) and bool(read_cases(folder))
        return file.parent.name == "findings" and (folder / TABLE).is_file()

    return Claim(folder, inputs=inputs, mode=mode, of_ours=is_of_the_cohort, remedy="Choose another folder with --out.")


def write_table(entries: Mapping[str, CaseEntry], out: Path) -> None:
    """Put `cases.csv` in place whole."""
    cases = [entries[name] for name in sorted(entries)]
    attributes = dict.fromkeys(name for case in cases for name in case.attributes)
    write_text(out / TABLE, csv_of_records((*FIRST, *attributes, *LAST), (case.as_row() for case in cases)))


def read_cases(folder: Path) -> list[CaseEntry]:
    """The cases of a cohort's folder, in the table's order.

    What stands in a further column is an attribute, unless the column holds no number at all.
    """
    path = folder / TABLE
    with missing_as(f"There is no {TABLE} in {folder}.", "Make a cohort first: vcm cohort make --help"):
        stream = open_text(path)
    try:
        header, rows = read_records(stream)
        if missing := [column for column in SINCE_FIRST if column not in header]:
            raise KeyError(missing[0])
        _check_names(path, [row["case"] for row in rows])
    except MALFORMED as error:
        raise VcmError(
            Code.FILE_UNREADABLE,
            f"{path} is not the table of a cohort: it needs the columns {', '.join(SINCE_FIRST)}.",
            "Give a folder that vcm cohort make or vcm cohort from-folder has written.",
        ) from error
    further = [name for name in header if name and name not in (*FIRST, *LAST)]
    attributes = [name for name in further if any(_is_number(row[name]) for row in rows)]
    return [_entry(row, attributes, folder, path) for row in rows]


def _entry(row: Mapping[str, str], attributes: Iterable[str], folder: Path, path: Path) -> CaseEntry:
    parts = tuple((row.get("parts") or " ".join(PARTS)).split())
    _check_names(path, parts)
    try:
        return CaseEntry(
            folder=folder / "cases" / row["case"],
            head=row["head"],
            seed=int(row["seed"]) if row["seed"] else None,
            attributes={name: _finite(row[name]) for name in attributes if row[name].strip()},
            ventricles_ml=_finite(row["ventricles_ml"]),
            brain_ml=_finite(row["brain_ml"]),
            parts=parts,
        )
    except ValueError as error:
        raise VcmError(
            Code.FILE_UNREADABLE,
            f"In {path}, the row of the case {row['case']} holds what is no number: {error}.",
            "Mend or remove that row.",
        ) from error


def _check_names(path: Path, names: Sequence[str]) -> None:
    """Refuse names that lead out of the cohort's folder, and two of the same."""
    for place, name in enumerate(names):
        if not NAME.fullmatch(name):
            why = f"{name!r} names no case and no part of one"
        elif name in names[:place]:
            why = f"{name} stands there twice"
        else:
            continue
        raise VcmError(Code.FILE_UNREADABLE, f"In {path}, {why}.", "Mend or remove that row.")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number
