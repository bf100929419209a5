"""What labels an array holds, and their replacement by others: by tables, where the labels are small numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST_IN_A_TABLE = 1 << 16
PART = 1 << 20


def values_and_counts(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The labels that occur, in rising order, and how often, as of `numpy.unique`, many times faster for a volume.

    >>> [part.tolist() for part in values_and_counts(np.array([[3, 0], [3, 500]]))]
    [[0, 3, 500], [1, 2, 1]]
    """
    if not _fit_a_table(labels):
        values, counts = np.unique(labels, return_counts=True)
        return values, counts
    every = np.zeros(int(labels.max()) + 1, np.int64)
    # bincount works on eight bytes a voxel: in parts it needs none to speak of.
    flat = labels.reshape(-1)
    for start in range(0, flat.size, PART):
        found = np.bincount(flat[start : start + PART])
        every[: len(found)] += found
    values = np.flatnonzero(every)
    return values.astype(labels.dtype), every[values]


def label_counts(labels: NDArray[Any]) -> dict[int, int]:
    """How many voxels each label but 0 has.

    >>> label_counts(np.array([0, 4, 4, 43]))
    {4: 2, 43: 1}
    """
    values, counts = values_and_counts(labels)
    return {int(value): int(count) for value, count in zip(values, counts, strict=True) if value}


def replaced(labels: NDArray[Any], old: NDArray[Any], new: NDArray[Any]) -> NDArray[Any]:
    """Each label of the rising `old` replaced by its partner in `new`; any other becomes 0.

    >>> replaced(np.array([[3, 0], [-7, 500]]), np.array([3, 500]), np.array([1, 2])).tolist()
    [[1, 0], [0, 2]]
    """
    if _fit_a_table(labels):
        table = np.zeros(int(labels.max()) + 1, new.dtype)
        inside = (old >= 0) & (old < len(table))
        table[old[inside]] = new[inside]
        result = np.empty(labels.shape, new.dtype)
        for start in range(len(labels)):
            result[start] = table[labels[start]]
        return result
    place = np.searchsorted(old, labels).clip(max=len(old) - 1)
    return np.where(old[place] == labels, new[place], new.dtype.type(0))


def _fit_a_table(labels: NDArray[Any]) -> bool:
    whole = np.issubdtype(labels.dtype, np.integer) and labels.size > 0
    return bool(whole and labels.min() >= 0 and labels.max() < LARGEST_IN_A_TABLE)
