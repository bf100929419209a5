"""Which labels of a whole head each voxel may have, after what was drawn: within a structure one of its labels, outside
it none of them. So one structure, the union of several and nothing at all are one case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vcm.anatomy.structures import cohort_labels
from vcm.conditions.condition import Condition, Kind

Bits = NDArray[np.uint32]
"""Bit n of a voxel says whether it may have the label n; 0 is the background."""


@dataclass(frozen=True, eq=False)
class GivenStructure:
    """A structure that was drawn as a whole: the labels that it may consist of, and its mask `[i, j, k]`."""

    labels: frozenset[int]
    mask: NDArray[np.bool_]


def given_structures(conditions: Iterable[Condition], known: Iterable[int]) -> list[GivenStructure]:
    """The structures that conditions give, of the labels that are `known`.

    A mask gives its structure also where it is empty; a label map gives the classes that occur in it.
    """
    every, found = frozenset(known), []
    for condition in conditions:
        if condition.spec.kind is Kind.IMAGE:
            continue
        for entry in condition.spec.classes:
            labels = every & set(cohort_labels(entry.name, entry.segmenter))
            mask = condition.structure(entry.name)
            if labels and (condition.spec.kind is Kind.MASK or mask.any()):
                found.append(GivenStructure(labels, mask))
    return found


def possible_labels(given: Sequence[GivenStructure], shape: Sequence[int], known: Iterable[int]) -> Bits:
    """The labels that each voxel may have: never none.

    Where masks contradict each other, the one of fewer labels counts, and of two alike the first: a drawn ventricle is
    one beyond a drawn brain's border too.
    """
    bits = np.full(tuple(shape), _bits([0, *known]), np.uint32)
    for structure in sorted(given, key=lambda structure: len(structure.labels)):
        own = _bits(structure.labels)
        left = np.where(structure.mask, bits & own, bits & ~own)
        bits = np.where(left != 0, left, bits)
    return bits


def planes(bits: Bits, labels: int) -> NDArray[np.bool_]:
    """`[labels, i, j, k]`: whether each voxel may have each of so many labels, from 0 on."""
    return np.stack([(bits >> np.uint32(label)) & np.uint32(1) for label in range(labels)]).astype(bool)


def _bits(labels: Iterable[int]) -> np.uint32:
    return np.uint32(sum(1 << label for label in labels))
