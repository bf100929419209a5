"""What both networks are made of: cubes cut out of volumes, and attention between all voxels."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

HEAD_WIDTH = 32
"""Channels of one head of the attention between voxels."""


def cut(x: Tensor, edge: int) -> Tensor:
    """Cubes `[B·n, C, edge, edge, edge]` of volumes `[B, C, i, j, k]`, the last axis running fastest.

    >>> import torch
    >>> x = torch.arange(2 * 4 * 6 * 2.0).reshape(1, 2, 4, 6, 2)
    >>> cut(x, 2).shape, torch.equal(joined(cut(x, 2), x.shape[2:]), x)
    (torch.Size([6, 2, 2, 2, 2]), True)
    """
    b, c, i, j, k = x.shape
    split = x.reshape(b, c, i // edge, edge, j // edge, edge, k // edge, edge)
    return split.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(-1, c, edge, edge, edge)


def joined(cubes: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """The volumes of these sizes that `cut` made the cubes of."""
    c, edge = cubes.shape[1:3]
    i, j, k = (size // edge for size in sizes)
    split = cubes.reshape(-1, i, j, k, c, edge, edge, edge).permute(0, 4, 1, 5, 2, 6, 3, 7)
    return split.reshape(-1, c, *sizes)


class VoxelAttention(nn.Module):
    """Attention between all voxels of a volume, before any residual."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(channels, 3 * heads * HEAD_WIDTH, bias=False)
        self.to_out = nn.Conv3d(heads * HEAD_WIDTH, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, _, *sizes = x.shape
        qkv = self.to_qkv(x.flatten(2).transpose(1, 2))
        q, k, v = qkv.reshape(b, -1, 3, self.heads, HEAD_WIDTH).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        attended: Tensor = self.to_out(mixed.transpose(2, 3).reshape(b, self.heads * HEAD_WIDTH, *sizes))
        return attended
