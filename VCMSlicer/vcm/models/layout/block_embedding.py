"""What blocks of 4×4×4 whole numbers mean, as features: a linear layer over one-hot planes that are never made."""

from __future__ import annotations

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
        self.weight = nn.Parameter(torch.randn(self.places, entries, width) * self.places**-0.5)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, codes: Tensor, meanings: Tensor | None = None) -> Tensor:
        """With `meanings` `[B, P, entries]`, the codes, below P, stand for sets of numbers: the rows of 0 and 1."""
        batch, *sizes = codes.shape
        table = self.weight.expand(batch, -1, -1, -1)
        if meanings is not None:
            table = torch.einsum("bpe,sew->bspw", meanings.to(self.weight), self.weight)
        entries, width = table.shape[2:]
        places = torch.arange(self.places, device=codes.device).view(1, -1, 1, 1, 1)
        items = torch.arange(batch, device=codes.device).view(-1, 1, 1, 1, 1)
        rows = fold(fold(codes[:, None])) + entries * (places + self.places * items)
        rows = rows.movedim(1, -1).reshape(-1, self.places)
        summed = functional.embedding_bag(rows, table.reshape(-1, width), mode="sum")
        found: Tensor = (summed + self.bias).view(batch, *(size // SHRINKS for size in sizes), width).movedim(-1, 1)
        return found
