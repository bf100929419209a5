"""Finds the wanted structures in a file's label values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vcm.anatomy.structures import SEGMENTER_CLASSES, cohort_labels
from vcm.conditions.condition import ConditionSpec
from vcm.conditions.doctor.notebook import Notebook
from vcm.conditions.label_readings import CLASS_NUMBERS, best_reading
from vcm.volumes.label_values import label_counts, replaced

MOST_LISTED = 12


def whole_labels(array: NDArray[np.generic], notes: Notebook) -> NDArray[np.integer] | None:
    """The array as integers; None, with an error, where it holds fractions.

    Integers keep their type, so that a large map of small numbers stays small.
    """
    if array.dtype.kind == "b":
        return array.view(np.uint8)
    if array.dtype.kind in "iu":
        return array  # type: ignore[return-value]
    fractions = int((array != np.rint(array)).sum())
    if fractions or float(np.abs(array).max()) >= 2**53:
        low, high = float(array.min()), float(array.max())
        notes.error(
            "NOT_LABELS",
            f"{notes.who} holds {fractions:,} voxels that are not whole numbers (from {low:g} to {high:g}); a mask or "
            "label map has one whole number a voxel.",
            "If it is a probability map, threshold it at half its maximum; if it is an image, segment it first.",
        )
        return None
    return array.astype(np.int64)


def pick_mask(
    spec: ConditionSpec,
    labels: NDArray[np.integer],
    names: Mapping[int, str],
    label: int | str | None,
    notes: Notebook,
) -> NDArray[np.uint8] | None:
    """The one structure of a mask condition as 0/1: the labels asked for, or the only one there is."""
    counts = label_counts(labels)
    if not counts:
        return labels.astype(np.uint8)
    wanted: Mapping[Any, int | None] = {value: value for value in counts}
    if label is not None:
        wanted = _numbers(label, names)
    elif len(counts) > 1:
        like = _named_like(spec, counts, names)
        if not like:
            _ask_which(spec, counts, names, notes)
            return None
        were, by = ("was", "its name") if len(like) == 1 else ("were", "their names")
        taken = ", ".join(names[value] for value in like)
        notes.note(
            "MATCHED_BY_NAME",
            f"Of the segments in {notes.who}, {taken} {were} taken for {spec.name} by {by}.",
            f"To take another one, name it: {spec.name}=FILE:LABEL.",
        )
        wanted = {value: value for value in like}
    missing = [str(part) for part, value in wanted.items() if value not in counts]
    if missing:
        notes.error(
            "LABEL_MISSING",
            f"{notes.who} holds no label {' or '.join(missing)}; it holds {listed(counts, names)}.",
            f"Name one of them: {spec.name}=FILE:LABEL.",
        )
        return None
    chosen = np.array(sorted({value for value in wanted.values() if value is not None}))
    return replaced(labels, chosen, np.ones(len(chosen), np.uint8))


def map_classes(
    spec: ConditionSpec, labels: NDArray[np.integer], names: Mapping[int, str], notes: Notebook
) -> NDArray[np.integer] | None:
    """The labels of a label map condition as the model's class values; what the model does not know becomes 0."""
    counts = label_counts(labels)
    if not counts:
        return labels
    table = _reading(spec, counts, names, notes)
    unknown = {value: n for value, n in counts.items() if value not in table}
    known = ", ".join(f"{c.value} {c.name}" for c in spec.classes)
    if len(unknown) == len(counts):
        notes.error(
            "NO_KNOWN_LABEL",
            f"{notes.who} holds no label that the model knows: it has {listed(counts, names)}; the model knows "
            f"{known}.",
            "Change the label values, or name the segments as the model's classes are named.",
        )
        return None
    if unknown:
        notes.warning(
            "UNKNOWN_LABELS",
            f"{notes.who} holds labels that the model does not know, which count as background: "
            f"{listed(unknown, names)}.",
            f"The model knows {known}.",
        )
    read, targets = (np.array(column) for column in zip(*sorted(table.items()), strict=True))
    return replaced(labels, read, targets)


def listed(counts: Mapping[int, int], names: Mapping[int, str]) -> str:
    """Labels with their names and voxel counts, for a sentence.

    >>> listed({4: 1200, 43: 1100}, {4: "left ventricle"})
    '4 left ventricle (1,200 voxels), 43 (1,100 voxels)'
    """
    parts = [f"{v}{' ' + names[v] if v in names else ''} ({n:,} voxels)" for v, n in counts.items()]
    more = f" and {len(parts) - MOST_LISTED} more" if len(parts) > MOST_LISTED else ""
    return ", ".join(parts[:MOST_LISTED]) + more


def _ask_which(spec: ConditionSpec, counts: Mapping[int, int], names: Mapping[int, str], notes: Notebook) -> None:
    structures = {value for c in spec.classes for value in c.segmenter} & set(counts)
    example = ",".join(str(value) for value in sorted(structures)) or str(max(counts, key=lambda value: counts[value]))
    notes.error(
        "WHICH_LABEL",
        f"{notes.who} holds {len(counts)} labels, and {spec.name} is one structure: {listed(counts, names)}.",
        f"Say which one is meant, by number or segment name: {spec.name}=FILE:{example} (several: 4,43).",
    )


def _named_like(spec: ConditionSpec, counts: Mapping[int, int], names: Mapping[int, str]) -> list[int]:
    """The one label that is named as the condition or its class is, or those of the structures that it is made of."""
    there = {value: _plain(name) for value, name in names.items() if value in counts}
    titles = {_plain(spec.name), *(_plain(c.name) for c in spec.classes)}
    if direct := [value for value, name in there.items() if name in titles]:
        return direct if len(direct) == 1 else []
    parts = _parts_of(spec)
    made = [value for value, name in there.items() if name in parts]
    return made if len({there[value] for value in made}) == len(made) else []


def _numbers(label: int | str, names: Mapping[int, str]) -> dict[str, int | None]:
    """What was asked for and the label value it means, or None where no segment has that name."""
    by_name = {_plain(name): value for value, name in names.items()}
    text = str(label)
    parts = [text] if _plain(text) in by_name else [part.strip() for part in text.split(",")]
    numbers: dict[str, int | None] = {}
    for part in parts:
        named = by_name.get(_plain(part))
        numbers[part] = int(part) if named is None and part.removeprefix("-").isdecimal() else named
    return numbers


def _reading(
    spec: ConditionSpec, counts: Mapping[int, int], names: Mapping[int, str], notes: Notebook
) -> Mapping[int, int]:
    """The file's label values and the model's: by segment names, else by the numbering that explains most of it."""
    by_title = _parts_of(spec) | {_plain(c.name): c.value for c in spec.classes}
    by_name = {v: by_title[_plain(n)] for v, n in names.items() if v in counts and _plain(n) in by_title}
    if by_name:
        if any(value != target for value, target in by_name.items()):
            notes.note(
                "MATCHED_BY_NAME",
                f"The segments of {notes.who} were matched to the model's classes by their names.",
                "Nothing needs to be done; look at what the model sees.",
            )
        return by_name
    best = best_reading(spec, counts)
    if best.numbers != CLASS_NUMBERS:
        notes.warning(
            "OTHER_NUMBERS",
            f"{notes.who} was read as labels of {best.numbers} rather than as the model's classes, as that explains "
            "more of it.",
            "Look at what the model sees; give class values if that was meant.",
        )
    return best.table


def _parts_of(spec: ConditionSpec) -> dict[str, int]:
    """The class that each structure is a part of, by the structure's name: a completed head has them apart."""
    return {
        _plain(SEGMENTER_CLASSES[label][0]): entry.value
        for entry in spec.classes
        for label in cohort_labels(entry.name)
        if not entry.segmenter or label in entry.segmenter
    }


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").split())
