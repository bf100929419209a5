"""3×3×3 convolutions over planes `[planes, channels, rows, columns]`, as 2-D convolutions with fewer multiplications.

All take zero beyond the borders, as the decoders' convolutions do, and leave the bias out. Kernels are transformed in
double precision.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

TILE = 4
"""How many planes Winograd's convolution makes at a time."""

FEW_CHANNELS = 8
"""With fewer channels than this there are too few multiplications to save."""

_KERNEL_OF_TAPS = torch.tensor(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    dtype=torch.float64,
)
"""G of F(4, 3) (Lavin and Gray 2016): the six kernels of one tile, from the three taps along the planes."""

Convolve = Callable[[Tensor, Tensor], None]
"""`convolve(planes, result)`: of n + 2 planes, into n."""


def convolution(weight: Tensor, planes: int) -> Convolve:
    """The convolution with a kernel `[out, in, 3, 3, 3]` for slabs of a volume of so many planes."""
    if min(weight.shape[:2]) < FEW_CHANNELS or planes < TILE:
        return _by_taps(weight)
    return _by_winograd(weight)


def _by_taps(weight: Tensor) -> Convolve:
    """Three 2-D convolutions in one; their results are added, each one plane further."""
    channels = len(weight)
    taps = weight.permute(2, 0, 1, 3, 4).flatten(0, 1).contiguous()

    def convolve(planes: Tensor, result: Tensor) -> None:
        each = functional.conv2d(planes, taps, padding=1).unflatten(1, (3, channels))
        torch.add(each[:-2, 0], each[1:-1, 1], out=result)
        result += each[2:, 2]

    return convolve


def _by_winograd(weight: Tensor) -> Convolve:
    """F(4, 3) along the planes: six 2-D convolutions where four planes would take twelve."""
    kernels = torch.einsum("pk,oikyx->poiyx", _KERNEL_OF_TAPS, weight.double()).to(weight.dtype).contiguous()

    def product(index: int, planes: Tensor) -> Tensor:
        return functional.conv2d(planes, kernels[index], padding=1)

    def convolve(planes: Tensor, result: Tensor) -> None:
        tiles = -(-len(result) // TILE)
        missing = tiles * TILE - len(result)
        if missing:
            planes = functional.pad(planes, (0, 0, 0, 0, 0, 0, 0, missing))
        x0, x1, x2, x3, x4, x5 = (planes[i : i + TILE * (tiles - 1) + 1 : TILE] for i in range(TILE + 2))
        # Bᵀ of F(4, 3), each row as soon as it is needed.
        first = product(0, torch.sub(x4, x2, alpha=5).add_(x0, alpha=4))
        even, odd = torch.sub(x4, x2, alpha=4), torch.sub(x3, x1, alpha=4)
        plus, minus = product(1, even + odd), product(2, even.sub_(odd))
        even, odd = x4 - x2, (x3 - x1).mul_(2)
        plus_two, minus_two = product(3, even + odd), product(4, even.sub_(odd))
        last = product(5, torch.sub(x5, x3, alpha=5).add_(x1, alpha=4))
        # Aᵀ of F(4, 3).
        total, difference = plus + minus, plus.sub_(minus)
        total_two, difference_two = plus_two + minus_two, plus_two.sub_(minus_two)
        made = result.unflatten(0, (tiles, TILE)) if not missing else first.new_empty(tiles, TILE, *first.shape[1:])
        torch.add(first.add_(total), total_two, out=made[:, 0])
        torch.add(difference, difference_two, alpha=2, out=made[:, 1])
        torch.add(total, total_two, alpha=4, out=made[:, 2])
        torch.add(last.add_(difference), difference_two, alpha=8, out=made[:, 3])
        if missing:
            result.copy_(made.flatten(0, 1)[: len(result)])

    return convolve


def doubling_convolution(weight: Tensor) -> Convolve:
    """Of planes doubled in size by nearest neighbours, n + 2 into 2 n: eight 2×2×2 kernels on what was there before.

    Of two neighbours that are the same, a kernel's taps can be added up beforehand.
    """
    channels = len(weight)
    kernels = []
    for half in folded(weight.double(), 2):
        quarters = [part for rows in folded(half, 3) for part in folded(rows, 4)]
        joined = torch.cat(quarters).transpose(1, 2).flatten(1, 2)
        kernels.append(joined.to(weight.dtype).contiguous())

    def convolve(planes: Tensor, result: Tensor) -> None:
        count, _, rows, columns = planes.shape
        pairs = torch.cat([planes[:-1], planes[1:]], dim=1)
        apart = result.view(count - 2, 2, channels, rows, 2, columns, 2)
        for side, kernel in enumerate(kernels):
            made = functional.conv2d(pairs[side : side + count - 2], kernel, padding=1).unflatten(1, (2, 2, channels))
            for i in (0, 1):
                for j in (0, 1):
                    apart[:, side, :, :, i, :, j] = made[:, i, j, :, i : i + rows, j : j + columns]

    return convolve


def folded(weight: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Three taps on doubled values as two on single ones, for the first and for the second of each two."""
    a, b, c = weight.unbind(axis)
    return torch.stack([a, b + c], axis), torch.stack([a + b, c], axis)
