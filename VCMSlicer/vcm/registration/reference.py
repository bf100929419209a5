"""The head that scans are laid on, and the parts of it that are looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from vcm.core.volume import Volume

MARGIN_MM, MARGIN_OF_A_SKULL_MM = 8.0, 20.0
"""How far around the brain images are compared: skull included, face and neck not."""
WITHIN_MM = 4.0
"""How far within the brain it is judged: there the folds and the ventricles are, and no outline that any ball has."""


@dataclass(frozen=True, eq=False)
class Reference:
    """A head where heads should lie: its image in 0–1, where its brain is on the same Grid, and what it is, in words.

    With `hollow` the brain was taken out of the image.
    """

    image: Volume
    brain: NDArray[np.bool_]
    source: str
    hollow: bool = False

    @cached_property
    def around(self) -> NDArray[np.bool_]:
        """Where images are compared to find a pose: the largest piece of the brain with a margin."""
        largest = sitk.RelabelComponent(sitk.ConnectedComponent(_binary(self.brain))) == 1
        return _mask(sitk.BinaryDilate(largest, self._voxels(MARGIN_OF_A_SKULL_MM if self.hollow else MARGIN_MM)))

    @cached_property
    def core(self) -> NDArray[np.bool_]:
        """Where a pose is judged."""
        if self.hollow:
            return self.around
        return _mask(sitk.BinaryErode(_binary(self.brain), self._voxels(WITHIN_MM)))

    @property
    def middle(self) -> NDArray[np.float64]:
        """The centre of the brain, RAS millimetres."""
        return self.image.grid.to_world(np.argwhere(self.brain).mean(axis=0))

    def hollowed(self) -> Reference:
        """The same head without what lies inside the skull, for images of a skull."""
        inside = _mask(sitk.BinaryFillhole(sitk.BinaryDilate(_binary(self.brain), self._voxels(WITHIN_MM))))
        image = Volume(np.where(inside, 0, self.image.array).astype(np.float32), self.image.grid)
        return replace(self, image=image, hollow=True)

    def _voxels(self, mm: float) -> list[int]:
        return [round(mm / spacing) for spacing in self.image.grid.spacing]


def _binary(mask: NDArray[np.bool_]) -> sitk.Image:
    return sitk.GetImageFromArray(mask.astype(np.uint8).T)


def _mask(image: sitk.Image) -> NDArray[np.bool_]:
    return np.ascontiguousarray(sitk.GetArrayFromImage(image).T.astype(bool))
