"""A finished latent is moved to where its image shows what image conditions show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vcm.anatomy.brain_hole import BRIDGE, FAINT, brain_hole
from vcm.conditions.condition import Condition
from vcm.core.grid import Grid
from vcm.models.backbones.backbone import Backbone
from vcm.volumes.resampling import resample_image


class ImageMatcher:
    """z + E(x′) − E(x), where x is the image of the latent z, and x′ the same with the given images' voxels put in.

    A decoder's normalisation looks at the whole image, so it paints the same skull otherwise around another brain, and
    no encoding of the skull alone can foresee how. The image itself tells. Of two encodings only the difference is
    taken over, so that what was not given stays as it was sampled.

    A strength below 1 and a region go that part of the way. Inside the hole that the brain left, nothing is given, and
    a place of the latent that reaches into it stays as it was: the brain's outline runs through those.
    """

    def __init__(self, backbone: Backbone, conditions: Sequence[Condition], device: torch.device | str = "cpu") -> None:
        self.backbone = backbone
        self._given: list[tuple[Tensor, Tensor]] = []
        hidden = np.ones(backbone.grid.shape, bool)
        for condition in conditions:
            channels = condition.as_channels()
            shown = _is_shown(channels[0], backbone.grid)
            hidden &= ~shown
            weight = torch.from_numpy(shown * _strength(condition, backbone))[None, None].to(device)
            self._given.append((torch.from_numpy(channels)[None].to(device), weight))
        self._hidden = torch.from_numpy(hidden.astype(np.float32))[None, None].to(device)

    def __call__(self, latent: Tensor, scale_factor: float | None = None) -> Tensor:
        """The moved latents `[B, *latent_shape]`; `scale_factor` is what they are decoded with."""
        return torch.cat([self._moved(one[None], scale_factor) for one in latent])

    def _moved(self, latent: Tensor, scale_factor: float | None) -> Tensor:
        image = self.backbone.decode(latent, scale_factor)
        wanted = image
        for given, weight in self._given:
            wanted = torch.lerp(wanted, given, weight)
        step = self.backbone.encode(wanted).float() - self.backbone.encode(image).float()
        wholly_shown = functional.adaptive_max_pool3d(self._hidden, step.shape[2:]) == 0
        own = self.backbone.scale_factor
        return latent + step * wholly_shown * ((scale_factor or own) / own)


def _strength(condition: Condition, backbone: Backbone) -> NDArray[np.float32]:
    """How far each voxel is taken over where it is shown."""
    strength = np.full(backbone.grid.shape, min(condition.strength, 1.0), np.float32)
    if condition.region is not None:
        strength *= np.asarray(resample_image(condition.region, backbone.grid).array, np.float32)
    return strength


def _is_shown(image: NDArray[np.float32], grid: Grid) -> NDArray[np.bool_]:
    """Where the image of a head without its brain says what is there: all bright voxels, and the air around it."""
    from scipy import ndimage

    bright = image > FAINT
    # What `brain_hole` leaves of the hole's corners is no air.
    hole = ndimage.binary_dilation(brain_hole(image, grid), iterations=2 * BRIDGE, mask=~bright)
    return np.asarray(bright | ~hole)
