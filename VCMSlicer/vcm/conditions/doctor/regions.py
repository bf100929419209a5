"""Checks a region weight map: where, and how strongly, a condition acts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vcm.conditions.doctor.intensities import check_finite
from vcm.conditions.doctor.notebook import Notebook
from vcm.conditions.doctor.place import check_place, placed
from vcm.core.findings import Finding
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.volumes.resampling import resample_image
from vcm.volumes.volume_files import VolumeFile


@dataclass(frozen=True, eq=False)
class RegionExamination:
    """A region weight map on the model's Grid, 0–1, or None where an error was found; and the findings."""

    region: Volume | None
    findings: tuple[Finding, ...]

    def as_dict(self) -> dict[str, Any]:
        return {"usable": self.region is not None, "findings": [finding.as_dict() for finding in self.findings]}


def examine_region(file: VolumeFile | Volume, grid: Grid, *, subject: str = "region") -> RegionExamination:
    """Check a region weight map and bring it onto the model's Grid; outside its own field of view it weighs 0."""
    notes = Notebook(subject, str(file.path) if isinstance(file, VolumeFile) else f"The {subject} map")
    region = _weights(placed(file, grid, notes), grid, notes)
    return RegionExamination(None if notes.failed else region, notes.findings)


def _weights(volume: Volume, grid: Grid, notes: Notebook) -> Volume | None:
    if not check_finite(volume, notes):
        return None
    check_place(volume, grid, notes, is_image=True)
    low, high = float(volume.array.min()), float(volume.array.max())
    if low < 0 or high > 1:
        notes.warning(
            "WEIGHTS_CUT",
            f"{notes.who} holds weights from {low:g} to {high:g}; they were cut to 0 to 1.",
            "Give 0 where the condition must not act and 1 where it acts fully.",
        )
    weights = resample_image(Volume(volume.array.astype(np.float32).clip(0, 1), volume.grid), grid).array
    if not weights.any():
        notes.error(
            "EMPTY",
            f"{notes.who} is 0 everywhere in the model's field of view, so its condition would act nowhere.",
            "Leave the region out, or paint where the condition is to act.",
        )
        return None
    return Volume(weights.clip(0, 1).astype(np.float32), grid)
