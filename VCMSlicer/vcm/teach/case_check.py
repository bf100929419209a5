"""Check of every case before training: each fault is reported, and no case is dropped silently."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vcm.cohort.files import read_cases
from vcm.cohort.learning_cases import CohortCase
from vcm.conditions.condition import ConditionSpec, Kind
from vcm.conditions.doctor.notebook import Notebook
from vcm.core.errors import Code, VcmError
from vcm.core.findings import Finding, Level
from vcm.models.loading import scales_whole_scans
from vcm.packs.manifest import BackboneManifest
from vcm.teach.conditions import Taught, TaughtCase
from vcm.training.control.losses import FAINT, near
from vcm.training.data.latent_cache import CASE_FAULTS

FEWEST = 4
"""With fewer cases nothing can be learned and something held out."""


@dataclass(frozen=True)
class CheckedCases:
    """The usable cases in the cohort's order, what was found about any case, and, by condition, the mean share of the
    latent's places within one place of it."""

    usable: tuple[TaughtCase, ...]
    found: tuple[Finding, ...]
    shares: Mapping[str, float]
    total: int

    @property
    def left_out(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.found if finding.level is Level.ERROR)


def check_cases(
    folder: Path,
    taught: Taught,
    backbone: BackboneManifest,
    specs: Sequence[ConditionSpec],
    on_case: Callable[[int, int], object] = lambda done, total: None,
) -> CheckedCases:
    """Read every case of a cohort's folder once; fewer than `FEWEST` usable ones are refused with the reasons."""
    entries = read_cases(folder)
    cases = [TaughtCase(CohortCase(entry, backbone.grid), taught.made) for entry in entries]
    usable, found, seen = [], list[Finding](), dict[str, str]()
    shares: dict[str, list[float]] = {spec.name: [] for spec in specs}
    for done, case in enumerate(cases, 1):
        notes = Notebook(case.name, f"Case {case.name}")
        measured = _examine(case, backbone, specs, seen, notes)
        if not notes.failed:
            usable.append(case)
            for name, share in measured.items():
                shares[name].append(share)
        found += notes.findings
        on_case(done, len(cases))
    if len(usable) < FEWEST:
        raise _too_few(folder, len(cases), len(usable), found)
    means = {name: float(np.mean(values)) for name, values in shares.items()}
    return CheckedCases(tuple(usable), tuple(found), means, len(cases))


def _examine(
    case: TaughtCase,
    backbone: BackboneManifest,
    specs: Sequence[ConditionSpec],
    seen: dict[str, str],
    notes: Notebook,
) -> dict[str, float]:
    """The shares of the latent that a case's conditions are near to; empty where it cannot be used."""
    try:
        image = case.image()
        arrays = case.conditions(specs)
    except VcmError as error:
        if error.code not in CASE_FAULTS:
            raise
        notes.error(error.code.value, f"{notes.who} is left out. {error.sentence}", error.remedy)
        return {}
    _check_attributes(case, backbone, notes)
    _check_image(image, seen, notes, np.inf if scales_whole_scans(backbone) else 1.5)
    shares = {}
    for spec in specs:
        array = np.asarray(arrays[spec.name], np.float32)
        if not (array > FAINT).any():
            made = f" (label {', '.join(map(str, spec.classes[0].segmenter))})" if spec.kind is Kind.MASK else ""
            notes.error(
                "NO_CONDITION",
                f"{notes.who} is left out. It has no {spec.name}{made}: there is nothing to learn it from.",
                "Segment it there too, or leave the case out.",
            )
            continue
        shares[spec.name] = float(near(torch.from_numpy(array)[None, None], backbone.latent.shape[1:]).mean())
    return shares


def _check_attributes(case: TaughtCase, backbone: BackboneManifest, notes: Notebook) -> None:
    missing = [spec.name for spec in backbone.attributes if not np.isfinite(case.attributes.get(spec.name, np.nan))]
    if missing:
        notes.error(
            "ATTRIBUTE",
            f"{notes.who} is left out. {backbone.name} needs its {', '.join(missing)}, which cases.csv does not give.",
            "Fill the column in.",
        )


def _check_image(image: np.ndarray, seen: dict[str, str], notes: Notebook, most: float) -> None:
    low, high = float(image.min()), float(image.max())
    if not high > low:
        notes.error("EMPTY", f"{notes.who} is left out. Its image is empty: every voxel is {low:g}.", "")
        return
    if low < -0.1 or high > most:
        notes.warning(
            "INTENSITIES",
            f"{notes.who} has intensities from {low:g} to {high:g}; 0 to 1 is expected.",
            "Bring scans in with vcm cohort from-folder, which scales them.",
        )
    digest = hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()
    if digest in seen:
        notes.error(
            "TWICE",
            f"{notes.who} is left out. Its image is that of case {seen[digest]}, voxel by voxel.",
            "A training case must not be held out too.",
        )
    else:
        seen[digest] = notes.subject


def _too_few(folder: Path, total: int, usable: int, found: Sequence[Finding]) -> VcmError:
    errors = [finding for finding in found if finding.level is Level.ERROR]
    counted = f"{folder} holds {total} case{'s' if total != 1 else ''}"
    if not errors:
        sentence, remedy = f"{counted}; at least {FEWEST} are needed.", "Ten or more are better."
    else:
        reason = errors[0].sentence.partition(" is left out. ")[2]
        same = len({finding.code for finding in errors}) == 1
        alike = "for the same reason" if same else "for several reasons"
        if usable:
            whose = f"Only {usable} of them can be used, and {FEWEST} are needed; others are left out {alike}"
        else:
            whose = f"None of them can be used, {alike}"
        sentence = f"{counted}. {whose}; {errors[0].subject}: {reason}"
        remedy = errors[0].remedy or f"At least {FEWEST} usable cases are needed."
    code = Code.GEOMETRY if errors and all(f.code == Code.GEOMETRY.value for f in errors) else Code.BAD_REQUEST
    first = {"level": Level.ERROR.value, "sentence": sentence}
    return VcmError(code, sentence, remedy, findings=[first, *(finding.as_dict() for finding in errors)])
