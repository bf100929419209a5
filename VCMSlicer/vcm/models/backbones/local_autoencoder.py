"""An autoencoder whose every number depends on what is near it alone: it learns from crops what whole heads look like.

Blocks of 2×2×2 voxels become channels at once, so that no convolution but a thin last one works at full resolution.
Each voxel is normalised over its own channels. There are no statistics over the volume: slabs give the same image as
the whole, and the latent of a skull does not depend on the brain that is in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

SHRINKS = 4
"""How much coarser the latent is than the image, along each axis."""

FINE = 8
"""Channels at full resolution: what one voxel of half the resolution becomes has as many in all as it has children."""

EPSILON = 1e-5


class ChannelNorm(nn.Module):
    """Each voxel's channels divided by their root mean square, and a gain for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.float().square().mean(1, keepdim=True) + EPSILON).to(x.dtype)
        return x * scale * self.gain.to(x.dtype).view(1, -1, 1, 1, 1)


class Residual(nn.Module):
    """Two convolutions beside a straight way; nothing but the straight way at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = ChannelNorm(channels), ChannelNorm(channels)
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        assert self.conv2.bias is not None
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(functional.silu(self.norm1(x)))
        added: Tensor = x + self.conv2(functional.silu(self.norm2(inner)))
        return added


class LocalAutoencoder(nn.Module):
    """Images `[B, 1, i, j, k]` in 0–1 to latents of a quarter of their size, and back.

    `channels` are the features at half and at a quarter of the resolution, `blocks` the residual blocks there, of the
    encoder and then of the decoder, `thin` the features of the last convolutions. `noise` is the standard deviation of
    the latents that an image may stand for.
    """

    def __init__(
        self,
        *,
        latent_channels: int = 8,
        channels: Sequence[int] = (64, 96),
        blocks: Sequence[Sequence[int]] = ((1, 2), (2, 2)),
        thin: int = 16,
        noise: float = 0.1,
    ) -> None:
        super().__init__()
        half, quarter = channels
        (enter, deepen), (widen, leave) = blocks
        self.noise, self.thin = noise, thin
        self.encoder = nn.Sequential(
            nn.Conv3d(8, half, 3, padding=1),
            *(Residual(half) for _ in range(enter)),
            nn.Conv3d(half, quarter, 2, stride=2),
            *(Residual(quarter) for _ in range(deepen)),
            ChannelNorm(quarter),
            nn.Conv3d(quarter, latent_channels, 1),
        )
        self.coarse = nn.Sequential(
            nn.Conv3d(latent_channels, quarter, 3, padding=1),
            *(Residual(quarter) for _ in range(widen)),
            nn.Conv3d(quarter, half * 8, 1),
        )
        self.middle = nn.Sequential(
            nn.Conv3d(half, half, 3, padding=1),
            *(Residual(half) for _ in range(leave)),
            ChannelNorm(half),
            nn.SiLU(),
            nn.Conv3d(half, FINE * 8, 1),
        )
        self.fine = nn.Sequential(nn.Conv3d(FINE, thin, 3, padding=1), nn.SiLU(), nn.Conv3d(thin, 1, 3, padding=1))

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents that an image may stand for."""
        mean = self.encoder(fold(image))
        return mean, torch.full_like(mean, self.noise)

    def decode(self, latent: Tensor) -> Tensor:
        """The image of a latent."""
        return self._finished(unfold(self.middle(unfold(self.coarse(latent)))))

    @torch.no_grad()
    def decode_in_slabs(self, latent: Tensor, tensor_bytes: int) -> Tensor:
        """`decode(latent)` to rounding, no temporary tensor much larger than `tensor_bytes`.

        Each of the three stages goes slab by slab along the first axis, with the halo that its convolutions need.
        """
        x = _by_slabs(_unfolded(self.coarse), latent, tensor_bytes, _widest(self.coarse), reach(self.coarse), grows=2)
        x = _by_slabs(_unfolded(self.middle), x, tensor_bytes, _widest(self.middle), reach(self.middle), grows=2)
        return _by_slabs(self._finished, x, tensor_bytes, max(FINE, self.thin), reach(self.fine))

    def slab_elements(self, space: Sequence[int]) -> tuple[int, int]:
        """How many numbers are held between the stages when a latent over `space` is decoded in slabs, and how many the
        largest tensor of the thinnest slab has."""
        between = max(_channels_out(self.coarse) + 8 * _channels_out(self.middle), (FINE + 1) * 64)
        slabs = (
            (_widest(self.coarse), reach(self.coarse), 1),
            (_widest(self.middle), reach(self.middle), 2),
            (max(FINE, self.thin), reach(self.fine), 4),
        )
        planes = math.prod(space[1:])
        thinnest = max(width * min(3 * halo, space[0] * finer) * planes * finer**2 for width, halo, finer in slabs)
        return between * math.prod(space), thinnest

    def largest_activation(self, voxels: int) -> int:
        """How many numbers the decoder's largest tensor has, for a latent over so many voxels."""
        sizes = (_widest(self.coarse), 8 * _widest(self.middle), 64 * max(FINE, self.thin))
        return max(sizes) * voxels

    def _finished(self, features: Tensor) -> Tensor:
        image: Tensor = features[:, :1] + self.fine(features)
        return image


def fold(x: Tensor) -> Tensor:
    """Blocks of 2×2×2 voxels become channels; the last axis' neighbours lie next to each other."""
    b, c, i, j, k = x.shape
    blocks = x.reshape(b, c, i // 2, 2, j // 2, 2, k // 2, 2).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return blocks.reshape(b, c * 8, i // 2, j // 2, k // 2)


def unfold(x: Tensor) -> Tensor:
    """The inverse of `fold`."""
    b, c, i, j, k = x.shape
    voxels = x.reshape(b, c // 8, 2, 2, 2, i, j, k).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return voxels.reshape(b, c // 8, i * 2, j * 2, k * 2)


def reach(stage: nn.Module) -> int:
    """How many voxels away something may lie that a stage's output depends on."""
    return sum((m.kernel_size[0] - 1) // 2 for m in stage.modules() if isinstance(m, nn.Conv3d))


Stage = Callable[[Tensor], Tensor]


def _unfolded(stage: Stage) -> Stage:
    return lambda x: unfold(stage(x))


def _by_slabs(stage: Stage, x: Tensor, tensor_bytes: int, widest: int, halo: int, grows: int = 1) -> Tensor:
    """`stage(x)`, whose result is `grows` times as large along each axis, slab by slab."""
    planes = x.shape[2]
    room = tensor_bytes // max(1, widest * x[0, 0, 0].numel() * x.shape[0] * x.element_size())
    if room >= planes:
        return stage(x)
    thickness = max(1, halo, room - 2 * halo)
    result: Tensor | None = None
    for low in range(0, planes, thickness):
        high = min(low + thickness, planes)
        first, last = max(0, low - halo), min(planes, high + halo)
        slab = stage(x[:, :, first:last])[:, :, (low - first) * grows : (high - first) * grows]
        if result is None:
            result = slab.new_empty(*slab.shape[:2], planes * grows, *slab.shape[3:])
        result[:, :, low * grows : high * grows] = slab
    assert result is not None
    return result


def _convolutions(stage: nn.Module) -> list[nn.Conv3d]:
    return [m for m in stage.modules() if isinstance(m, nn.Conv3d)]


def _widest(stage: nn.Module) -> int:
    return max(max(m.in_channels, m.out_channels) for m in _convolutions(stage))


def _channels_out(stage: nn.Module) -> int:
    return _convolutions(stage)[-1].out_channels
