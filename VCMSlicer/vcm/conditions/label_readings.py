"""What the values of a label map may mean as classes of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vcm.anatomy.structures import BEYOND_ASEG, SEGMENTER_CLASSES, cohort_labels
from vcm.conditions.condition import ConditionSpec


@dataclass(frozen=True)
class LabelReading:
    """The class of each value that occurs. `numbers` says whose numbers the values were taken for."""

    numbers: str
    table: Mapping[int, int]

    def explained(self, counts: Mapping[int, int]) -> int:
        """How many voxels it gives a class."""
        return sum(counts[value] for value in self.table)


CLASS_NUMBERS, SEGMENTER_NUMBERS, FREESURFER_NUMBERS = "the model's classes", "the model's segmenter", "FreeSurfer"


def number_readings(spec: ConditionSpec, counts: Mapping[int, int]) -> list[LabelReading]:
    """The values read as each numbering that is known, the classes' own first."""
    readings: dict[str, dict[int, int]] = {CLASS_NUMBERS: {}, SEGMENTER_NUMBERS: {}, FREESURFER_NUMBERS: {}}
    # A structure that is a class of its own goes before one that it is a part of.
    parts = {entry.value: cohort_labels(entry.name, entry.segmenter) for entry in spec.classes}
    for entry in sorted(spec.classes, key=lambda entry: len(parts[entry.value])):
        readings[CLASS_NUMBERS][entry.value] = entry.value
        for value in entry.segmenter:
            readings[SEGMENTER_NUMBERS].setdefault(value, entry.value)
        for label in parts[entry.value]:
            _, numbers = SEGMENTER_CLASSES.get(label, ("", ()))
            for value in (*numbers, *BEYOND_ASEG.get(label, ())):
                readings[FREESURFER_NUMBERS].setdefault(value, entry.value)
    return [
        LabelReading(numbers, {value: target for value, target in table.items() if value in counts})
        for numbers, table in readings.items()
    ]


def best_reading(spec: ConditionSpec, counts: Mapping[int, int]) -> LabelReading:
    """That which explains the most voxels; of several, the first.

    FreeSurfer's numbers count only where they explain two labels more than the classes' own do, or these none: one
    label that happens to be among its hundreds, such as a background of 50, tells nothing.
    """
    own, *others = number_readings(spec, counts)
    able = [
        reading
        for reading in others
        if reading.numbers != FREESURFER_NUMBERS or not own.table or len(reading.table) >= len(own.table) + 2
    ]
    return max((own, *able), key=lambda reading: reading.explained(counts))
