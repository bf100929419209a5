"""A case of a cohort as it is evaluated: read, checked, with the conditions that a control takes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vcm.cohort.case_conditions import CONDITION_SPECS, condition_spec
from vcm.cohort.files import PARTS, CaseEntry
from vcm.cohort.learning_cases import CohortCase
from vcm.conditions.condition import Condition, ConditionSpec, Kind
from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.core.reading import read_bytes
from vcm.core.volume import Volume


@dataclass(frozen=True, eq=False)
class EvaluatedCase:
    """One case on the backbone's Grid, what it does not have as None. `labels` are those of its own image, `images` are
    what samples are held against."""

    name: str
    image: Volume
    labels: Volume | None
    conditions: tuple[Condition, ...]
    images: Mapping[str, Condition | None]
    attributes: Mapping[str, float]


def read_case(
    entry: CaseEntry, specs: Sequence[ConditionSpec], grid: Grid, *, whole_scans: bool = False
) -> EvaluatedCase:
    """Read a case and derive its conditions; what is missing, damaged or on another grid is an error, and so is a case
    in which all conditions are empty, such as a head without lesions. Images reach beyond 1 only where they are
    scaled as `whole_scans`."""
    case = CohortCase(entry, grid)
    image, arrays = case.image(), case.conditions(specs)
    low, high = float(image.min()), float(image.max())
    if low < -0.01 or (high > 1.01 and not whole_scans):
        raise VcmError(
            Code.CONDITION,
            f"The image of case {entry.name} holds intensities from {low:g} to {high:g}, not within 0 and 1.",
        )
    conditions = [Condition(spec, Volume(arrays[spec.name], grid)) for spec in specs]
    if conditions and not any(condition.volume.array.any() for condition in conditions):
        names = ", ".join(spec.name for spec in specs)
        raise VcmError(Code.CONDITION, f"Case {entry.name} has no {names}, so nothing of it can be measured.")
    offered = [spec for spec in map(condition_spec, CONDITION_SPECS) if spec.kind is Kind.IMAGE]
    others = [
        spec
        for spec in offered
        if spec.name not in arrays and spec.name in entry.parts and entry.path(spec.name).is_file()
    ]
    parts = case.conditions(others)
    images: dict[str, Condition | None] = {spec.name: None for spec in offered}
    images |= {spec.name: Condition(spec, Volume(parts[spec.name], grid)) for spec in others}
    images |= {condition.spec.name: condition for condition in conditions if condition.spec.kind is Kind.IMAGE}
    own, labels = Volume(image, grid), Volume(case.labels(), grid) if "labels" in entry.parts else None
    return EvaluatedCase(entry.name, own, labels, tuple(conditions), images, entry.attributes)


MOST_IMAGE = 1 << 30
"""Bytes of a case's file."""


def fingerprint(entry: CaseEntry, specs: Sequence[ConditionSpec]) -> str:
    """A hash over all that is read of a case, so that a changed case is measured again."""
    digest = hashlib.sha256(repr(sorted(entry.attributes.items())).encode())
    images = (spec.name for spec in specs if spec.kind is Kind.IMAGE)
    for part in dict.fromkeys((*PARTS, *images)):
        path = entry.path(part)
        digest.update(read_bytes(path, MOST_IMAGE) if path.is_file() else b"-")
    return digest.hexdigest()


def require_known(specs: Sequence[ConditionSpec], control: str, entries: Sequence[CaseEntry]) -> None:
    """Refuse a control with conditions that no case of the cohort holds: images that are parts of none, structures that
    do not say of which labels they are made."""
    parts = {part for entry in entries for part in entry.parts}
    for spec in specs:
        if spec.kind is Kind.IMAGE:
            held = spec.name in parts
        else:
            held = spec.name in CONDITION_SPECS or (bool(spec.classes) and all(c.segmenter for c in spec.classes))
        if not held:
            raise VcmError(
                Code.CONDITION,
                f"The control {control} takes {spec.name}, which the cases of a cohort do not hold; they hold "
                f"{', '.join(dict.fromkeys((*CONDITION_SPECS, *sorted(parts - {'image', 'labels'}))))}.",
                "Evaluate it by its results: vcm evaluate --images FOLDER --references FOLDER --out FOLDER",
            )
