"""Sheets to look at after scans were brought in: every case with the contours of its brain and ventricles.

The case whose brain covers the template's worst comes first, so that what went wrong is seen at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL.Image import Image

from vcm.anatomy.structures import VENTRICLES
from vcm.cohort.files import CaseEntry
from vcm.conditions.condition import Condition, ConditionSpec, Kind
from vcm.core.errors import VcmError
from vcm.core.volume import Volume
from vcm.judging.reference_head import brain_of
from vcm.outputs.claims import is_ours, remove
from vcm.reporting.case_sheet import SheetRow, case_sheet
from vcm.reporting.montage import save_picture

CASES_A_SHEET = 12
NOTICE = "Research only, not for diagnosis"
SHEET = "sheet-*.png"


def write_sheets(entries: Iterable[CaseEntry], overlaps: Mapping[str, float], out: Path) -> list[Path]:
    """Write `sheet-1.png` and so on; `overlaps` are the brains' with the template, by the cases' names."""
    ordered = sorted(entries, key=lambda entry: (overlaps.get(entry.name, math.inf), entry.name))
    pages = [ordered[start : start + CASES_A_SHEET] for start in range(0, len(ordered), CASES_A_SHEET)]
    paths = []
    for number, page in enumerate(pages, 1):
        rows = [row for entry in page for row in _row(entry, overlaps.get(entry.name))]
        if rows:
            path = out / f"sheet-{number}.png"
            save_picture(path, _sheet(rows, number, len(pages), len(ordered)), NOTICE)
            paths.append(path)
    for path in set(out.glob(SHEET)) - set(paths):
        if is_ours(path):
            remove(path)
    return paths


def _sheet(rows: Sequence[SheetRow], number: int, pages: int, cases: int) -> Image:
    title = f"{cases} scan{'s' if cases > 1 else ''}, worst overlap first"
    return case_sheet(
        rows, title=title, subtitle=f"Brain and ventricle contours · sheet {number} of {pages}", notice=NOTICE
    )


def _row(entry: CaseEntry, overlap: float | None) -> list[SheetRow]:
    try:
        image, labels = entry.read("image"), entry.read("labels")
    except VcmError:
        return []
    masks = {"brain": brain_of(labels.array), "ventricles": labels.array == VENTRICLES}
    conditions = [
        Condition(ConditionSpec.from_dict({"name": name, "kind": Kind.MASK.value}), _mask(mask, labels))
        for name, mask in masks.items()
    ]
    words = f"{entry.name}: overlap with the template {overlap:.2f}" if overlap is not None else entry.name
    return [SheetRow(words, {"": image}, conditions)]


def _mask(mask: np.ndarray, labels: Volume) -> Volume:
    return Volume(np.asarray(mask, np.uint8), labels.grid)
