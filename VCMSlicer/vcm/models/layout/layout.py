"""A layout pack's networks together, and what is asked of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vcm.core.errors import Code, VcmError
from vcm.models.layout.block_embedding import SHRINKS
from vcm.models.layout.label_autoencoder import LabelAutoencoder
from vcm.models.layout.layout_denoiser import LayoutDenoiser
from vcm.models.process import Prediction, Process
from vcm.models.weights import load
from vcm.packs.manifest import LayoutManifest
from vcm.packs.store import Pack


class Layout(nn.Module):
    """Label maps `[i, j, k]` of a pack's grid, formed from noise around what is given."""

    def __init__(self, autoencoder: LabelAutoencoder, denoiser: LayoutDenoiser, process: Process) -> None:
        super().__init__()
        self.autoencoder, self.denoiser, self.process = autoencoder, denoiser, process

    @classmethod
    def load(cls, pack: Pack) -> Layout:
        """The networks of a pack, in fp32 on the CPU."""
        manifest = pack.layout
        _check_sizes(manifest)
        labels, networks = len(manifest.classes) + 1, manifest.networks
        shape, attributes = manifest.latent_shape, len(manifest.attributes)
        autoencoder = load(pack, "autoencoder", lambda: new_autoencoder(labels, networks["autoencoder"]))
        denoiser = load(pack, "denoiser", lambda: new_denoiser(labels, shape, attributes, networks["denoiser"]))
        return cls(autoencoder, denoiser, manifest.process).eval()

    def predict(self, latent: Tensor, t: float, seen: Tensor, attributes: Tensor) -> Prediction:
        """The prediction for noisy latents at a time, given what `LayoutDenoiser.see` made of the possible labels."""
        times = torch.full((len(latent),), t / self.process.timesteps, device=latent.device)
        value = self.denoiser(latent, times, seen, attributes)
        return Prediction(latent, value, self.process.prediction, self.process.bound)


def new_autoencoder(labels: int, options: Mapping[str, Any]) -> LabelAutoencoder:
    """One with random weights, from a manifest's `networks`."""
    return LabelAutoencoder(labels=labels, **options)


def new_denoiser(
    labels: int, latent_shape: Sequence[int], attributes: int, options: Mapping[str, Any]
) -> LayoutDenoiser:
    """One with random weights, from a manifest's `networks`."""
    channels, *grid = latent_shape
    return LayoutDenoiser(labels=labels, grid=grid, attributes=attributes, latent_channels=channels, **options)


def latent_sizes(shape: Sequence[int]) -> list[int]:
    """The sizes of the latent of a grid; one that cannot be divided so is refused."""
    if any(size % (SHRINKS) for size in shape):
        raise VcmError(
            Code.BAD_REQUEST,
            f"A layout needs a grid whose sizes are multiples of {SHRINKS}, not {tuple(shape)}.",
            "Make the cohort on another grid (--grid).",
        )
    return [size // SHRINKS for size in shape]


def _check_sizes(manifest: LayoutManifest) -> None:
    if [SHRINKS * size for size in manifest.latent_shape[1:]] != list(manifest.grid.shape):
        raise VcmError(
            Code.PACK_INVALID,
            f"The pack {manifest.name} gives its latent the sizes {manifest.latent_shape[1:]}, which are not a quarter "
            f"of its grid, {manifest.grid.shape}.",
            "Get the pack again.",
        )
