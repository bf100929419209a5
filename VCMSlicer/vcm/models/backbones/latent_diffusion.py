"""BrainLDM and its like: an autoencoder, a denoising U-Net and a few scalars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.networks.nets import DiffusionModelUNet
from torch import Tensor, nn
from torch.nn import functional

from vcm.conditions.attributes import AttributeSpec
from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.models.backbones.autoencoders import Autoencoder, decode_in_slabs
from vcm.models.backbones.latents import pack, unpack
from vcm.models.noise_levels import NoiseLevels
from vcm.models.schedule import Schedule


def build_denoiser(config: Mapping[str, Any]) -> DiffusionModelUNet:
    """MONAI's diffusion U-Net from a manifest's `networks.denoiser`.

    Attention runs through PyTorch's fused kernel, which accumulates in fp32 by itself; `upcast_attention` would only
    hand it mixed types. Without context the attention has no output projection, as in the published networks.
    """
    chosen = {**config, "use_flash_attention": True, "upcast_attention": False}
    return DiffusionModelUNet(**{"include_fc": bool(config.get("with_conditioning")), **chosen})


class LatentDiffusion(nn.Module):
    """A latent diffusion model with scalar attributes, given as channels and, where the U-Net takes it, as context.

    `packing` and `whitening` (per-voxel mean and standard deviation) describe how the denoiser sees the latent; the
    real BrainLDM is the case packing 1, one scale factor, ε-prediction. They stay inside: everything above sees a
    latent of about unit variance, and ε. With `atlas` the denoiser is also shown the mean latent that whitening took
    out: convolutions do not know where they are, and at high noise the latent does not tell them. With `slab_bytes`
    set, `decode` works slab by slab: the same image in less memory. Latents whose packed sizes the denoiser's levels
    cannot halve are given to it with zeros at their ends.
    """

    latent_mean: Tensor
    latent_std: Tensor
    atlas: Tensor

    def __init__(
        self,
        *,
        grid: Grid,
        latent_shape: tuple[int, int, int, int],
        schedule: Schedule,
        attributes: tuple[AttributeSpec, ...],
        autoencoder: Autoencoder,
        denoiser: DiffusionModelUNet,
        scale_factor: float = 1.0,
        packing: int = 1,
        whitening: tuple[Tensor, Tensor] | None = None,
        atlas: bool = False,
    ) -> None:
        super().__init__()
        self.grid, self.latent_shape, self.schedule, self.attributes = grid, latent_shape, schedule, attributes
        self.autoencoder, self.denoiser = autoencoder, denoiser
        self.scale_factor, self.packing = scale_factor, packing
        self.slab_bytes: int | None = None
        mean, std = whitening or (torch.zeros(()), torch.ones(()))
        self.register_buffer("latent_mean", mean.float(), persistent=False)
        self.register_buffer("latent_std", std.float(), persistent=False)
        shown = pack(standardised(self.latent_mean)[None], packing) if atlas else torch.zeros(1, 0, 1, 1, 1)
        self.register_buffer("atlas", shown, persistent=False)
        self.noise_levels = NoiseLevels(schedule)
        self._typical: Tensor | None = None
        self.context = bool(getattr(denoiser, "with_conditioning", False))
        extra = int(denoiser.in_channels) - latent_shape[0] * packing**3 - shown.shape[1]  # type: ignore[arg-type]
        if extra not in (0, len(attributes)):
            raise VcmError(
                Code.PACK_INVALID,
                f"The denoiser takes {extra} channels beside the latent, but the pack names {len(attributes)} "
                "attributes.",
                "Check the pack's latent shape, packing and attributes.",
            )
        self.attribute_channels = extra

    def encode(self, image: Tensor) -> Tensor:
        """The latent of images `[B, 1, i, j, k]` in 0–1: the posterior's mean, whitened or scaled."""
        return self.posterior(image)[0]

    def posterior(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents that images may stand for, both whitened or scaled."""
        mean, spread = self.autoencoder.encode(image.to(dtype_of(self.autoencoder)))
        whitened = (mean.float() * self.scale_factor - self.latent_mean) / self.latent_std
        return whitened, spread.float() * self.scale_factor / self.latent_std

    def decode(self, latent: Tensor, scale_factor: float | None = None) -> Tensor:
        """The images `[B, 1, i, j, k]` of latents, as decoded and unscaled."""
        z = (latent.float() * self.latent_std + self.latent_mean) / (scale_factor or self.scale_factor)
        z = z.to(dtype_of(self.autoencoder))
        if self.slab_bytes:
            return decode_in_slabs(self.autoencoder, z, self.slab_bytes).float()
        return self.autoencoder.decode(z).float()

    @torch.no_grad()
    def typical_image(self) -> Tensor | None:
        """The image of the mean latent, on the CPU; decoded once. None where no mean was taken out of the latents."""
        if self._typical is None and self.latent_mean.ndim:
            zeros = torch.zeros((1, *self.latent_shape), device=self.latent_mean.device)
            self._typical = self.decode(zeros).cpu()
        return self._typical

    def denoise(self, latent: Tensor, t: Tensor, attributes: Tensor) -> Tensor:
        """ε of latents at timesteps `t` `[B]`, with raw attributes `[B, n]`."""
        dtype = dtype_of(self.denoiser)
        x = pack(latent, self.packing)
        if self.attribute_channels:
            planes = attributes[:, :, None, None, None].expand(-1, -1, *x.shape[2:])
            x = torch.cat([x, planes.to(x.dtype)], dim=1)
        if self.atlas.shape[1]:
            x = torch.cat([x, self.atlas.to(x.dtype).expand(len(x), -1, -1, -1, -1)], dim=1)
        context = attributes[:, None, :].to(dtype) if self.context else None
        i, j, k = x.shape[2:]
        halvings = len(getattr(self.denoiser, "block_out_channels", "1")) - 1
        missing = [-size % 2**halvings for size in (k, j, i)]
        x = functional.pad(x, [part for size in missing for part in (0, size)])
        predicted = self.denoiser(x.to(dtype), timesteps=t, context=context)[:, :, :i, :j, :k]
        predicted = unpack(predicted.float(), self.packing)
        if self.schedule.prediction == "v":
            return self._eps_from_v(predicted, latent.float(), t)
        return predicted

    def _eps_from_v(self, v: Tensor, latent: Tensor, t: Tensor) -> Tensor:
        """ε = √(1−ᾱ)·z + √ᾱ·v."""
        alpha_bar = self.noise_levels(t)
        return (1 - alpha_bar).sqrt() * latent + alpha_bar.sqrt() * v


def standardised(mean: Tensor) -> Tensor:
    """A mean latent `[C, i, j, k]` with each channel brought to mean 0 and standard deviation 1."""
    return (mean - mean.mean(dim=(1, 2, 3), keepdim=True)) / mean.std(dim=(1, 2, 3), keepdim=True)


def dtype_of(module: nn.Module) -> torch.dtype:
    """The number format of a network's weights."""
    return next(module.parameters()).dtype
