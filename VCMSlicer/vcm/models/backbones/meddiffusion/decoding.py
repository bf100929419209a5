"""Decoding of any size: whole where it fits, else in tiles that overlap and are blended into each other.

GroupNorm and attention make of a tile another image than of the whole, so tiles that only touch leave seams. Here
neighbours share a strip, over which one fades into the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, TypeAlias

import torch
from torch import Tensor

from vcm.models.backbones.meddiffusion.autoencoder import PatchVolumeAutoencoder
from vcm.models.backbones.meddiffusion.local_codes import LocalCodes

Codec: TypeAlias = PatchVolumeAutoencoder | LocalCodes

WHOLE_EDGE = 256
"""A volume of up to so many voxels cubed is decoded whole, as the authors do it; tiles are no longer than that."""

OVERLAP = 64
"""Voxels that neighbouring tiles share."""


def decode_tiled(autoencoder: Codec, codes: Tensor, slab_bytes: int | None = None) -> Tensor:
    """Images of quantised latents `[B, C, i, j, k]`."""
    space = codes.shape[2:]
    tile = largest_tile(autoencoder, space)
    if tile == tuple(space):
        return autoencoder.decode(codes)
    factor = autoencoder.downsample
    starts = [_starts(size, edge, OVERLAP // factor) for size, edge in zip(space, tile, strict=True)]
    total = codes.new_zeros(len(codes), 1, *(size * factor for size in space), dtype=torch.float32)
    weights = torch.zeros_like(total[:1])
    for corner in product(*starts):
        image = autoencoder.decode(codes[_cube(corner, tile)]).float()
        voxels = _cube([low * factor for low in corner], [edge * factor for edge in tile])
        weight = _weight(corner, tile, space, factor).to(image)
        total[voxels] += image * weight
        weights[voxels] += weight
    return total / weights


def largest_tile(autoencoder: Codec, space: Sequence[int]) -> tuple[int, ...]:
    """The latent sizes that are decoded at a time: all of `space`, or the edge of a tile along each axis."""
    i, j, k = space
    edge = WHOLE_EDGE // autoencoder.downsample
    return (i, j, k) if i * j * k <= edge**3 else tuple(min(size, edge) for size in space)


def _cube(corner: Sequence[int], sizes: Sequence[int]) -> Any:
    return (..., *(slice(low, low + size) for low, size in zip(corner, sizes, strict=True)))


def _starts(size: int, edge: int, overlap: int) -> list[int]:
    """Where tiles begin along an axis: spread evenly, neighbours sharing at least `overlap`.

    >>> _starts(64, 32, 8), _starts(32, 32, 8), _starts(40, 32, 8)
    ([0, 16, 32], [0], [0, 8])
    """
    if size <= edge:
        return [0]
    count = -(-(size - overlap) // (edge - overlap))
    return [round(n * (size - edge) / (count - 1)) for n in range(count)]


def _weight(corner: Sequence[int], tile: Sequence[int], space: Sequence[int], factor: int) -> Tensor:
    """How much a tile's voxels count, `[1, 1, …]`: rising and falling evenly where there is a neighbour."""
    weight = torch.ones(1, 1, 1, 1, 1)
    for axis, (low, edge, size) in enumerate(zip(corner, tile, space, strict=True)):
        length = edge * factor
        ramp = ((torch.arange(length) + 0.5) / OVERLAP).clamp(max=1)
        line = torch.ones(length)
        if low > 0:
            line = line * ramp
        if low + edge < size:
            line = line * ramp.flip(0)
        weight = weight * line.reshape([-1 if n == axis + 2 else 1 for n in range(5)])
    return weight
