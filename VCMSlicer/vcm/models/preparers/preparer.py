"""What a preparer offers, and the plain ones: a condition's voxels, or the latent of an image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vcm.conditions.condition import Condition, Kind
from vcm.core.registry import Registry
from vcm.models.backbones.backbone import Backbone

_HELD_AS = {"b1": np.bool_, "u1": np.uint8, "f4": np.float32, "i2": np.int16, "i4": np.int32}
"""Numbers that PyTorch has too; others, and those in the wrong order of bytes, become these or 64-bit floats."""

Finish = Callable[[Tensor, "float | None"], Tensor]
"""Changes finished latents `[B, *latent_shape]`, given the scale factor they will be decoded with."""


class Preparer(ABC):
    """How a condition becomes what a control sees: voxels on the backbone's Grid, or one of its latents."""

    makes_latents = False

    @abstractmethod
    def prepare(self, condition: Condition, backbone: Backbone, device: torch.device) -> Tensor:
        """What the control sees: `[1, channels, i, j, k]`, or `[1, *latent_shape]`."""

    def image_to_encode(self, image: NDArray[np.float32], backbone: Backbone) -> NDArray[np.float32]:
        """Of a preparer that makes latents: the image `[i, j, k]` whose latent the control sees."""
        return image

    def finish(self, conditions: Sequence[Condition], backbone: Backbone, device: torch.device) -> Finish | None:
        """What is done with finished latents for the sake of these conditions; None where nothing is."""
        return None


class Voxels(Preparer):
    """One channel a class of 0 and 1, or the image itself."""

    def prepare(self, condition: Condition, backbone: Backbone, device: torch.device) -> Tensor:
        """`Condition.as_channels` as `[1, channels, i, j, k]`, made on the device.

        The channels of eight classes are 32 times as many bytes as their label map.
        """
        array = condition.volume.array
        there = torch.from_numpy(array.astype(_HELD_AS.get(array.dtype.str[1:], np.float64))).to(device)
        if condition.spec.kind is not Kind.LABELS:
            return there[None, None].float()
        if there.dtype is torch.uint8:
            there = there.int()  # a class may have a value above 255
        return torch.stack([there == structure.value for structure in condition.spec.classes])[None].float()


class ImageLatent(Preparer):
    """The backbone's latent of an image."""

    makes_latents = True

    def prepare(self, condition: Condition, backbone: Backbone, device: torch.device) -> Tensor:
        """`[1, *latent_shape]`."""
        image = self.image_to_encode(condition.as_channels()[0], backbone)
        return backbone.encode(torch.from_numpy(image)[None, None].to(device))


PREPARERS: Registry[type[Preparer]] = Registry(
    "preparers",
    "way to prepare a condition",
    {
        "voxels": "vcm.models.preparers.preparer:Voxels",
        "latent": "vcm.models.preparers.preparer:ImageLatent",
        "head-latent": "vcm.models.preparers.head_latent:HeadLatent",
    },
)
