"""A case of a cohort as it is evaluated: read, checked, with the conditions that a control takes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vcm.conditions import Condition, ConditionSpec, Kind
from vcm.errors import Code, VcmError
from vcm.grid import Grid
from vcm.training.case_conditions import CONDITION_SPECS, condition_array
from vcm.training.cohort_files import PARTS, CaseEntry
from vcm.volume import Volume

SKULL = ConditionSpec("skull", Kind.IMAGE)


@dataclass(frozen=True, eq=False)
class EvaluatedCase:
    """One case on the backbone's Grid. `skull` is None where the case has none and nobody needs it."""

    name: str
    image: Volume
    conditions: tuple[Condition, ...]
    skull: Condition | None
    attributes: Mapping[str, float]


def read_case(entry: CaseEntry, specs: Sequence[ConditionSpec], grid: Grid) -> EvaluatedCase:
    """Read a case and derive its conditions; what is missing, damaged or elsewhere is told in a sentence."""
    parts = {name: entry.read(name) for name in ("image", "labels")}
    needed = any(spec.kind is Kind.IMAGE for spec in specs)
    if needed or (entry.folder / "skull.nii.gz").is_file():
        parts["skull"] = entry.read("skull")
    for name, volume in parts.items():
        if not volume.grid.same_as(grid):
            raise VcmError(
                Code.GEOMETRY,
                f"The {name} of case {entry.name} lies on a grid of {volume.grid.shape} voxels, "
                f"{volume.grid.orientation}; the model's has {grid.shape}, {grid.orientation}, or lies elsewhere.",
                "Make the cohort on the grid of this backbone.",
            )
    low, high = float(parts["image"].array.min()), float(parts["image"].array.max())
    if low < -0.01 or high > 1.01:
        raise VcmError(
            Code.CONDITION,
            f"The image of case {entry.name} holds intensities from {low:g} to {high:g}, not within 0 and 1.",
        )
    labels, skull = parts["labels"].array, parts.get("skull")
    behind = skull.array if skull else None
    conditions = [Condition(s, Volume(condition_array(s, labels, behind), grid)) for s in specs]
    image = Volume(parts["image"].array.astype(np.float32), grid)
    seen = Condition(SKULL, Volume(skull.array.clip(0, 1).astype(np.float32), grid)) if skull else None
    return EvaluatedCase(entry.name, image, tuple(conditions), seen, entry.attributes)


def fingerprint(entry: CaseEntry) -> str:
    """A hash over all that a case holds, so that a changed case is measured again."""
    digest = hashlib.sha256(repr(sorted(entry.attributes.items())).encode())
    for part in PARTS:
        path = entry.folder / f"{part}.nii.gz"
        digest.update(path.read_bytes() if path.is_file() else b"-")
    return digest.hexdigest()


def require_known(specs: Sequence[ConditionSpec], control: str) -> None:
    """Refuse a control with conditions that no case of a cohort holds."""
    for spec in specs:
        image = spec.kind is Kind.IMAGE
        derived = spec.name == SKULL.name if image else all(c.segmenter for c in spec.classes) and spec.classes
        if not derived and (image or spec.name not in CONDITION_SPECS):
            raise VcmError(
                Code.CONDITION,
                f"The control {control} takes {spec.name}, which the cases of a cohort do not hold; they hold "
                f"{', '.join(CONDITION_SPECS)}.",
                "Evaluate it by its results: vcm evaluate --images FOLDER --references FOLDER --out FOLDER",
            )
