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

from vcm.models.backbones.latents import pad_to
from vcm.models.backbones.local_autoencoder import ChannelNorm, unfold
from vcm.models.layout.block_embedding import BlockEmbedding, drawn

FREQUENCIES = 32


class LayoutDenoiser(nn.Module):
    """`grid` is the latent's, `attributes` the number of scalars, each of which may be unknown.

    `channels` are the features at the latent's resolution, at half and at a quarter of it, `blocks` the residual blocks
    at each of them: on the way down and again on the way up, at the lowest only once. `shown` features tell what is
    given, and `place` ones, at half the resolution, where in the head a place is.
    """

    def __init__(
        self,
        *,
        labels: int,
        grid: Sequence[int],
        attributes: int,
        latent_channels: int = 8,
        channels: Sequence[int] = (32, 64, 96),
        blocks: Sequence[int] = (1, 2, 2),
        shown: int = 24,
        place: int = 8,
    ) -> None:
        super().__init__()
        fine, middle, coarse = channels
        code = 2 * FREQUENCIES
        self.given = BlockEmbedding(labels, shown)
        self.look = nn.Sequential(nn.SiLU(), nn.Conv3d(shown, shown, 3, padding=1), nn.SiLU())
        self.place = nn.Parameter(drawn(1, place, *(-(-size // 2) for size in grid)))
        self.time = nn.Linear(code, code)
        self.attributes = nn.Linear(2 * attributes, code) if attributes else None
        self.enter = nn.Conv3d(latent_channels + shown, fine, 1)
        self.fine_down = _blocks(blocks[0], fine, code)
        self.to_middle = _Narrow(fine, middle, place)
        self.middle_down = _blocks(blocks[1], middle, code)
        self.to_coarse = _Narrow(middle, coarse)
        self.coarse = _blocks(blocks[2], coarse, code)
        self.attention = Attention(coarse)
        self.from_coarse = nn.Conv3d(coarse, middle * 8, 1)
        self.middle_up = _blocks(blocks[1], middle, code)
        self.from_middle = nn.Conv3d(middle, fine * 8, 1)
        self.fine_up = _blocks(blocks[0], fine, code)
        self.leave = nn.Sequential(ChannelNorm(fine), nn.SiLU(), nn.Conv3d(fine, latent_channels, 1))

    def see(self, codes: Tensor, meanings: Tensor) -> Tensor:
        """What is given, as features on the latent's grid: the same at every time, so made once a head.

        Voxels `[B, i, j, k]` name rows of `meanings` `[B, P, labels]`, which say which labels they may have.
        """
        features: Tensor = self.look(self.given(codes, meanings))
        return features

    def forward(self, latent: Tensor, t: Tensor, seen: Tensor, attributes: Tensor) -> Tensor:
        """The prediction for latents `[B, C, i, j, k]` at times `[B]` in 0–1.

        `attributes` is `[B, n]`, raw; NaN stands for what is not known.
        """
        code = functional.silu(self.time(_waves(t)))
        if self.attributes is not None:
            known = ~attributes.isnan()
            code = code + self.attributes(torch.cat([attributes.nan_to_num(0.5) * known, known.to(t)], dim=1))
        fine = _through(self.fine_down, self.enter(torch.cat([latent, seen], dim=1)), code)
        middle = _through(self.middle_down, self.to_middle(fine, self.place), code)
        coarse = self.attention(_through(self.coarse, self.to_coarse(middle), code))
        middle = _through(self.middle_up, _added(middle, self.from_coarse(coarse)), code)
        fine = _through(self.fine_up, _added(fine, self.from_middle(middle)), code)
        predicted: Tensor = self.leave(fine)
        return predicted


class _Narrow(nn.Module):
    """Half the resolution, with features of the place beside it."""

    def __init__(self, given: int, made: int, place: int = 0) -> None:
        super().__init__()
        self.narrow = nn.Conv3d(given, made, 2, stride=2)
        self.placed = nn.Conv3d(place, made, 1) if place else None

    def forward(self, x: Tensor, place: Tensor | None = None) -> Tensor:
        y: Tensor = self.narrow(pad_to(x, [size + size % 2 for size in x.shape[2:]]))
        return y if self.placed is None else y + self.placed(place)


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


def _blocks(count: int, channels: int, code: int) -> nn.ModuleList:
    return nn.ModuleList(TimedResidual(channels, code) for _ in range(count))


def _through(blocks: nn.ModuleList, x: Tensor, code: Tensor) -> Tensor:
    for block in blocks:
        x = block(x, code)
    return x


def _added(x: Tensor, folded: Tensor) -> Tensor:
    """Features plus those of half the resolution, whose channels hold eight places each."""
    i, j, k = x.shape[2:]
    return x + unfold(folded)[:, :, :i, :j, :k]


def _waves(t: Tensor) -> Tensor:
    """Sines and cosines of times `[B]` in 0–1, `[B, 2 · FREQUENCIES]`."""
    rates = torch.exp(torch.linspace(0, math.log(1000), FREQUENCIES, device=t.device))
    angles = t.float()[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _silence(layer: nn.Conv3d) -> None:
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
