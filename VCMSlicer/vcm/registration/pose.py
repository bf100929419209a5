"""A pose: the affine that carries a scan onto a reference head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vcm.core.grid import Grid
from vcm.core.volume import Volume


@dataclass(frozen=True, eq=False)
class Pose:
    """The affine from a scan's own millimetres to the reference's, both RAS.

    >>> pose = Pose(np.array([[1.0, 0, 0, 5], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]))
    >>> round(pose.degrees), pose.shift_of(np.zeros(3))
    (90, 5.0)
    """

    matrix: NDArray[np.float64]

    @classmethod
    def nowhere(cls) -> Pose:
        """The pose that leaves everything where it is."""
        return cls(np.eye(4))

    @property
    def inverse(self) -> Pose:
        """From the reference's millimetres back to the scan's."""
        return Pose(np.linalg.inv(self.matrix).astype(np.float64))

    def applied(self, volume: Volume) -> Volume:
        """The same voxels where they lie in the reference's space."""
        return Volume(volume.array, Grid(volume.grid.shape, self.matrix @ volume.grid.affine))

    @property
    def degrees(self) -> float:
        """By how much it turns."""
        left, _, right = np.linalg.svd(self.matrix[:3, :3])
        return float(np.degrees(np.arccos(np.clip((np.trace(left @ right) - 1) / 2, -1, 1))))

    @property
    def scales(self) -> tuple[float, float]:
        """The smallest and the largest factor by which it stretches."""
        stretch = np.linalg.svd(self.matrix[:3, :3], compute_uv=False)
        return float(stretch.min()), float(stretch.max())

    def moved(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where points of the scan's space, `[n, 3]`, come to lie."""
        return points @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    def shift_of(self, point: NDArray[np.float64]) -> float:
        """How far it moves a point of the scan's space, millimetres."""
        return float(np.linalg.norm(self.moved(point[None])[0] - point))
