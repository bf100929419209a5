"""The flow within patches: a diffusion transformer over the tokens of one small cube of the latent."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-6
MLP_RATIO = 4

FEW_TOKENS = 64
"""Up to so many tokens a cube, all weights are held: on a processor that is trained six times as fast (in bf16)."""


class Tokens(nn.Module):
    """Cubes of voxels as tokens `[B, n, width]`, the last axis running fastest."""

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(channels, width, patch, stride=patch)

    def forward(self, cubes: Tensor) -> Tensor:
        return self.proj(cubes).flatten(2).transpose(1, 2)


class SelfAttention(nn.Module):
    """Attention between the tokens of a cube."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{width} channels cannot be shared by {heads} heads")
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, width = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if n <= FEW_TOKENS:
            mixed = torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2), dim=-1) @ v
        else:
            mixed = functional.scaled_dot_product_attention(q, k, v)
        attended: Tensor = self.proj(mixed.transpose(1, 2).reshape(b, n, width))
        return attended


class Mlp(nn.Module):
    """Two layers for each token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, MLP_RATIO * width), nn.Linear(MLP_RATIO * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(functional.gelu(self.fc1(x), approximate="tanh"))
        return out


class Transformer(nn.Module):
    """A block of a diffusion transformer; with `skips` it takes the tokens of an earlier block too."""

    def __init__(self, width: int, heads: int, conditioning: int, skips: bool = False) -> None:
        super().__init__()
        if skips:
            self.skip_linear = nn.Linear(2 * width, width)
        self.attn, self.mlp = SelfAttention(width, heads), Mlp(width)
        self.adaLN_modulation = _modulation(conditioning, 6 * width)

    def forward(self, x: Tensor, conditioning: Tensor, skip: Tensor | None = None) -> Tensor:
        if skip is not None:
            x = self.skip_linear(torch.cat([x, skip], dim=-1))
        parts = self.adaLN_modulation(conditioning)[:, None].chunk(6, dim=-1)
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = parts
        x = x + gate_a * self.attn(_modulated(x, shift_a, scale_a))
        return x + gate_m * self.mlp(_modulated(x, shift_m, scale_m))


class Final(nn.Module):
    """Tokens back to cubes of voxels with as many channels as the tokens have."""

    def __init__(self, width: int, patch: int, conditioning: int) -> None:
        super().__init__()
        self.patch = patch
        self.linear = nn.Linear(width, width * patch**3)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.adaLN_modulation = _modulation(conditioning, 2 * width)

    def forward(self, x: Tensor, conditioning: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(conditioning)[:, None].chunk(2, dim=-1)
        voxels = self.linear(_modulated(x, shift, scale))
        b, tokens, width = x.shape
        n, p = round(tokens ** (1 / 3)), self.patch
        split = voxels.reshape(b, n, n, n, p, p, p, width).permute(0, 7, 1, 4, 2, 5, 3, 6)
        return split.reshape(b, width, n * p, n * p, n * p)


def position_table(width: int, edge: int) -> Tensor:
    """Sines and cosines `[1, edge³, width]` of where a token lies in its cube, a third of the channels an axis.

    >>> position_table(72, 8).shape, float(position_table(72, 8)[0, 1, 48])
    (torch.Size([1, 512, 72]), 0.8414709568023682)
    """
    if width % 6:
        raise ValueError(f"the width of the tokens must divide by 6, and {width} does not")
    waves = width // 6
    angles = torch.arange(edge).double()[:, None] * 10000.0 ** (-torch.arange(waves).double() / waves)
    table = torch.cat([angles.sin(), angles.cos()], dim=1)
    axes: Sequence[Tensor] = [
        table.reshape([edge if axis == own else 1 for axis in range(3)] + [-1]).expand(edge, edge, edge, -1)
        for own in range(3)
    ]
    return torch.cat(list(axes), dim=-1).reshape(1, edge**3, width).float()


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], eps=EPSILON) * (1 + scale) + shift


def _modulation(conditioning: int, out: int) -> nn.Sequential:
    """Zero at first, so that a block that was not trained changes nothing."""
    layer = nn.Linear(conditioning, out)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return nn.Sequential(nn.SiLU(), layer)
