"""A small autoencoder with codes, without statistics over a patch or a volume.

The published networks normalise over each patch when they encode and over the volume when they decode. Small ones, on
voxels of 2 mm, lost the brightness of tissues by it (docs/meddiffusion.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vcm.models.backbones.local_autoencoder import SHRINKS, LocalAutoencoder, fold, unfold
from vcm.models.backbones.meddiffusion.autoencoder import Codebook


class LocalCodes(LocalAutoencoder):
    """Images `[B, 1, i, j, k]` in −1 to 1 to latents of a quarter of their sizes, and back from codes.

    A latent voxel of `embedding_dim` channels is made of codes of `code_dim` channels each. With `folded`, blocks of
    2×2×2 of them become one, so that latents are an eighth of the images and have eight times the channels: a small
    denoiser then sees farther. The codes are the same. `patch_size` is the edge of the crops that a training learns
    from; no patch is encoded otherwise than it would be within the whole.
    """

    def __init__(
        self,
        *,
        embedding_dim: int = 8,
        n_codes: int = 2048,
        code_dim: int = 2,
        downsample: int = SHRINKS,
        patch_size: int = 40,
        channels: Sequence[int] = (64, 96),
        folded: bool = False,
    ) -> None:
        shrinks, parts = (2 * SHRINKS, 8) if folded else (SHRINKS, 1)
        if downsample != shrinks:
            raise ValueError(f"downsample of a local autoencoder is {shrinks}, not {downsample}")
        if embedding_dim % (parts * code_dim):
            raise ValueError(f"embedding_dim {embedding_dim} is no multiple of {parts * code_dim}")
        super().__init__(latent_channels=embedding_dim // parts, channels=channels)
        self.folded = folded
        self.downsample, self.patch_size, self.channels = downsample, patch_size, embedding_dim
        self.fine_width = self.thin
        self.codebook = Codebook(n_codes, code_dim)

    def encode(self, image: Tensor) -> Tensor:  # type: ignore[override]
        """Latents before they are quantised."""
        latent: Tensor = self.encoder(fold((image + 1) / 2))
        return gathered(latent) if self.folded else latent

    def decode(self, quantised: Tensor) -> Tensor:
        """Images of quantised latents."""
        return super().decode(spread(quantised) if self.folded else quantised) * 2 - 1


def gathered(latent: Tensor) -> Tensor:
    """Blocks of 2×2×2 voxels as one, the channels of each of the eight side by side."""
    folded = fold(latent)
    return folded.unflatten(1, (latent.shape[1], 8)).transpose(1, 2).flatten(1, 2)


def spread(latent: Tensor) -> Tensor:
    """The inverse of `gathered`."""
    return unfold(latent.unflatten(1, (8, latent.shape[1] // 8)).transpose(1, 2).flatten(1, 2))
