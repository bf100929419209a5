"""A mean and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def mean_with_interval(values: Iterable[float]) -> tuple[float, float, float]:
    """Mean and its 95 % confidence interval (Student's t); of one value, three times the same.

    >>> [round(x, 3) for x in mean_with_interval([0.7, 0.8, 0.9])]
    [0.8, 0.552, 1.048]
    """
    from scipy import stats

    array = np.asarray(list(values), dtype=float)
    mean = float(array.mean())
    if len(array) < 2:
        return mean, mean, mean
    half = float(stats.t.ppf(0.975, len(array) - 1) * array.std(ddof=1) / len(array) ** 0.5)
    return mean, mean - half, mean + half
