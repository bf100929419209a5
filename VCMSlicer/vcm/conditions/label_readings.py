"""What the values of a label map may mean as classes of a model."""

from __future__ import annotations

from collections.abc import Mapping

from vcm.conditions.condition import ConditionSpec


def number_readings(spec: ConditionSpec, counts: Mapping[int, int]) -> tuple[dict[int, int], dict[int, int]]:
    """The class of each value that occurs: read as the classes' numbers, and as labels of the model's segmenter."""
    by_number = {c.value: c.value for c in spec.classes if c.value in counts}
    return by_number, {value: c.value for c in spec.classes for value in c.segmenter if value in counts}


def explained(table: Mapping[int, int], counts: Mapping[int, int]) -> int:
    """How many voxels a reading gives a class."""
    return sum(counts[value] for value in table)
