"""Label maps to latents of a quarter of their size, and back to the score of every label at every voxel.

Every number is local, as in `local_autoencoder`: it learns from crops, and is small and fast.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vcm.models.backbones.local_autoencoder import ChannelNorm, Residual, unfold
from vcm.models.layout.block_embedding import BlockEmbedding


class LabelAutoencoder(nn.Module):
    """Label maps of `labels` labels, background among them, with `width` features at a quarter of the resolution and
    `half` at half of it. `centre` and `spread`, set when it has been trained, bring latents to mean 0 and spread 1.
    """

    spread: Tensor
    centre: Tensor

    def __init__(self, *, labels: int, latent_channels: int = 8, width: int = 40, half: int = 16) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            BlockEmbedding(labels, width),
            Residual(width),
            ChannelNorm(width),
            nn.Conv3d(width, latent_channels, 1),
        )
        self.coarse = nn.Sequential(
            nn.Conv3d(latent_channels, width, 3, padding=1), Residual(width), nn.Conv3d(width, half * 8, 1)
        )
        self.middle = nn.Sequential(Residual(half), ChannelNorm(half), nn.SiLU(), nn.Conv3d(half, labels * 8, 1))
        self.register_buffer("centre", torch.zeros(latent_channels))
        self.register_buffer("spread", torch.ones(latent_channels))

    def encode(self, label_map: Tensor) -> Tensor:
        """Latents `[B, C, i/4, j/4, k/4]` of label maps `[B, i, j, k]` of whole numbers."""
        latent: Tensor = self.encoder(label_map.long())
        return (latent - _by_channel(self.centre)) / _by_channel(self.spread)

    def decode(self, latent: Tensor) -> Tensor:
        """Scores `[B, labels, i, j, k]`, the logarithms of probabilities but for a constant."""
        latent = latent * _by_channel(self.spread) + _by_channel(self.centre)
        return unfold(self.middle(unfold(self.coarse(latent))))


def _by_channel(numbers: Tensor) -> Tensor:
    return numbers.view(1, -1, 1, 1, 1)
