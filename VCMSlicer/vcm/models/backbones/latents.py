"""Rearranging voxels into channels and back, without loss."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional


def pack(x: Tensor, factor: int) -> Tensor:
    """Space-to-depth: `[B, C, X, Y, Z]` to `[B, C·f³, X/f, Y/f, Z/f]`.

    >>> import torch
    >>> x = torch.arange(2 * 4 * 6 * 2.0).reshape(1, 2, 4, 6, 2)
    >>> pack(x, 2).shape, torch.equal(unpack(pack(x, 2), 2), x)
    (torch.Size([1, 16, 2, 3, 1]), True)
    """
    if factor == 1:
        return x
    b, c, i, j, k = x.shape
    f = factor
    split = x.reshape(b, c, i // f, f, j // f, f, k // f, f)
    return split.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, c * f**3, i // f, j // f, k // f)


def unpack(x: Tensor, factor: int) -> Tensor:
    """Depth-to-space: the inverse of `pack`."""
    if factor == 1:
        return x
    b, c, i, j, k = x.shape
    f = factor
    split = x.reshape(b, c // f**3, f, f, f, i, j, k)
    return split.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, c // f**3, i * f, j * f, k * f)


def pad_to(x: Tensor, grid: Sequence[int]) -> Tensor:
    """`[B, C, …]` with zeros at the ends of its axes, so that it covers `grid`."""
    missing = [wanted - size for wanted, size in zip(grid, x.shape[2:], strict=True)]
    return functional.pad(x, [part for count in reversed(missing) for part in (0, count)]) if any(missing) else x
