"""The similarity of a registered scan to its reference, which separates a pose that was found from one that was not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vcm.core.volume import Volume
from vcm.registration.optimising import box_around
from vcm.registration.pose import Pose
from vcm.registration.reference import Reference
from vcm.volumes.resampling import resample_image

SPACING_MM = 4.0
BINS = 32


class Judge:
    """Holds poses of one scan against a reference."""

    def __init__(self, image: Volume, reference: Reference) -> None:
        own = reference.image.grid
        grid = box_around(own, SPACING_MM)
        share = resample_image(Volume(reference.core.astype(np.float32), own), grid).array.astype(np.float32)
        core = share > 0.5
        self._theirs = resample_image(Volume(reference.image.array.astype(np.float32), own), grid).array[core]
        self._points = grid.to_world(np.argwhere(core))
        self._brain = own.to_world(np.argwhere(reference.brain)[::7])
        self._scan = resample_image(image, box_around(image.grid, SPACING_MM))
        self._grid = image.grid

    def similarity(self, pose: Pose) -> float:
        """The correlation ratio (Roche 1998) within the reference's brain at 4 mm, 0 to 1: the share of the reference's
        variance that the scan's intensities explain, whatever their scale. 0 where the scan shows nothing there."""
        from scipy import ndimage

        index = self._scan.grid.to_voxel(pose.inverse.moved(self._points))
        own = ndimage.map_coordinates(self._scan.array, index.T, np.float64, order=1)
        return correlation_ratio(own, self._theirs.astype(np.float64))

    def coverage(self, pose: Pose) -> float:
        """The share of the reference's brain that lies within the scan's field of view, 0 to 1."""
        index = self._grid.to_voxel(pose.inverse.moved(self._brain))
        return float(((index >= -0.5) & (index <= np.asarray(self._grid.shape) - 0.5)).all(axis=1).mean())


def correlation_ratio(own: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The share of the variance of `other` that lies between bins of equally many values of `own`.

    >>> values = np.arange(100.0)
    >>> round(correlation_ratio(-values, values), 2), correlation_ratio(np.zeros(100), values)
    (1.0, 0.0)
    """
    if own.size < BINS or np.ptp(own) < 1e-9 or np.ptp(other) < 1e-9:
        return 0.0
    edges = np.unique(np.quantile(own, np.linspace(0, 1, BINS + 1)[1:-1]))
    bins = np.digitize(own, edges)
    counts = np.bincount(bins)
    means = np.bincount(bins, other) / counts.clip(1)
    return float((counts * (means - other.mean()) ** 2).sum() / ((other - other.mean()) ** 2).sum())
