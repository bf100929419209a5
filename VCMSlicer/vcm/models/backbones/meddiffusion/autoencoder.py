"""The patch-volume autoencoder: images are encoded patch by patch, quantised, and decoded as a whole."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from vcm.models.backbones.meddiffusion.layers import VoxelAttention, cut, joined

HEADS = 4
CODE_DECAY, LEAST_USE = 0.99, 0.01
"""Of the moving averages, and how many voxels a step a code must stand for to stay."""

VOXELS_AT_A_TIME = 1 << 18
"""Voxels of the patches that are encoded at one time: one of 64³, eight of 32³."""

CODES_AT_A_TIME = 1 << 13
"""Voxels whose distances to all codes are held at one time."""


class PatchVolumeAutoencoder(nn.Module):
    """Images `[B, 1, i, j, k]` in −1 to 1 to latents of a `downsample`-th of their sizes, and back.

    Arguments go by their published names: `n_hiddens` is the width at full resolution, `embedding_dim` the latent's
    channels, `n_codes` the entries of the codebook, `patch_size` the edge of an encoded patch in voxels.
    """

    def __init__(
        self,
        *,
        n_hiddens: int = 48,
        embedding_dim: int = 8,
        n_codes: int = 8192,
        downsample: int = 8,
        num_groups: int = 24,
        patch_size: int = 64,
    ) -> None:
        super().__init__()
        if downsample < 2 or downsample & (downsample - 1) or patch_size % downsample:
            raise ValueError(
                f"downsample {downsample} is no power of two that divides patch_size {patch_size}, as it must be"
            )
        self.downsample, self.patch_size, self.channels = downsample, patch_size, embedding_dim
        self.fine_width = n_hiddens  # channels at full resolution
        halvings = downsample.bit_length() - 1
        widths = [n_hiddens * 2 ** min(i, halvings - 1) for i in range(halvings + 1)]
        self.encoder = Encoder(widths, embedding_dim, num_groups)
        self.decoder = Decoder(widths[::-1], embedding_dim, num_groups)
        self.pre_vq_conv = nn.Conv3d(embedding_dim, embedding_dim, 1)
        self.post_vq_conv = nn.Conv3d(embedding_dim, embedding_dim, 1)
        self.codebook = Codebook(n_codes, embedding_dim)

    def encode(self, image: Tensor) -> Tensor:
        """Latents before they are quantised. Sizes that no patches fill are filled with background, −1."""
        sizes = image.shape[2:]
        missing = [-size % self.patch_size for size in sizes]
        whole = functional.pad(image, [part for size in missing[::-1] for part in (0, size)], value=-1.0)
        patches = cut(whole, self.patch_size)
        # A few at a time: each is encoded as if there were no other, and all would take much memory.
        few = max(1, VOXELS_AT_A_TIME // self.patch_size**3)
        latents = torch.cat([self.pre_vq_conv(self.encoder(part)) for part in patches.split(few)])
        i, j, k = (size // self.downsample for size in sizes)
        return joined(latents, tuple(size // self.downsample for size in whole.shape[2:]))[:, :, :i, :j, :k]

    def decode(self, quantised: Tensor) -> Tensor:
        """Images of quantised latents."""
        image: Tensor = self.decoder(self.post_vq_conv(quantised))
        return image


class Codebook(nn.Module):
    """The only latents that a decoder has seen. `N` and `z_avg` are the moving averages it was learned by.

    Latents with a multiple of the codes' channels hold several codes a voxel, side by side.
    """

    embeddings: Tensor
    N: Tensor
    z_avg: Tensor

    def __init__(self, n_codes: int, embedding_dim: int) -> None:
        super().__init__()
        self.register_buffer("embeddings", torch.randn(n_codes, embedding_dim))
        self.register_buffer("N", torch.zeros(n_codes))
        self.register_buffer("z_avg", self.embeddings.clone())

    def nearest(self, latent: Tensor) -> Tensor:
        """The number `[B, i, j, k]` of the code that lies nearest to each voxel, in fp32; `[…, n]` of several."""
        voxels = latent.float().movedim(1, -1)
        codes = self.embeddings.float()
        squares = codes.square().sum(1)
        with torch.autocast(latent.device.type, enabled=False):  # small differences decide
            found = [
                (part.square().sum(1, keepdim=True) - 2 * part @ codes.t() + squares).argmin(1)
                for part in voxels.reshape(-1, codes.shape[1]).split(CODES_AT_A_TIME)
            ]
        several = voxels.shape[-1] // codes.shape[1]
        return torch.cat(found).reshape(*voxels.shape[:-1], *([several] if several > 1 else []))

    def look_up(self, numbers: Tensor) -> Tensor:
        """The codes `[B, C, i, j, k]` of these numbers."""
        return self.embeddings[numbers].flatten(4).movedim(-1, 1)

    def quantise(self, latent: Tensor) -> Tensor:
        """Each voxel's nearest code."""
        return self.look_up(self.nearest(latent))

    @torch.no_grad()
    def follow(self, latent: Tensor, generator: torch.Generator) -> float:
        """Move the codes towards the mean of the voxels they stand for, in training; gives the share of codes in use.

        Codes begin as voxels of the first latents, and one that stands for next to none any more begins anew as one.
        """
        voxels = latent.float().movedim(1, -1).reshape(-1, self.embeddings.shape[1])
        if not bool(self.N.any()):
            self.embeddings.copy_(_some(voxels, len(self.N), generator))
            self.z_avg.copy_(self.embeddings)
            self.N.fill_(1.0)
        numbers = self.nearest(latent).flatten()
        counts = torch.bincount(numbers, minlength=len(self.N)).to(self.N)
        sums = torch.zeros_like(self.z_avg).index_add_(0, numbers, voxels.to(self.z_avg))
        self.N.lerp_(counts, 1 - CODE_DECAY)
        self.z_avg.lerp_(sums, 1 - CODE_DECAY)
        total = self.N.sum()
        share = (self.N + 1e-7) / (total + 1e-7 * len(self.N)) * total
        self.embeddings.copy_(self.z_avg / share[:, None])
        forgotten = self.N < LEAST_USE
        fresh = _some(voxels, len(self.N), generator)
        self.embeddings[forgotten], self.z_avg[forgotten] = fresh[forgotten], fresh[forgotten] * LEAST_USE
        self.N[forgotten] = LEAST_USE
        return float((counts > 0).float().mean())

    def span(self) -> tuple[Tensor, Tensor]:
        """The smallest and the largest number in it."""
        return self.embeddings.min(), self.embeddings.max()


def _some(voxels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """So many voxels, drawn with replacement."""
    return voxels[torch.randint(len(voxels), (count,), generator=generator).to(voxels.device)]


class Residual(nn.Module):
    """Two convolutions, each after GroupNorm and SiLU, beside a straight way."""

    def __init__(self, channels: int, out: int, groups: int) -> None:
        super().__init__()
        if channels != out:
            self.resConv = nn.Conv3d(channels, out, 1)
        self.norm1, self.conv1 = _norm(channels, groups), nn.Conv3d(channels, out, 3, padding=1)
        self.norm2, self.conv2 = _norm(out, groups), nn.Conv3d(out, out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(functional.silu(self.norm1(x)))
        straight: Tensor = self.resConv(x) if hasattr(self, "resConv") else x
        return straight + self.conv2(functional.silu(self.norm2(inner)))


class Attention(VoxelAttention):
    """Attention between voxels of normalised features, beside a straight way."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__(channels, HEADS)
        self.norm = _norm(channels, groups)

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(self.norm(x))


class Middle(nn.Module):
    """The layers at the latent's resolution."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.res1 = Residual(channels, channels, groups)
        self.attn = Attention(channels, groups)
        self.res2 = Residual(channels, channels, groups)

    def forward(self, x: Tensor) -> Tensor:
        deep: Tensor = self.res2(self.attn(self.res1(x)))
        return deep


class Level(nn.Module):
    """The layers of one resolution; `change` goes on to the next."""

    def __init__(self, channels: int, out: int, groups: int, **change: nn.Module) -> None:
        super().__init__()
        self.res1, self.res2 = Residual(channels, out, groups), Residual(out, out, groups)
        for name, module in change.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = layer(x)
        return x


class Upsample(nn.Module):
    """Twice the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_trans = nn.ConvTranspose3d(channels, channels, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        finer: Tensor = self.conv_trans(x)
        return finer


class Encoder(nn.Module):
    """Images to features with the latent's channels."""

    def __init__(self, widths: Sequence[int], channels: int, groups: int) -> None:
        super().__init__()
        self.conv_first = nn.Conv3d(1, widths[0], 3, padding=1)
        before, last = [widths[0], *widths], len(widths) - 1
        self.conv_blocks = nn.ModuleList(
            Level(before[i], width, groups, down=nn.Conv3d(width, width, 4, stride=2, padding=1))
            if i < last
            else Level(before[i], width, groups)
            for i, width in enumerate(widths)
        )
        self.mid_block = Middle(widths[-1], groups)
        self.final_block = _final(widths[-1], channels, groups)

    def forward(self, image: Tensor) -> Tensor:
        x = self.conv_first(image)
        for level in self.conv_blocks:
            x = level(x)
        latent: Tensor = self.final_block(self.mid_block(x))
        return latent


class Decoder(nn.Module):
    """Features with the latent's channels to images."""

    def __init__(self, widths: Sequence[int], channels: int, groups: int) -> None:
        super().__init__()
        self.conv_first = nn.Conv3d(channels, widths[0], 3, padding=1)
        self.mid_block = Middle(widths[0], groups)
        before, last = [widths[0], *widths], len(widths) - 1
        self.conv_blocks = nn.ModuleList(
            Level(before[i], width, groups, up=Upsample(width)) if i < last else Level(before[i], width, groups)
            for i, width in enumerate(widths)
        )
        self.final_block = _final(widths[-1], 1, groups)

    def forward(self, latent: Tensor) -> Tensor:
        x = self.mid_block(self.conv_first(latent))
        for level in self.conv_blocks:
            x = level(x)
        image: Tensor = self.final_block(x)
        return image


def _norm(channels: int, groups: int) -> nn.GroupNorm:
    return nn.GroupNorm(groups, channels, eps=1e-6)


def _final(channels: int, out: int, groups: int) -> nn.Sequential:
    return nn.Sequential(_norm(channels, groups), nn.SiLU(), nn.Conv3d(channels, out, 3, padding=1))
