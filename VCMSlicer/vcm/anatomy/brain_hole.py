"""Where the brain was taken out of an image, and what is put there before an autoencoder sees it."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from vcm.core.grid import Grid

FAINT = 1 / 255
"""Nothing, but for rounding."""

GREY = 0.7
"""About the mean of a brain's voxels in images brought to 0–1."""

BRIDGE = 2
"""A dark way out of the hole that is at most twice as wide, in voxels, does not make it a part of the air."""

GRAIN, GRAIN_BELOW = 0.16, 5
"""How much brighter and darker the grain within a brain is, and how many voxels below the hole's surface it begins."""

LEAST = 0.03
"""The part of an image that a hole fills at least: a brain fills a fifth of a head's, its sinuses a hundredth."""


def brain_hole(image: NDArray[np.float32], grid: Grid) -> NDArray[np.bool_]:
    """Where an image `[i, j, k]` on `grid` is empty because a brain was removed; nowhere if none was.

    That is the largest dark space that comes to no edge of the image but those of the face towards the feet, which it
    reaches through the neck. To any face it may come: a wide head is cut off there, and the brain with it.
    """
    from scipy import ndimage

    empty = image <= FAINT
    cores, _ = ndimage.label(ndimage.binary_erosion(empty, iterations=BRIDGE, border_value=True))
    sizes = np.bincount(cores.ravel())
    sizes[0] = 0
    faces = [(axis, side) for axis in range(image.ndim) for side in (0, -1) if (axis, side) != grid.lower_face]
    for (first, near), (second, far) in combinations(faces, 2):
        if first != second:
            sizes[np.unique(np.take(np.take(cores, far, second), near, first))] = 0
    core = (cores == sizes.argmax()) & (cores > 0)
    hole: NDArray[np.bool_] = ndimage.binary_dilation(core, iterations=BRIDGE, mask=empty)
    return hole if hole.sum() >= LEAST * image.size else np.zeros(image.shape, bool)


def fill_hole(image: NDArray[np.float32], grid: Grid, typical: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """An image of a skull, the hole in it filled from a `typical` head, or with grey; without a hole as it is.

    An autoencoder's latent of a skull around nothing is far from that of the same skull around a brain, also where both
    images are the same: its normalisation looks at the whole image. A typical brain brings the latents near the skull
    close to the true ones. Far from it they need contrasts as strong as those of a brain, which a mean of many brains
    does not have; so a fixed grain is laid over it where the skull is far.
    """
    from scipy import ndimage

    hole = brain_hole(image, grid)
    if not hole.any():
        return image
    brain = np.full(image.shape, GREY, np.float32) if typical is None else typical.copy()
    grain = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(image.shape), 0.8)
    deep = ndimage.distance_transform_edt(hole) > GRAIN_BELOW
    brain[deep] += np.float32(GRAIN) * (grain / grain.std())[deep].astype(np.float32)
    return np.where(hole, brain, image)
