"""Means and correlations with their 95 % confidence intervals; what was not measured is left out, never a 0."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from vcm.judging.mean_interval import mean_with_interval


@dataclass(frozen=True)
class Mean:
    """A mean over `count` values and its 95 % confidence interval (bootstrap); NaN where it cannot be given."""

    mean: float
    low: float
    high: float
    count: int

    def words(self, digits: int = 3) -> str:
        """The mean with its interval.

        >>> mean_of([0.7, 0.8, 0.9]).words(2), mean_of([0.5]).words(2), mean_of([None]).words()
        ('0.80 (0.70–0.90)', '0.50', '–')
        """
        if not self.count:
            return "–"
        if self.count < 2:
            return f"{self.mean:.{digits}f}"
        return f"{self.mean:.{digits}f} ({self.low:.{digits}f}–{self.high:.{digits}f})"


@dataclass(frozen=True)
class Correlation:
    """Pearson's r of `count` pairs and its 95 % confidence interval by Fisher's transformation; NaN where unknown."""

    r: float
    low: float
    high: float
    count: int

    def words(self) -> str:
        """The correlation with its interval.

        >>> correlation_of([1, 2, 3, 4, 5], [1, 3, 2, 5, 4]).words()
        '0.80 (-0.28–0.99)'
        """
        if math.isnan(self.r):
            return "not measurable"
        return f"{self.r:.2f}" + (f" ({self.low:.2f}–{self.high:.2f})" if math.isfinite(self.low) else "")


def mean_of(values: Iterable[float | None]) -> Mean:
    """The mean of what was measured; one value has no interval of its own."""
    known = np.array([value for value in values if value is not None and math.isfinite(value)], dtype=float)
    if not len(known):
        return Mean(math.nan, math.nan, math.nan, 0)
    mean, low, high = mean_with_interval(known)
    return Mean(mean, low, high, len(known)) if len(known) > 1 else Mean(mean, math.nan, math.nan, 1)


def correlation_of(asked: Sequence[float | None], got: Sequence[float | None]) -> Correlation:
    """Pearson's correlation over the pairs of which both are known; a constant side has none."""
    pairs = [(a, b) for a, b in zip(asked, got, strict=True) if _known(a) and _known(b)]
    x, y = np.array(pairs, dtype=float).reshape(-1, 2).T
    if len(pairs) < 2 or not (np.ptp(x) > 0 and np.ptp(y) > 0):
        return Correlation(math.nan, math.nan, math.nan, len(pairs))
    r = float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))
    if len(pairs) < 4 or abs(r) == 1:
        return Correlation(r, math.nan, math.nan, len(pairs))
    half = 1.959964 / math.sqrt(len(pairs) - 3)
    return Correlation(r, math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half), len(pairs))


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
