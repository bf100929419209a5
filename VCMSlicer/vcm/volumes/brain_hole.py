"""Where the brain was taken out of an image, and what is put there before an autoencoder sees it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FAINT = 1 / 255
"""Nothing, but for rounding."""

GREY = 0.7
"""About the mean of a brain's voxels in images brought to 0–1."""

LOWER = 2
"""The array axis that runs from the feet to the head; a hole may reach its first face, through the neck."""


def fill_hole(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """An image of a skull `[i, j, k]`, the hole in it filled with grey; an image without a hole as it is.

    An autoencoder's latent of a skull around nothing is far from that of the same skull around a brain, also where both
    images are the same: what it sees far away moves it.
    """
    from scipy import ndimage

    empty, _ = ndimage.label(image <= FAINT)
    sizes = np.bincount(empty.ravel())
    sizes[0] = 0
    for axis in range(image.ndim):
        for side in (-1,) if axis == LOWER else (0, -1):
            sizes[np.unique(np.take(empty, side, axis))] = 0
    if not sizes.any():
        return image
    return np.where(empty == sizes.argmax(), np.float32(GREY), image)
