"""Where voxels lie: a shape and an affine from voxel index to RAS millimetres."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vcm.core.errors import Code, VcmError


@dataclass(frozen=True, eq=False)
class Grid:
    """A voxel grid in the patient's space.

    `affine` maps a voxel index `(i, j, k, 1)` to millimetres that grow to the patient's Right, Anterior, Superior.

    >>> grid = Grid((80, 112, 80), [[-2, 0, 0, 79], [0, 2, 0, -122.5], [0, 0, 2, -63.5], [0, 0, 0, 1]])
    >>> grid.orientation, grid.spacing
    ('LAS', (2.0, 2.0, 2.0))
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64] = field(repr=False)

    def __init__(self, shape: ArrayLike, affine: ArrayLike) -> None:
        shape_tuple = tuple(int(n) for n in np.asarray(shape).ravel())
        matrix = np.array(affine, dtype=np.float64)
        if len(shape_tuple) != 3 or min(shape_tuple) < 1:
            raise VcmError(Code.GEOMETRY, f"A grid needs three sizes of at least 1, not {shape_tuple}.")
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise VcmError(Code.GEOMETRY, "A grid needs a 4×4 affine of finite numbers.")
        if abs(np.linalg.det(matrix[:3, :3])) < 1e-9 or not np.allclose(matrix[3], (0, 0, 0, 1)):
            raise VcmError(Code.GEOMETRY, "The affine of a grid must be invertible and end in the row 0 0 0 1.")
        matrix.setflags(write=False)
        object.__setattr__(self, "shape", shape_tuple)
        object.__setattr__(self, "affine", matrix)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between voxel centres along each array axis."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def orientation(self) -> str:
        """The nearest anatomical direction in which each array axis grows, for example `LAS`."""
        directions = self.affine[:3, :3] / np.asarray(self.spacing)
        letters, free = [""] * 3, {0, 1, 2}
        for axis in np.argsort(-np.abs(directions).max(axis=0)):
            world = max(free, key=lambda row: abs(directions[row, axis]))
            free.discard(world)
            letters[axis] = ("RL", "AP", "SI")[world][0 if directions[world, axis] > 0 else 1]
        return "".join(letters)

    @property
    def left_right(self) -> int:
        """The array axis nearest to the line from left to right: an image is mirrored by flipping it."""
        return next(axis for axis, letter in enumerate(self.orientation) if letter in "LR")

    @property
    def lower_face(self) -> tuple[int, int]:
        """The face of the field of view towards the feet: its array axis, and the first index (0) or the last (-1)."""
        axis = next(axis for axis, letter in enumerate(self.orientation) if letter in "SI")
        return axis, 0 if self.orientation[axis] == "S" else -1

    @property
    def obliqueness(self) -> float:
        """The largest angle, in degrees, between an array axis and its nearest anatomical direction."""
        directions = np.abs(self.affine[:3, :3] / np.asarray(self.spacing))
        return float(np.degrees(np.arccos(np.clip(directions.max(axis=0), 0, 1))).max())

    @property
    def centre(self) -> NDArray[np.float64]:
        """Millimetres of the middle of the field of view."""
        return self.to_world((np.asarray(self.shape) - 1) / 2)

    def to_world(self, voxel: ArrayLike) -> NDArray[np.float64]:
        """Millimetres (RAS) of voxel indices; the last axis of `voxel` has length 3."""
        return np.asarray(voxel, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_voxel(self, world: ArrayLike) -> NDArray[np.float64]:
        """Continuous voxel indices of millimetres (RAS)."""
        inverse = np.linalg.inv(self.affine)
        return np.asarray(world, dtype=np.float64) @ inverse[:3, :3].T + inverse[:3, 3]

    def downsampled(self, shape: ArrayLike) -> Grid:
        """The Grid of another shape that covers the same field of view, such as that of a latent."""
        target = np.asarray(shape, dtype=int)
        factor = np.asarray(self.shape) / target
        step = np.diag([*factor, 1.0])
        step[:3, 3] = (factor - 1) / 2
        return Grid(target, self.affine @ step)

    def same_as(self, other: Grid, tolerance_mm: float = 1e-3) -> bool:
        """Whether both grids have one shape and their corners lie within `tolerance_mm` of each other."""
        if self.shape != other.shape:
            return False
        ends = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1).T
        return bool(np.abs(self.to_world(ends) - other.to_world(ends)).max() <= tolerance_mm)

    def as_dict(self) -> dict[str, Any]:
        return {"shape": list(self.shape), "affine": self.affine.tolist()}
