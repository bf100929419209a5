"""Finds a head in a scan whichever way it is turned and wherever it lies: every turn is tried at every place.

At a coarse spacing the reference's brain is turned through evenly spread rotations, and laid by a fast Fourier
transform on all places of the scan at once. So neither axes that run the wrong way nor a field of view that is off
centre mislead what follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.registration.optimising import box_around
from vcm.registration.pose import Pose
from vcm.registration.reference import Reference
from vcm.volumes.resampling import resample_image

COARSE_MM = 10.0
TURNS = 600
"""So many rotations are at most about 20° from any other."""
BRIGHT_PERCENTILE = 99.0
FAINT = 1e-4
"""A variance below this is that of air."""
BLOCK = 25
"""Rotations between two reports."""

Report = Callable[[float], None]


def likely_poses(image: Volume, reference: Reference, most: int, report: Report = lambda _: None) -> list[Pose]:
    """Where the reference's head is most like what the scan shows, best first, and last the pose without a turn, which
    is what the scan's file says; rigid, to about 20°. None where the scan shows nothing. `report` hears the fraction
    done."""
    scan = _coarse(image)
    if scan is None:
        return []
    head = _Head(reference)
    shape = _fast_shape(scan.grid.shape, head.size)
    from scipy import fft

    seen, squares = fft.rfftn(scan.array, shape), fft.rfftn(scan.array**2, shape)
    found: list[tuple[float, Pose]] = []
    for number, turn in enumerate(rotations(TURNS)):
        values, weights = head.turned(turn)
        mean = float((weights * values).sum())
        centred = weights * (values - np.float32(mean))
        spread = np.sqrt(float((weights * (values - mean) ** 2).sum()))
        window = np.conj(fft.rfftn(weights, shape))
        covariance = fft.irfftn(seen * np.conj(fft.rfftn(centred, shape)), shape)
        variance = fft.irfftn(squares * window, shape) - fft.irfftn(seen * window, shape) ** 2
        similarity = covariance / np.sqrt(np.clip(variance, FAINT, None)) / spread
        place = np.unravel_index(int(similarity.argmax()), shape)
        found.append((float(similarity[place]), head.pose(turn, place, shape, scan.grid)))
        if number % BLOCK == BLOCK - 1:
            report((number + 1) / TURNS)
    unturned = found[0][1]
    best = [pose for _, pose in sorted(found, key=lambda entry: -entry[0])[:most]]
    return best if unturned in best else [*best, unturned]


def rotations(count: int) -> Iterator[NDArray[np.float64]]:
    """Rotation matrices spread evenly (super-Fibonacci spirals, Alexa, CVPR 2022), that of no turn first."""
    from scipy.spatial.transform import Rotation

    yield np.eye(3)
    step = np.arange(count - 1) + 0.5
    inner, outer = np.sqrt(step / (count - 1)), np.sqrt(1 - step / (count - 1))
    one, other = 2 * np.pi * step / np.sqrt(2), 2 * np.pi * step / 1.533751168755204288118041
    quaternions = (inner * np.sin(one), inner * np.cos(one), outer * np.sin(other), outer * np.cos(other))
    yield from Rotation.from_quat(np.stack(quaternions, axis=1)).as_matrix()


class _Head:
    """The reference at the coarse spacing, in a cube around its brain's middle that holds it however it is turned."""

    def __init__(self, reference: Reference) -> None:
        own = reference.image.grid
        self._grid = box_around(own, COARSE_MM)
        self._image = resample_image(Volume(reference.image.array.astype(np.float32), own), self._grid).array
        weights = Volume(reference.around.astype(np.float32), own)
        self._weights = resample_image(weights, self._grid).array
        self._middle = reference.middle
        places = own.to_world(np.argwhere(reference.around))
        radius = float(np.linalg.norm(places - self._middle, axis=1).max())
        self.size = 2 * int(np.ceil(radius / COARSE_MM)) + 1
        steps = np.stack(np.meshgrid(*[np.arange(self.size)] * 3, indexing="ij"), axis=-1)
        self._offsets = (steps - self.size // 2) * COARSE_MM

    def turned(self, turn: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Values and weights (which sum to 1) of the cube once the head in it is turned."""
        from scipy import ndimage

        index = self._grid.to_voxel(self._offsets @ turn + self._middle).reshape(-1, 3).T
        values, weights = (
            ndimage.map_coordinates(array, index, np.float32, order=1).reshape([self.size] * 3)
            for array in (self._image, self._weights)
        )
        return values, weights / np.float32(weights.sum())

    def pose(self, turn: NDArray[np.float64], place: tuple[np.intp, ...], shape: list[int], grid: Grid) -> Pose:
        """From the scan to the reference, where the turned cube's first voxel lies at `place`, counted round."""
        first = np.array([p if p < n else p - around for p, n, around in zip(place, grid.shape, shape, strict=True)])
        middle = grid.to_world(first + self.size // 2)
        matrix = np.eye(4)
        matrix[:3, :3] = turn.T
        matrix[:3, 3] = self._middle - turn.T @ middle
        return Pose(matrix)


def _coarse(image: Volume) -> Volume | None:
    """The scan at the coarse spacing in 0–1; None where it shows nothing."""
    grid = box_around(image.grid, COARSE_MM)
    seen = resample_image(image, grid).array.astype(np.float32).clip(min=0)
    if not (seen > 0).any():
        return None
    bright = float(np.percentile(seen[seen > 0], BRIGHT_PERCENTILE))
    return Volume((seen / bright).clip(0, 1), grid)


def _fast_shape(scan: tuple[int, ...], size: int) -> list[int]:
    from scipy import fft

    return [fft.next_fast_len(n + size, real=True) for n in scan]
