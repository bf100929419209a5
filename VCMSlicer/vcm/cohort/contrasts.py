"""Several contrasts of the same heads, each a case of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from vcm.cohort.files import IMAGE, SKULL, CaseEntry
from vcm.conditions.attributes import AttributeSpec
from vcm.core.errors import Code, VcmError

Contrasts = Mapping[str, Mapping[str, float]]
"""For each part of a case that is taken for its image, the raw attributes that say what it shows."""


def in_contrasts(entries: Iterable[CaseEntry], contrasts: Contrasts) -> list[CaseEntry]:
    """Each case once for every contrast: by the part that shows it, the attributes that name it.

    The skull image is of the contrast in which the cohort was made; the others have none. No contrasts: as they are.
    """
    found = []
    for entry in entries:
        for part, named in contrasts.items():
            if part not in entry.parts:
                sentence = f"Case {entry.name} has no {part}; it has {', '.join(entry.parts)}."
                raise VcmError(Code.BAD_REQUEST, sentence, "Make the cohort with --contrasts t1,t2,flair.")
            parts = tuple(name for name in entry.parts if part == IMAGE or name != SKULL)
            attributes = {**entry.attributes, **named}
            found.append(replace(entry, attributes=attributes, parts=parts, shown=part))
    return found if contrasts else list(entries)


def contrasts_of(named: Mapping[str, str], attributes: Sequence[AttributeSpec], backbone: str) -> Contrasts:
    """From what a backbone calls each part, such as `{"t2": "T2w"}`, what the part shows."""
    if not named:
        return {}
    for part in ("labels", SKULL):
        if part in named:
            sentence = f"The part {part} of a case shows no contrast of its own."
            raise VcmError(Code.BAD_REQUEST, sentence, "Name parts such as image, t2 and flair.")
    names = set(named.values())
    for spec in attributes:
        if names <= set(spec.choices):
            return {part: {spec.name: spec.choices[name]} for part, name in named.items()}
    raise VcmError(
        Code.BAD_REQUEST,
        f"{backbone} has no attribute with the choices {', '.join(sorted(names))}, which contrasts names.",
        f"See: vcm packs info {backbone}",
    )
