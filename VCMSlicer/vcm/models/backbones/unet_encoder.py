"""MONAI's diffusion U-Net from within: where it takes residuals, and a copy of the half that leads to its middle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.networks.nets.controlnet import ControlNet
from monai.networks.nets.diffusion_model_unet import get_timestep_embedding
from torch import Tensor, nn

from vcm.models.backbones.backbone import Residuals, Shown, Site, Sites, dtype_of

CONTEXT_OPTIONS = ("with_conditioning", "cross_attention_dim", "transformer_num_layers", "include_fc")


class UnetEncoder(nn.Module):
    """The downward half and the middle of `DiffusionModelUNet`, with the names that its weights have there."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__()
        chosen = {name: value for name, value in options.items() if name != "out_channels"}
        with_context = bool(options.get("with_conditioning"))
        made = ControlNet(**{**chosen, "use_flash_attention": True, "conditioning_embedding_num_channels": (1,)})
        self.base, self.with_context = int(options["channels"][0]), with_context
        self.conv_in, self.time_embed = made.conv_in, made.time_embed
        self.down_blocks, self.middle_block = made.down_blocks, made.middle_block

    def forward(self, shown: Shown, t: Tensor, hint: Tensor) -> Residuals:
        """The features at the skips and in the middle; `hint` `[B, C, *grid]` is added after the first convolution."""
        dtype = dtype_of(self)
        context = shown.context.to(dtype) if self.with_context and shown.context is not None else None
        emb = self.time_embed(get_timestep_embedding(t, self.base).to(dtype))
        h = self.conv_in(shown.tensor.to(dtype)) + hint
        skips = [h]
        for block in self.down_blocks:
            h, made = block(hidden_states=h, temb=emb, context=context)
            skips += made
        return Residuals(tuple(skips), self.middle_block(hidden_states=h, temb=emb, context=context))


def unet_options(config: Mapping[str, Any], *, attend: bool = True) -> dict[str, Any]:
    """The U-Net's options, or those of one with plain self-attention in place of attention to a context."""
    kept = {name: value for name, value in config.items() if attend or name not in CONTEXT_OPTIONS}
    return {**kept, "include_fc": not attend or bool(config.get("with_conditioning"))}


def unet_sites(config: Mapping[str, Any], places: Sequence[int]) -> Sites:
    """The skips from the first to the last, and the middle, for an input on the grid `places`.

    >>> unet_sites({"channels": [8, 16], "num_res_blocks": 1}, (5, 6, 4)).every[-2:]
    (Site(channels=16, grid=(3, 3, 2)), Site(channels=16, grid=(3, 3, 2)))
    """
    channels = [int(count) for count in config["channels"]]
    blocks = config.get("num_res_blocks", 2)
    blocks = [blocks] * len(channels) if isinstance(blocks, int) else list(blocks)
    i, j, k = halvable(places, len(channels))
    down = [Site(channels[0], (i, j, k))]
    for level, count in enumerate(channels):
        down += [Site(count, (i, j, k))] * blocks[level]
        if level + 1 < len(channels):
            i, j, k = i // 2, j // 2, k // 2
            down.append(Site(count, (i, j, k)))
    return Sites(tuple(down), Site(channels[-1], (i, j, k)))


def residual_arguments(residuals: Residuals | None, dtype: torch.dtype) -> dict[str, Any]:
    """The arguments by which MONAI's U-Nets take residuals."""
    if residuals is None:
        return {}
    return {
        "down_block_additional_residuals": tuple(part.to(dtype) for part in residuals.down) or None,
        "mid_block_additional_residual": None if residuals.middle is None else residuals.middle.to(dtype),
    }


def halvable(places: Sequence[int], levels: int) -> tuple[int, int, int]:
    """The next larger grid that a U-Net of so many levels can halve to its middle."""
    i, j, k = (size + -size % 2 ** (levels - 1) for size in places)
    return i, j, k
