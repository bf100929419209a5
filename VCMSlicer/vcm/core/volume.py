"""An array together with the place where it lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxel values on a Grid; `array[i, j, k]` lies at `grid.to_world((i, j, k))`.

    >>> import numpy as np
    >>> volume = Volume(np.zeros((4, 5, 6)), Grid((4, 5, 6), np.eye(4)))
    >>> volume.array.shape == volume.grid.shape
    True
    """

    array: NDArray[np.generic]
    grid: Grid

    def __post_init__(self) -> None:
        if self.array.shape != self.grid.shape:
            raise VcmError(
                Code.GEOMETRY,
                f"An array of shape {self.array.shape} cannot lie on a grid of shape {self.grid.shape}.",
            )
