"""The scalars of a backbone: human units outside, the network's 0–1 inside."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vcm.anatomy.structures import LESION
from vcm.conditions.condition import ClassSpec, Condition, ConditionSpec
from vcm.core.errors import Code, VcmError
from vcm.core.typed_json import did_you_mean

CONTRAST = "contrast"
"""The role of an attribute whose choices are what images show: T1w, T2w and so on."""

ALL = "all"
"""Given for the contrast, it stands for each of its choices; a choice that is itself called so goes before."""

_ALIASES = {
    "gender": "sex",
    "ventricles": "ventricular_volume",
    "ventricle_volume": "ventricular_volume",
    "ventricular": "ventricular_volume",
    "brain": "brain_volume",
}


def canonical_name(name: str, known: Container[str]) -> str:
    """The name an attribute goes by, however it was written; a name that is `known` stands for itself.

    >>> canonical_name("Ventricular-Volume", ["brain_volume"]), canonical_name("brain", ["brain_volume"])
    ('ventricular_volume', 'brain_volume')
    >>> canonical_name("Gender", ["gender"])
    'gender'
    """
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    return plain if plain in known else _ALIASES.get(plain, plain)


@dataclass(frozen=True)
class AttributeSpec:
    """One scalar input of a backbone.

    `low` and `high` are the human values at which the network reads 0 and 1; without them only the raw number can be
    given. `choices` maps words to raw numbers. `structures` are the segmenter labels whose joint volume it measures.
    The `role` is `CONTRAST` where the choices name what the image shows.

    >>> age = AttributeSpec("age", "Age", "years", low=44, high=82)
    >>> round(age.to_raw(76), 4), age.to_human(0.5)
    (0.8421, 63.0)
    """

    name: str
    title: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: Mapping[str, float] = field(default_factory=dict)
    default: float = 0.5
    structures: tuple[int, ...] = ()
    role: str = ""

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> AttributeSpec:
        return cls(
            name=entry["name"],
            title=entry.get("title", entry["name"]),
            unit=entry.get("unit", ""),
            low=entry.get("low"),
            high=entry.get("high"),
            choices=dict(entry.get("choices", {})),
            default=float(entry.get("default", 0.5)),
            structures=tuple(entry.get("structures", ())),
            role=entry.get("role", ""),
        )

    @property
    def calibrated(self) -> bool:
        """Whether human units are known for it."""
        return bool(self.choices) or (self.low is not None and self.high is not None)

    def measured_by(self, condition: ConditionSpec) -> tuple[ClassSpec, ...]:
        """The classes of a condition that together are its structures; none where they are not all of them."""
        wanted = set(self.structures) if self.low is not None and self.high is not None else set()
        # A lesion counts as the white matter that it lies in, as it does in cohorts.
        inside = tuple(c for c in condition.classes if c.segmenter and set(c.segmenter) - {LESION} <= wanted)
        found = {label for c in inside for label in c.segmenter}
        return inside if wanted and found - {LESION} == wanted - {LESION} and found != {LESION} else ()

    def following(self, ml: float, source: str) -> AttributeValue:
        """Its value where the structures have this volume, within what the network was trained with."""
        assert self.low is not None and self.high is not None
        raw = (ml - self.low) / (self.high - self.low)
        return AttributeValue(self, min(max(raw, 0.0), 1.0), f"measured on {source}: {ml:.1f} ml")

    @property
    def scale(self) -> str:
        """What may be given for it, in words.

        >>> AttributeSpec("age", "Age", "years", low=44, high=82).scale, AttributeSpec("dose", "Dose").scale
        ('44 to 82 years', 'raw 0–1')
        """
        if self.choices:
            return ", ".join([*self.choices, *([ALL] if self.is_all(ALL) else [])])
        return f"{self.low:g} to {self.high:g} {self.unit}".strip() if self.calibrated else "raw 0–1"

    def is_all(self, human: float | str | None) -> bool:
        """Whether a value asks for every contrast there is.

        >>> spec = AttributeSpec("class", "Class", choices={"T1w": 0, "T2w": 1}, role=CONTRAST)
        >>> spec.is_all("All"), spec.is_all("T1w"), spec.scale
        (True, False, 'T1w, T2w, all')
        """
        named = any(_is_same(ALL, word) for word in self.choices)
        return self.role == CONTRAST and not named and isinstance(human, str) and _is_same(human, ALL)

    def takes_raw(self, number: float) -> bool:
        """Whether a number can only be the network's own: no scale is known, or the values are words."""
        return not self.calibrated or (bool(self.choices) and not any(_is_same(number, w) for w in self.choices))

    def to_raw(self, human: float | str) -> float:
        """The network's number for a human value; outside the trained range it is refused."""
        if self.choices:
            for word, raw in self.choices.items():
                if _is_same(human, word):
                    return raw
            raise VcmError(
                Code.ATTRIBUTE,
                f"{self.title} must be one of {self.scale}, not {human!r}.",
            )
        if self.low is None or self.high is None:
            raise VcmError(
                Code.ATTRIBUTE,
                f"{self.title} has no published scale for this model, so {human} {self.unit} cannot be translated.",
                f"Give its raw input between 0 and 1: --attribute {self.name}=0.5.",
            )
        number = _finite(self.title, human)
        raw = (number - self.low) / (self.high - self.low)
        if not -1e-9 <= raw <= 1 + 1e-9:
            raise VcmError(
                Code.ATTRIBUTE,
                f"{self.title} must lie between {self.low:g} and {self.high:g} {self.unit}, where the model was "
                f"trained; {number:g} was given.",
                f"For the network's own 0–1 input write --attribute {self.name}.raw={number:g}."
                if 0 <= number <= 1
                else f"To go beyond it knowingly, give the raw input: --attribute {self.name}.raw={raw:.3f}.",
            )
        return raw

    def to_human(self, raw: float) -> float | str | None:
        """The human value of the network's number, or None where no scale is known."""
        if self.choices:
            return min(self.choices, key=lambda word: abs(self.choices[word] - raw))
        if self.low is None or self.high is None:
            return None
        return self.low + raw * (self.high - self.low)


@dataclass(frozen=True)
class AttributeValue:
    """A resolved scalar: the raw number, and whether it was `given`, taken from a `condition`, or a `default`."""

    spec: AttributeSpec
    raw: float
    origin: str

    @property
    def word(self) -> str:
        """The choice that it is; empty where its raw number is none of them."""
        return next((word for word, number in self.spec.choices.items() if number == self.raw), "")

    def as_dict(self) -> dict[str, Any]:
        human = self.spec.to_human(self.raw)
        return {
            "name": self.spec.name,
            "raw": self.raw,
            "value": round(human, 6) if isinstance(human, float) else human,
            "unit": self.spec.unit,
            "origin": self.origin,
        }


def resolve(
    specs: Iterable[AttributeSpec],
    human: Mapping[str, float | str] | None = None,
    raw: Mapping[str, float] | None = None,
    conditions: Iterable[Condition] = (),
) -> tuple[AttributeValue, ...]:
    """Settle every scalar of a backbone: given, else measured on the conditions, else the pack's default."""
    specs, conditions = tuple(specs), tuple(conditions)
    known = {spec.name for spec in specs}
    by_human = {canonical_name(name, known): value for name, value in (human or {}).items()}
    by_raw = {canonical_name(name, known): value for name, value in (raw or {}).items()}
    for name in [*by_human, *by_raw]:
        if name not in known:
            raise VcmError(
                Code.ATTRIBUTE,
                f"This model has no attribute {name}; it has {', '.join(sorted(known)) or 'none'}"
                f"{did_you_mean(name, known)}.",
            )
    values = []
    for spec in specs:
        if spec.name in by_human and spec.name in by_raw:
            raise VcmError(Code.ATTRIBUTE, f"{spec.title} was given twice: in {spec.unit or 'words'} and raw.")
        if spec.name in by_raw:
            number = _finite(spec.title, by_raw[spec.name])
            beyond = "" if spec.choices or 0 <= number <= 1 else ", beyond 0 to 1, where the model was trained"
            values.append(AttributeValue(spec, number, f"given raw{beyond}"))
        elif spec.name in by_human:
            values.append(AttributeValue(spec, spec.to_raw(by_human[spec.name]), "given"))
        else:
            values.append(_follow(spec, conditions))
    return tuple(values)


def _follow(spec: AttributeSpec, conditions: tuple[Condition, ...]) -> AttributeValue:
    for condition in conditions:
        inside = spec.measured_by(condition.spec)
        if inside:
            # As drawn, where that is known: a mask is a little thicker on a coarser grid.
            voxel_ml = condition.volume.grid.voxel_ml
            measured = {c.name: int(condition.structure(c.name).sum()) * voxel_ml for c in inside}
            ml = sum(condition.drawn_ml.get(name, on_grid) for name, on_grid in measured.items())
            return spec.following(ml, condition.spec.name)
    return AttributeValue(spec, spec.default, "default")


def _is_same(given: float | str, word: str) -> bool:
    """Whether a word was given, in any case, or the number that it stands for."""
    if str(given).strip().lower() == word.lower():
        return True
    try:
        return float(given) == float(word)
    except (TypeError, ValueError):
        return False


def _finite(title: str, value: float | str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise VcmError(Code.ATTRIBUTE, f"{title} must be a number, not {value!r}.")
    return number
