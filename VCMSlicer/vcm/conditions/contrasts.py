"""One layout in several contrasts: which are asked for, and what their files are called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from vcm.conditions.attributes import CONTRAST, AttributeSpec, AttributeValue, canonical_name, resolve
from vcm.conditions.condition import Condition

LONGEST_LABEL = 40


def asked_contrasts(specs: Iterable[AttributeSpec], human: Mapping[str, float | str]) -> tuple[AttributeValue, ...]:
    """A value for each contrast of a backbone where all are asked for, else none."""
    specs = tuple(specs)
    known = {spec.name for spec in specs}
    for spec in specs:
        if spec.role == CONTRAST and any(spec.is_all(human[n]) for n in human if canonical_name(n, known) == spec.name):
            return tuple(AttributeValue(spec, raw, "given") for raw in spec.choices.values())
    return ()


def resolve_contrasts(
    specs: Iterable[AttributeSpec],
    human: Mapping[str, float | str],
    raw: Mapping[str, float],
    conditions: Iterable[Condition] = (),
) -> tuple[tuple[AttributeValue, ...], tuple[AttributeValue, ...]]:
    """As `resolve`, and the contrasts to be made where all are asked for: the first of them stands among the values."""
    specs = tuple(specs)
    known = {spec.name for spec in specs}
    given = {canonical_name(name, known): value for name, value in human.items()}
    contrasts = asked_contrasts(specs, given)
    first = {value.spec.name: value.word for value in contrasts[:1]}
    return resolve(specs, {**given, **first}, raw, conditions), contrasts


def contrast_of(values: Iterable[AttributeValue], otherwise: str = "") -> str:
    """What an image with these attributes shows; `otherwise` where none of them names it."""
    return next((value.word for value in values if value.spec.role == CONTRAST and value.word), otherwise)


def file_labels(contrasts: Sequence[AttributeValue]) -> tuple[str, ...]:
    """What stands for each contrast in the names of files: its letters and digits, or its place where those of two are
    alike, also on systems that do not tell capitals.

    >>> spec = AttributeSpec("class", "Class", choices={"T1w": 0, "T2w skull-stripped": 1, "../x": 2}, role=CONTRAST)
    >>> file_labels(asked_contrasts([spec], {"class": "all"}))
    ('T1w', 'T2w-skull-stripped', 'x')
    """
    labels = [re.sub(r"[^A-Za-z0-9]+", "-", value.word).strip("-")[:LONGEST_LABEL] for value in contrasts]
    if all(labels) and len({label.lower() for label in labels}) == len(labels):
        return tuple(labels)
    return tuple(f"contrast{place}" for place in range(1, len(labels) + 1))
