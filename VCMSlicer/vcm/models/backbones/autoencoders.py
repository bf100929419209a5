"""The kinds of autoencoder that a pack may have, and what is asked of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from monai.networks.nets import AutoencoderKL
from torch import Tensor, nn

from vcm.models.backbones import slab_decoding
from vcm.models.backbones.local_autoencoder import SHRINKS, LocalAutoencoder
from vcm.models.backbones.plane_decoding import decode_in_planes, decodes_in_planes

Autoencoder: TypeAlias = AutoencoderKL | LocalAutoencoder

LOCAL = "local"
"""The `kind` of a `LocalAutoencoder` in a manifest; where no kind is named, it is MONAI's `AutoencoderKL`."""

LOCAL_TENSORS = 4
"""How many tensors as large as a stage's widest there are at most while a local autoencoder decodes a slab."""


def build_autoencoder(config: Mapping[str, Any]) -> Autoencoder:
    """The autoencoder of a manifest's `networks.autoencoder`, with fresh weights.

    `include_fc=False`: the published attention has a projection in its file that its forward never uses.
    """
    options = {name: value for name, value in config.items() if name != "kind"}
    if config.get("kind") == LOCAL:
        return LocalAutoencoder(**options)
    return AutoencoderKL(**{"include_fc": False, **options})


def latent_shape(config: Mapping[str, Any], grid: Sequence[int]) -> tuple[float, ...]:
    """Channels and sizes of the latents that an autoencoder makes of images of these sizes; whole where it can."""
    factor = SHRINKS if config.get("kind") == LOCAL else 2 ** (len(config["channels"]) - 1)
    return (config["latent_channels"], *(size / factor for size in grid))


@torch.no_grad()
def decode_in_slabs(autoencoder: Autoencoder, z: Tensor, slab_bytes: int) -> Tensor:
    """`autoencoder.decode(z)` with little memory; the same to rounding."""
    if isinstance(autoencoder, LocalAutoencoder):
        return autoencoder.decode_in_slabs(z, _local_bytes(slab_bytes))
    if decodes_in_planes(autoencoder, z):
        return decode_in_planes(autoencoder, z, slab_bytes)
    return slab_decoding.decode_in_slabs(autoencoder, z, slab_bytes)


def slab_decoding_bytes(autoencoder: Autoencoder, space: Sequence[int], size: int, slab_bytes: int) -> int:
    """What `decode_in_slabs` needs at its peak for one latent over `space`, in numbers of `size` bytes; an estimate."""
    if isinstance(autoencoder, LocalAutoencoder):
        held, plane = autoencoder.slab_elements(space)
        return size * held + LOCAL_TENSORS * max(_local_bytes(slab_bytes), size * plane)
    return slab_decoding.slab_decoding_bytes(autoencoder, space, size, slab_bytes)


def largest_decoder_activation(autoencoder: Autoencoder, space: Sequence[int]) -> int:
    """Elements of the decoder's largest tensor for one latent over `space`."""
    voxels = math.prod(space)
    if isinstance(autoencoder, LocalAutoencoder):
        return autoencoder.largest_activation(voxels)
    largest = 0
    for block in autoencoder.decoder.blocks:
        convolutions = [m for m in block.modules() if isinstance(m, (nn.Conv3d, nn.ConvTranspose3d))]
        if "upsample" in type(block).__name__.lower():
            voxels *= 8
        for conv in convolutions:
            largest = max(largest, max(conv.in_channels, conv.out_channels) * voxels)
    return largest


def _local_bytes(slab_bytes: int) -> int:
    """Few tensors are there at a time and halos are wide, so each may be larger than elsewhere."""
    return slab_bytes * slab_decoding.SLAB_TEMPORARIES // LOCAL_TENSORS
