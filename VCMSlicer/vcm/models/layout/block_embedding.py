"""What blocks of 4×4×4 whole numbers mean, as features: a linear layer over one-hot planes that are never made."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vcm.models.backbones.local_autoencoder import fold

SHRINKS = 4
"""How much coarser the features are than the voxels, along each axis."""


class BlockEmbedding(nn.Module):
    """Features `[B, width, i/4, j/4, k/4]` of numbers below `entries` in voxels `[B, i, j, k]`: the sum over the voxels
    of a block of what the number at that place of the block stands for."""

    def __init__(self, entries: int, width: int) -> None:
        super().__init__()
        self.places = SHRINKS**3
        self.weight = nn.Parameter(drawn(self.places, entries, width, spread=self.places**-0.5))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, codes: Tensor, meanings: Tensor | None = None) -> Tensor:
        """With `meanings` `[B, P, entries]`, the codes, below P, stand for sets of numbers: the rows of 0 and 1."""
        batch, *sizes = codes.shape
        table = self.weight.expand(batch, -1, -1, -1)
        if meanings is not None:
            table = torch.einsum("bpe,sew->bspw", meanings.to(self.weight), self.weight)
        cells = fold(fold(codes[:, None])).flatten(2)
        summed: Tensor = _Summed.apply(table, cells)
        found = (summed + self.bias).view(batch, *(size // SHRINKS for size in sizes), -1)
        return found.movedim(-1, 1)


def drawn(*sizes: int, spread: float = 1.0) -> Tensor:
    """Normal numbers; on the meta device none, where even to draw them would import PyTorch's compiler, which takes a
    second of every command."""
    empty = torch.empty(sizes)
    return empty if empty.is_meta else torch.randn(sizes) * spread


class _Summed(torch.autograd.Function):
    """The sum over a block's places of the rows of tables `[B, places, P, width]` that `[B, places, N]` numbers name:
    `[B, N, width]`. PyTorch's own gradient sorts the numbers, which takes several times as long."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, cells: Tensor) -> Tensor:
        batch, places, entries, width = table.shape
        ctx.save_for_backward(cells)
        ctx.entries = entries
        place = torch.arange(places, device=cells.device).view(1, -1, 1)
        item = torch.arange(batch, device=cells.device).view(-1, 1, 1)
        rows = (cells + entries * (place + places * item)).movedim(1, -1).reshape(-1, places)
        summed = functional.embedding_bag(rows, table.reshape(-1, width), mode="sum")
        return summed.view(batch, -1, width)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (cells,) = ctx.saved_tensors
        numbers = torch.arange(ctx.entries, device=cells.device).view(1, -1, 1)
        places = range(cells.shape[1])
        return torch.stack([(cells[:, None, n] == numbers).to(grad) @ grad for n in places], dim=1), None
