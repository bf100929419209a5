"""The Fréchet distance between two sets of images, seen through the features of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FrechetDistance:
    """The distance, how many features, how many vectors of them in either set; `remark` says how reliable it is."""

    value: float | None
    dimensions: int
    counts: tuple[int, int]
    remark: str = ""


def frechet_distance(a: NDArray[Any], b: NDArray[Any]) -> FrechetDistance:
    """Compare two sets of feature vectors `[n, d]` as Gaussians: |μ_a − μ_b|² + tr(Σ_a + Σ_b − 2(Σ_aΣ_b)^½).

    MONAI's FIDMetric takes the root of the d × d product, which is singular where there are fewer images than
    features and slow where there are thousands of features. With Σ = XᵀX of the centred features, the trace of the
    root is the sum of the singular values of X_a·X_bᵀ: exact in both cases, and never larger than it need be.

    >>> a = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    >>> round(frechet_distance(a, a + [3.0, 4.0]).value, 9)
    25.0
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    counts, dimensions = (len(a), len(b)), int(a.shape[1])
    if min(counts) < 2:
        return FrechetDistance(None, dimensions, counts, "not measured: a distance needs two images on either side")
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    x, y = (a - mean_a) / (len(a) - 1) ** 0.5, (b - mean_b) / (len(b) - 1) ** 0.5
    root = np.linalg.svd(_core(x) @ _core(y).T, compute_uv=False).sum()
    value = np.square(mean_a - mean_b).sum() + np.square(x).sum() + np.square(y).sum() - 2 * root
    return FrechetDistance(max(float(value), 0.0), dimensions, counts, _trust(counts, dimensions))


def _core(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows with the same XᵀX, no more of them than columns."""
    return np.asarray(np.linalg.qr(x, mode="r")) if len(x) > x.shape[1] else x


def _trust(counts: tuple[int, int], dimensions: int) -> str:
    n = min(counts)
    counted = f"n = {n}" if counts[0] == counts[1] else f"n = {counts[0]} and {counts[1]}"
    if n > dimensions:
        return f"{counted}, {dimensions} features"
    return f"{counted} is no more than the {dimensions} features: biased upwards, compare only sets of the same size"
