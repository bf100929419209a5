"""What a layout can complete to a whole head, and which control takes that head in place of what was drawn."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from vcm.anatomy.structures import cohort_labels, show
from vcm.conditions.condition import ConditionSpec, Kind


class Taking(Protocol):
    """What is known of a control: its conditions, and whether it takes any part of them or only all."""

    @property
    def conditions(self) -> Sequence[ConditionSpec]:
        """All that it can be given."""

    @property
    def subsets(self) -> bool:
        """Whether some of them may be left out."""


def is_drawable(spec: ConditionSpec) -> bool:
    """Whether a layout can make this condition: structures of a head, and nothing else."""
    return (
        spec.kind is not Kind.IMAGE
        and bool(spec.classes)
        and all(cohort_labels(entry.name, entry.segmenter) for entry in spec.classes)
    )


def is_completed_unasked(given: Collection[ConditionSpec]) -> bool:
    """Whether the rest of a head is completed around this without a word of the user: around structures, unless there
    is an image beside them, which a layout does not look at."""
    return any(map(is_drawable, given)) and not any(spec.kind is Kind.IMAGE for spec in given)


def means_the_same(own: ConditionSpec | None, drawn: ConditionSpec) -> bool:
    """Whether a condition of a control is what was drawn for another one's, its values meaning the same."""
    return own is not None and own.kind is drawn.kind and (own.kind is Kind.MASK or own.classes == drawn.classes)


def completes(control: Taking, given: Collection[ConditionSpec]) -> bool:
    """Whether a control takes what is given, by name or as a part of what it shows, and something beside it."""
    own, names = {spec.name: spec for spec in control.conditions}, {spec.name for spec in given}
    lacking = [spec for spec in control.conditions if spec.name not in names and not is_drawable(spec)]
    return (
        (control.subsets or not lacking)
        and all(
            spec.name in own
            if spec.kind is Kind.IMAGE
            else means_the_same(own.get(spec.name), spec) or _shows(control, spec)
            for spec in given
        )
        and any(is_drawable(s) and (s.kind is Kind.LABELS or s.name not in names) for s in control.conditions)
    )


def labels_of(spec: ConditionSpec) -> set[int]:
    """The labels of a cohort's heads that a condition is made of."""
    return {label for entry in spec.classes for label in cohort_labels(entry.name, entry.segmenter)}


def _shows(control: Taking, drawn: ConditionSpec) -> bool:
    """Whether all that is drawn can be seen in the label maps that a control takes: made of classes that have their
    name from labels of it, as ventricles have, though the third and fourth may count among them."""
    if not is_drawable(drawn):
        return False  # a map would lose the structures that no label of a cohort stands for
    wanted = labels_of(drawn)
    maps = [spec for spec in control.conditions if spec.kind is Kind.LABELS]
    return show([cohort_labels(c.name, c.segmenter) for spec in maps for c in spec.classes], wanted)
