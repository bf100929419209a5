"""The family's networks, which are MONAI's own, and what its U-Net takes beside latent and time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.apps.generation.maisi.networks.autoencoderkl_maisi import AutoencoderKlMaisi
from monai.apps.generation.maisi.networks.diffusion_model_unet_maisi import DiffusionModelUNetMaisi
from monai.networks.blocks import SABlock
from torch import Tensor, nn

from vcm.models.backbones.backbone import Residuals, Shown, dtype_of

REGIONS = ("top_region", "bottom_region")
REGION_COUNT = 4
FLOW_VOXELS = 32**3
"""Voxels of the latent at which the times of a flow are not shifted."""


def build_autoencoder(config: Mapping[str, Any]) -> AutoencoderKlMaisi:
    """MONAI's autoencoder from a manifest's `networks.autoencoder`, with fresh weights.

    It neither splits its tensors nor halves the precision of its norms: to save memory is a matter of each run.
    """
    chosen = {"num_splits": 1, "norm_float16": False, "save_mem": False, "use_checkpointing": False}
    return AutoencoderKlMaisi(**{**config, **chosen})


def build_denoiser(config: Mapping[str, Any]) -> DiffusionModelUNetMaisi:
    """MONAI's diffusion U-Net from a manifest's `networks.denoiser`, with fresh weights."""
    return with_fused_attention(DiffusionModelUNetMaisi(**{**config, "use_flash_attention": False}))


def with_fused_attention(network: nn.Module) -> Any:
    """The network with PyTorch's fused attention, which these classes allow on graphics cards alone."""
    for module in network.modules():
        if isinstance(module, SABlock):
            module.use_flash_attention = True
    return network


def smallest_step(networks: Mapping[str, Any]) -> int:
    """Of how many voxels the sides of an image must be multiples: both networks halve them level by level."""
    halvings = sum(len(networks[role]["num_channels"]) - 1 for role in ("autoencoder", "denoiser"))
    return int(2**halvings)


def shift_of(latent_sides: Sequence[int]) -> float:
    """How far the times of a flow are drawn towards noise for a latent of these sides, as in training."""
    return float((math.prod(latent_sides) / FLOW_VOXELS) ** (1 / 3))


def conditioning(network: nn.Module, row: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
    """The U-Net's arguments from a row `[B, n]` of class, spacing and regions; those alone that the network takes."""
    found: dict[str, Tensor] = {}
    if getattr(network, "num_class_embeds", None) is not None:
        found["class_labels"] = row[:, 0].round().long()
    if getattr(network, "include_spacing_input", False):
        found["spacing_tensor"] = row[:, 1:4].to(dtype)
    start = 4
    for name in REGIONS:
        if getattr(network, f"include_{name}_index_input", False):
            found[f"{name}_index_tensor"] = row[:, start : start + REGION_COUNT].to(dtype)
            start += REGION_COUNT
    return found


class MaisiEncoder(DiffusionModelUNetMaisi):
    """The half of the U-Net that leads to its middle."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(**{**options, "use_flash_attention": False})
        del self.up_blocks, self.out
        with_fused_attention(self)

    def forward(self, shown: Shown, t: Tensor, hint: Tensor) -> Residuals:  # type: ignore[override]
        """The features at the skips and in the middle; `hint` is added after the first convolution."""
        assert shown.context is not None
        dtype = dtype_of(self)
        given, x = conditioning(self, shown.context, dtype), shown.tensor.to(dtype)
        emb = self._get_time_and_class_embedding(x, t, given.get("class_labels"))
        regions = [given.get(f"{name}_index_tensor") for name in REGIONS]
        emb = self._get_input_embeddings(emb, *regions, given.get("spacing_tensor"))
        h, skips = self._apply_down_blocks(self.conv_in(x) + hint, emb, None, None)
        return Residuals(tuple(skips), self.middle_block(h, emb, None))
