"""BiFlowNet: a U-Net between patches, fed at full resolution by a transformer within patches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vcm.models.backbones.backbone import Residuals
from vcm.models.backbones.meddiffusion.layers import VoxelAttention, cut, joined
from vcm.models.backbones.meddiffusion.patch_flow import Final, Tokens, Transformer, position_table

FULL_LEVELS = 2
"""Levels at the latent's own resolution; each takes what a block of the inner flow gives."""


class BiFlowNet(nn.Module):
    """What is predicted of noisy latents `[B, channels, i, j, k]` at timesteps `[B]`, of `cond_classes` classes `[B]`.

    Arguments go by their published names: `sub_volume_size` is the edge of the patches of the inner flow in latent
    voxels, `patch_size` that of a token, `vq_size` the size that counts as resolution 1. Sizes of latents are whole
    multiples of `multiple`.
    """

    def __init__(
        self,
        *,
        dim: int = 72,
        dim_mults: Sequence[int] = (1, 1, 2, 4, 8),
        channels: int = 8,
        cond_classes: int = 7,
        use_sparse_linear_attn: Sequence[int] = (0, 0, 0, 1, 1),
        patch_size: int = 1,
        sub_volume_size: int = 8,
        vq_size: int = 64,
        num_mid_DiT: int = 1,  # noqa: N803
        attn_heads: int = 8,
        resnet_groups: int = 24,
        init_kernel_size: int = 3,
        learn_sigma: bool = False,
    ) -> None:
        super().__init__()
        if len(dim_mults) < FULL_LEVELS + 1 or len(use_sparse_linear_attn) != len(dim_mults):
            raise ValueError("dim_mults needs three levels or more, and use_sparse_linear_attn one entry for each")
        if sub_volume_size % patch_size:
            raise ValueError(f"patches of {sub_volume_size} voxels cannot be cut into tokens of {patch_size}")
        self.channels, self.sub_volume, self.vq_size = channels, sub_volume_size, vq_size
        self.multiple = math.lcm(sub_volume_size, 2 ** (len(dim_mults) - FULL_LEVELS))
        widths = [dim * mult for mult in dim_mults]
        embedded, given = 4 * dim, 8 * dim
        self.pos_embed = nn.Parameter(position_table(dim, sub_volume_size // patch_size), requires_grad=False)
        self.init_conv = nn.Conv3d(channels, dim, init_kernel_size, padding=init_kernel_size // 2)
        self.time_mlp = nn.Sequential(Sinusoid(dim), nn.Linear(dim, embedded), nn.GELU(), nn.Linear(embedded, embedded))
        self.cond_emb = nn.Embedding(cond_classes, embedded)
        self.res_mlp = nn.Sequential(nn.Linear(3, embedded), nn.SiLU(), nn.Linear(embedded, embedded))

        self.x_embedder = Tokens(channels, dim, patch_size)
        self.IntraPatchFlow_input = nn.ModuleList(
            _inner(dim, attn_heads, given, patch_size) for _ in range(FULL_LEVELS)
        )
        self.IntraPatchFlow_mid = nn.ModuleList(Transformer(dim, attn_heads, given) for _ in range(num_mid_DiT))
        self.IntraPatchFlow_output = nn.ModuleList(
            _inner(dim, attn_heads, given, patch_size, skips=True) for _ in range(FULL_LEVELS)
        )

        levels = list(zip([dim, *widths[:-1]], widths, use_sparse_linear_attn, strict=True))
        last, groups = len(levels) - 1, resnet_groups
        self.downs = nn.ModuleList(
            nn.ModuleList(
                [
                    Residual(narrow, wide, groups, given),
                    _attention(wide, attn_heads, attends),
                    Residual(wide, wide, groups, given),
                    _attention(wide, attn_heads, attends),
                    nn.Conv3d(wide, wide, 4, stride=2, padding=1) if 0 < i < last else nn.Identity(),
                ]
            )
            for i, (narrow, wide, attends) in enumerate(levels)
        )
        self.mid_block1 = Residual(widths[-1], widths[-1], groups, given)
        self.mid_spatial_attn = _attention(widths[-1], attn_heads, True)
        self.mid_block2 = Residual(widths[-1], widths[-1], groups, given)
        self.ups = nn.ModuleList(
            nn.ModuleList(
                [
                    Residual(2 * wide, wide, groups, given),
                    _attention(wide, attn_heads, attends),
                    Residual(2 * wide, narrow, groups, given),
                    _attention(narrow, attn_heads, attends),
                    nn.ConvTranspose3d(narrow, narrow, 4, stride=2, padding=1)
                    if i <= last - FULL_LEVELS
                    else nn.Identity(),
                ]
            )
            for i, (narrow, wide, attends) in enumerate(reversed(levels))
        )
        out = channels * (2 if learn_sigma else 1)
        self.final_conv = nn.Sequential(Residual(2 * dim, dim, groups, None), nn.Conv3d(dim, out, 1))

    def forward(
        self,
        latent: Tensor,
        t: Tensor,
        classes: Tensor,
        resolution: Tensor | None = None,
        residuals: Residuals | None = None,
    ) -> Tensor:
        """The prediction; `resolution` `[B, 3]` is that of the latent's own sizes where none is given.

        `residuals` are added to the U-Net's skips, from the first to the last, and to its middle.
        """
        given = self.conditioning(latent, t, classes, resolution)
        entering, leaving = self.inner_flow(latent, given)
        first = self.init_conv(latent)
        x, skips = self.descend(first, entering, given)
        if residuals is not None:
            down = residuals.down or (None,) * len(skips)
            skips = [s if r is None else s + r.to(s) for s, r in zip(skips, down, strict=True)]
            x = x if residuals.middle is None else x + residuals.middle.to(x)
        for i, (block1, attention1, block2, attention2, up) in enumerate(map(_parts, self.ups)):
            if (full := i - (len(self.ups) - FULL_LEVELS)) >= 0:
                x = x + leaving[full]
            x = attention1(block1(torch.cat([x, skips.pop()], dim=1), given))
            x = attention2(block2(torch.cat([x, skips.pop()], dim=1), given))
            x = up(x)
        predicted: Tensor = self.final_conv(torch.cat([x, first], dim=1))
        return predicted[:, : self.channels]

    def conditioning(self, latent: Tensor, t: Tensor, classes: Tensor, resolution: Tensor | None) -> Tensor:
        """Time and class, and the resolution beside them: `[B, 8·dim]`."""
        if resolution is None:
            resolution = torch.tensor([[size / self.vq_size for size in latent.shape[2:]]], device=latent.device)
        resolution = resolution.reshape(-1, 3).expand(len(latent), 3).to(latent.dtype)
        wave = self.time_mlp[0](t).to(latent.dtype)
        moment = self.time_mlp[1:](wave) + self.cond_emb(classes)
        return torch.cat([moment, self.res_mlp(resolution)], dim=1)

    def inner_flow(self, latent: Tensor, given: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """What the transformer's first and last blocks give the U-Net's levels at full resolution."""
        sizes = latent.shape[2:]
        cubes = cut(latent, self.sub_volume)
        each = given.repeat_interleave(len(cubes) // len(latent), dim=0)
        tokens = self.x_embedder(cubes) + self.pos_embed.detach()  # a table, which no training changes
        skips, entering, leaving = [], [], []
        for block, final in map(_parts, self.IntraPatchFlow_input):
            tokens = block(tokens, each)
            skips.append(tokens)
            entering.append(joined(final(tokens, each), sizes))
        for block in self.IntraPatchFlow_mid:
            tokens = block(tokens, each)
        for block, final in map(_parts, self.IntraPatchFlow_output):
            tokens = block(tokens, each, skips.pop())
            leaving.append(joined(final(tokens, each), sizes))
        return entering, leaving

    def descend(self, x: Tensor, entering: Sequence[Tensor], given: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The U-Net's middle, and its skips in the order in which they were made."""
        skips = []
        for i, (block1, attention1, block2, attention2, down) in enumerate(map(_parts, self.downs)):
            if i < FULL_LEVELS:
                x = x + entering[i]
            x = attention1(block1(x, given))
            skips.append(x)
            x = attention2(block2(x, given))
            skips.append(x)
            x = down(x)
        return self.mid_block2(self.mid_spatial_attn(self.mid_block1(x, given)), given), skips


class Sinusoid(nn.Module):
    """Sines, then cosines, of timesteps."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.count = width // 2

    def forward(self, t: Tensor) -> Tensor:
        steps = torch.arange(self.count, device=t.device, dtype=torch.float32)
        angles = t.float()[:, None] * torch.exp(-math.log(10000) / (self.count - 1) * steps)
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class Block(nn.Module):
    """A convolution, GroupNorm, a scale and a shift where they are given, SiLU."""

    def __init__(self, channels: int, out: int, groups: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(channels, out, 3, padding=1)
        self.norm = nn.GroupNorm(groups, out)

    def forward(self, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        x = self.norm(self.proj(x))
        if scale is not None and shift is not None:
            x = x * (scale + 1) + shift
        return functional.silu(x)


class Residual(nn.Module):
    """Two blocks beside a straight way; the first is scaled and shifted by the conditioning, where there is one."""

    def __init__(self, channels: int, out: int, groups: int, conditioning: int | None) -> None:
        super().__init__()
        if conditioning is not None:
            self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(conditioning, 2 * out))
        self.block1, self.block2 = Block(channels, out, groups), Block(out, out, groups)
        self.res_conv = nn.Conv3d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        film = () if given is None else self.mlp(given)[:, :, None, None, None].chunk(2, dim=1)
        out: Tensor = self.block2(self.block1(x, *film)) + self.res_conv(x)
        return out


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each voxel, with a gain alone."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        variance, mean = torch.var_mean(wide, dim=1, unbiased=False, keepdim=True)
        return ((wide - mean) * (variance + 1e-5).rsqrt()).to(x.dtype) * self.gamma


class Normalised(nn.Module):
    """A layer of normalised features."""

    def __init__(self, channels: int, fn: nn.Module) -> None:
        super().__init__()
        self.fn, self.norm = fn, ChannelNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fn(self.norm(x))
        return out


class Added(nn.Module):
    """A layer beside a straight way."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fn(x)
        return x + out


def _parts(level: nn.Module) -> list[Any]:
    return list(level.children())


def _attention(channels: int, heads: int, attends: object) -> nn.Module:
    return Added(Normalised(channels, VoxelAttention(channels, heads))) if attends else nn.Identity()


def _inner(width: int, heads: int, conditioning: int, patch: int, skips: bool = False) -> nn.ModuleList:
    return nn.ModuleList([Transformer(width, heads, conditioning, skips), Final(width, patch, conditioning)])
