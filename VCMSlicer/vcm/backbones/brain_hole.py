"""Where the brain was taken out of an image, and what is put there before an autoencoder sees it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vcm.backbones.backbone import Backbone

FAINT = 1 / 255
"""Nothing, but for rounding."""

GREY = 0.7
"""About the mean of a brain's voxels in images brought to 0–1."""

BRIDGE = 2
"""A dark way out of the hole that is at most twice as wide, in voxels, does not make it a part of the air."""

GRAIN, GRAIN_BELOW = 0.16, 5
"""How much brighter and darker the grain within a brain is, and how many voxels below the hole's surface it begins."""

LOWER = 2
"""The array axis that runs from the feet to the head; a hole may reach its first face, through the neck."""


def brain_hole(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where an image `[i, j, k]` is empty because a brain was removed; nowhere if none was."""
    from scipy import ndimage

    empty = image <= FAINT
    cores, _ = ndimage.label(ndimage.binary_erosion(empty, iterations=BRIDGE, border_value=True))
    sizes = np.bincount(cores.ravel())
    sizes[0] = 0
    for axis in range(image.ndim):
        for side in (-1,) if axis == LOWER else (0, -1):
            sizes[np.unique(np.take(cores, side, axis))] = 0
    if not sizes.any():
        return np.zeros(image.shape, bool)
    hole: NDArray[np.bool_] = ndimage.binary_dilation(cores == sizes.argmax(), iterations=BRIDGE, mask=empty)
    return hole


def with_brain(image: NDArray[np.float32], backbone: Backbone) -> NDArray[np.float32]:
    """An image of a skull on the backbone's Grid with the backbone's typical brain in it."""
    typical = backbone.typical_image()
    return fill_hole(image, None if typical is None else typical[0, 0].float().numpy())


def fill_hole(image: NDArray[np.float32], typical: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """An image of a skull, the hole in it filled from a `typical` head, or with grey; without a hole as it is.

    An autoencoder's latent of a skull around nothing is far from that of the same skull around a brain, also where both
    images are the same: its normalisation looks at the whole image. A typical brain brings the latents near the skull
    close to the true ones. Far from it they need contrasts as strong as those of a brain, which a mean of many brains
    does not have; so a fixed grain is laid over it where the skull is far.
    """
    from scipy import ndimage

    hole = brain_hole(image)
    if not hole.any():
        return image
    brain = np.full(image.shape, GREY, np.float32) if typical is None else typical.copy()
    grain = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(image.shape), 0.8)
    deep = ndimage.distance_transform_edt(hole) > GRAIN_BELOW
    brain[deep] += np.float32(GRAIN) * (grain / grain.std())[deep].astype(np.float32)
    return np.where(hole, brain, image)
