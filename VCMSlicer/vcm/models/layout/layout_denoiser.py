"""The network that forms a head around what is given: it predicts of a noisy latent, at a time, what its process says.

What is given comes as the labels that each voxel may have: so it makes no difference whether one structure was drawn,
the union of several, or nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from vcm.models.backbones.latents import pack, pad_to, unpack
from vcm.models.backbones.local_autoencoder import ChannelNorm, unfold
from vcm.models.layout.block_embedding import BlockEmbedding

PACKING = 2
"""Blocks of so many latent voxels along each axis become channels."""
FREQUENCIES = 32


class LayoutDenoiser(nn.Module):
    """`grid` is the latent's, `attributes` the number of scalars, each of which may be unknown.

    `channels` are the features on the packed grid and on one of half its resolution, `blocks` the residual blocks
    before, on and after the latter. `shown` features at the latent's resolution tell what is given, and `place` ones
    where in the head a place is.
    """

    def __init__(
        self,
        *,
        labels: int,
        grid: Sequence[int],
        attributes: int,
        latent_channels: int = 8,
        channels: Sequence[int] = (56, 88),
        blocks: Sequence[int] = (2, 2, 2),
        shown: int = 24,
        place: int = 8,
    ) -> None:
        super().__init__()
        fine, coarse = channels
        packed, code = latent_channels * PACKING**3, 2 * FREQUENCIES
        self.given = BlockEmbedding(labels, shown)
        self.look = nn.Sequential(nn.SiLU(), nn.Conv3d(shown, shown, 3, padding=1), nn.SiLU())
        self.place = nn.Parameter(torch.randn(1, place, *(size // PACKING for size in grid)))
        self.time = nn.Linear(code, code)
        self.attributes = nn.Linear(2 * attributes, code) if attributes else None
        self.enter = nn.Conv3d(packed + shown * PACKING**3 + place, fine, 1)
        self.before = nn.ModuleList(TimedResidual(fine, code) for _ in range(blocks[0]))
        self.narrow = nn.Conv3d(fine, coarse, 2, stride=2)
        self.deep = nn.ModuleList(TimedResidual(coarse, code) for _ in range(blocks[1]))
        self.attention = Attention(coarse)
        self.widen = nn.Conv3d(coarse, fine * 8, 1)
        self.after = nn.ModuleList(TimedResidual(fine, code) for _ in range(blocks[2]))
        self.leave = nn.Sequential(ChannelNorm(fine), nn.SiLU(), nn.Conv3d(fine, packed, 1))

    def see(self, codes: Tensor, meanings: Tensor) -> Tensor:
        """What is given, as features on the packed grid: the same at every time, so made once a head.

        Voxels `[B, i, j, k]` name rows of `meanings` `[B, P, labels]`, which say which labels they may have.
        """
        return pack(self.look(self.given(codes, meanings)), PACKING)

    def forward(self, latent: Tensor, t: Tensor, seen: Tensor, attributes: Tensor) -> Tensor:
        """The prediction for latents `[B, C, i, j, k]` at times `[B]` in 0–1.

        `attributes` is `[B, n]`, raw; NaN stands for what is not known.
        """
        code = functional.silu(self.time(_waves(t)))
        if self.attributes is not None:
            known = ~attributes.isnan()
            code = code + self.attributes(torch.cat([attributes.nan_to_num(0.5) * known, known.to(t)], dim=1))
        x = self.enter(torch.cat([pack(latent, PACKING), seen, self.place.expand(len(latent), -1, -1, -1, -1)], dim=1))
        for block in self.before:
            x = block(x, code)
        sizes = x.shape[2:]
        y = self.narrow(pad_to(x, [size + size % 2 for size in sizes]))
        for block in self.deep:
            y = block(y, code)
        i, j, k = sizes
        x = x + unfold(self.widen(self.attention(y)))[:, :, :i, :j, :k]
        for block in self.after:
            x = block(x, code)
        return unpack(self.leave(x), PACKING)


class TimedResidual(nn.Module):
    """Two convolutions beside a straight way, scaled and shifted by a code of time and attributes."""

    def __init__(self, channels: int, code: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = ChannelNorm(channels), ChannelNorm(channels)
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)
        self.code = nn.Linear(code, 2 * channels)
        _silence(self.conv2)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        scale, shift = self.code(code)[:, :, None, None, None].chunk(2, dim=1)
        inner = self.norm2(self.conv1(functional.silu(self.norm1(x)))) * (1 + scale) + shift
        added: Tensor = x + self.conv2(functional.silu(inner))
        return added


class Attention(nn.Module):
    """Each place looks at all others, so that both sides of a head know of each other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.ask = nn.Conv3d(channels, 3 * channels, 1)
        self.answer = nn.Conv3d(channels, channels, 1)
        _silence(self.answer)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.ask(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=2)
        found = functional.scaled_dot_product_attention(query, key, value)
        added: Tensor = x + self.answer(found.transpose(1, 2).reshape(x.shape))
        return added


def _waves(t: Tensor) -> Tensor:
    """Sines and cosines of times `[B]` in 0–1, `[B, 2 · FREQUENCIES]`."""
    rates = torch.exp(torch.linspace(0, math.log(1000), FREQUENCIES, device=t.device))
    angles = t.float()[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _silence(layer: nn.Conv3d) -> None:
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
