"""What is to be taught: conditions that every cohort offers, and structures made from label values of its labels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vcm.cohort.case_conditions import CONDITION_SPECS
from vcm.cohort.learning_cases import CohortCase, condition_specs
from vcm.conditions.condition import ConditionSpec
from vcm.core.errors import Code, VcmError
from vcm.core.plain_text import capital
from vcm.packs.manifest import BackboneManifest

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True)
class Taught:
    """Names of a cohort's conditions, and new masks by name: the values of the cases' labels that make each."""

    conditions: tuple[str, ...] = ()
    structures: Mapping[str, tuple[int, ...]] | None = None

    @property
    def made(self) -> Mapping[str, tuple[int, ...]]:
        return self.structures or {}

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.conditions, *self.made)

    def specs(self, backbone: BackboneManifest) -> tuple[ConditionSpec, ...]:
        """What each is. The values of a new mask are labels of the backbone's segmenter, which judges by them."""
        new = [_mask(name, values, backbone) for name, values in self.made.items()]
        return (*condition_specs(self.conditions), *new)

    def as_dict(self) -> dict[str, Any]:
        return {"conditions": list(self.conditions), "structures": {name: list(v) for name, v in self.made.items()}}


@dataclass(frozen=True)
class TaughtCase:
    """A cohort's case that also offers the new masks."""

    case: CohortCase
    structures: Mapping[str, tuple[int, ...]]

    @property
    def name(self) -> str:
        return self.case.name

    @property
    def head(self) -> str:
        return self.case.entry.head

    @property
    def attributes(self) -> Mapping[str, float]:
        return self.case.attributes

    @property
    def stamp(self) -> str:
        made = " ".join(f"{name}={values}" for name, values in self.structures.items())
        return f"{self.case.stamp} {made}".strip()

    def image(self) -> NDArray[np.float32]:
        return self.case.image()

    def conditions(self, specs: Iterable[ConditionSpec]) -> dict[str, NDArray[Any]]:
        return self.case.conditions(specs)


def parse_taught(conditions: Sequence[str], structures: Sequence[str]) -> Taught:
    """Read `ventricles` and `NAME=VALUES`; without either, the ventricles are taught.

    >>> parse_taught([], ["limbic=5,6"]).as_dict()
    {'conditions': [], 'structures': {'limbic': [5, 6]}}
    """
    known = [part.strip() for text in conditions for part in text.split(",")]
    made = dict(map(_structure, structures))
    if len(made) < len(structures) or len(set(known)) < len(known):
        raise VcmError(Code.BAD_REQUEST, "A condition was named twice.")
    if not known and not made:
        known = ["ventricles"]
    condition_specs(known)
    return Taught(tuple(known), made)


def _structure(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, values = text.partition("=")
    name, parts = name.strip(), [part.strip() for part in values.split(",")]
    if not NAME.fullmatch(name) or not all(part.isdecimal() and 0 < int(part) < 256 for part in parts):
        raise VcmError(
            Code.BAD_REQUEST,
            f"{text!r} does not name a structure and the label values that make it.",
            "Write a name of letters and digits and values from 1 to 255: --structure hippocampus=5",
        )
    if name in CONDITION_SPECS:
        raise VcmError(
            Code.BAD_REQUEST,
            f"{name} is what a cohort offers anyway, so a new structure cannot be called that.",
            f"Choose another name, or teach that one: --condition {name}",
        )
    return name, tuple(sorted({int(part) for part in parts}))


def _mask(name: str, values: tuple[int, ...], backbone: BackboneManifest) -> ConditionSpec:
    names = {structure.value: structure.name for structure in backbone.segmenter_classes}
    strange = [value for value in values if value not in names]
    if strange:
        raise VcmError(
            Code.BAD_REQUEST,
            f"{name} is to be made of label {', '.join(map(str, strange))}, which the segmenter of {backbone.name} "
            "does not know, so adherence could not be measured.",
            f"The labels are: {', '.join(f'{value} {words}' for value, words in sorted(names.items()))}.",
        )
    words = " and ".join(names[value] for value in values)
    entry = {
        "name": name,
        "kind": "mask",
        "description": capital(name) if words.lower() == name.lower() else f"{name} ({words})",
        "classes": [{"value": 1, "name": name, "segmenter": list(values)}],
    }
    return ConditionSpec.from_dict(entry)
