"""Previews at a fraction of a decode: a linear map from latent to image, fitted to one image that was decoded."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from vcm.models.backbones.backbone import Backbone

REACH = 3
"""Voxels of the latent along each axis that a block of the image follows from."""
ALIKE = 0.9
"""The share of an image's variance that the map must explain, or images go on being decoded."""
RIDGE = 1e-5


class Previews:
    """Images of latents for the eye alone, on the CPU.

    The first is decoded. By least squares it shows how each block of the image, as large as a voxel of the latent,
    follows from the nearest 3³ of what the decoder was given; the next images are made by that. Where the first is not
    well explained so, or its size is no multiple of the latent's, every image is decoded.
    """

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self._maps: dict[float | None, Tensor | None] = {}

    @torch.no_grad()
    def image(self, latent: Tensor, scale_factor: float | None, decode: Callable[[Tensor], Tensor]) -> Tensor:
        """The image `[i, j, k]` of one latent `[C, x, y, z]`; `decode` makes the exact one."""
        given = self._backbone.decoder_input(latent[None], scale_factor).float().cpu()
        found = self._maps.get(scale_factor)
        if found is not None:
            with torch.autocast("cpu", enabled=False):
                return _joined(_neighbours(given) @ found, given.shape[2:], self._blocks(given))
        image = decode(latent)
        if scale_factor not in self._maps:
            self._maps[scale_factor] = self._fit(given, image.float().cpu())
        return image

    def _blocks(self, given: Tensor) -> tuple[int, ...]:
        return tuple(n // m for n, m in zip(self._backbone.grid.shape, given.shape[2:], strict=True))

    def _fit(self, given: Tensor, image: Tensor) -> Tensor | None:
        block = self._blocks(given)
        if tuple(image.shape) != tuple(n * m for n, m in zip(block, given.shape[2:], strict=True)):
            return None
        columns, wanted = _neighbours(given).double(), _split(image, block).double()
        gram = columns.T @ columns
        gram.diagonal().add_(RIDGE * gram.diagonal().mean())
        weights = torch.linalg.solve(gram, columns.T @ wanted)
        left = (columns @ weights - wanted).square().sum() / (wanted - wanted.mean()).square().sum()
        return weights.float() if bool(left < 1 - ALIKE) else None


def _neighbours(given: Tensor) -> Tensor:
    """`[positions, C·3³ + 1]`: what lies around each voxel of a latent `[1, C, x, y, z]`, and a one."""
    around = functional.pad(given, (REACH // 2,) * 6, mode="replicate")
    for axis in (2, 3, 4):
        around = around.unfold(axis, REACH, 1)
    columns = around.permute(0, 2, 3, 4, 1, 5, 6, 7).reshape(-1, given.shape[1] * REACH**3)
    return torch.cat([columns, torch.ones(len(columns), 1)], dim=1)


def _split(image: Tensor, block: tuple[int, ...]) -> Tensor:
    """`[positions, voxels of a block]`."""
    sizes = [part for n, m in zip(image.shape, block, strict=True) for part in (n // m, m)]
    return image.reshape(sizes).permute(0, 2, 4, 1, 3, 5).reshape(-1, block[0] * block[1] * block[2])


def _joined(blocks: Tensor, places: tuple[int, ...], block: tuple[int, ...]) -> Tensor:
    """The image of which `_split` makes these blocks."""
    whole = [n * m for n, m in zip(places, block, strict=True)]
    return blocks.reshape(*places, *block).permute(0, 3, 1, 4, 2, 5).reshape(whole)
