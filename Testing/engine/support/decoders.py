"""Autoencoders of MONAI's with random weights and decoders of several kinds."""

from __future__ import annotations

import torch
from tiny import randomised
from vcm.models.backbones.autoencoders import build_autoencoder

PLAIN = {"channels": [4, 8, 8], "num_res_blocks": [1, 2, 1], "attention_levels": [False] * 3}
DECODERS = {
    "as BrainLDM's": PLAIN,
    "one level": {"channels": [8], "num_res_blocks": [2], "attention_levels": [False]},
    "wider at the bottom": {"channels": [4, 8, 12], "num_res_blocks": [2, 1, 1], "attention_levels": [False] * 3},
    "attention at a level": {**PLAIN, "attention_levels": [False, True, False]},
    "attention at the bottom": {**PLAIN, "with_decoder_nonlocal_attn": True},
    "transposed convolutions": {**PLAIN, "use_convtranspose": True},
}


def autoencoder(name: str = "as BrainLDM's", **changes):
    """One of them with weights from a fixed seed, none of them zero."""
    torch.manual_seed(0)
    return randomised(built(name, **changes)).eval()


def built(name: str, **changes):
    """One of them as MONAI makes it."""
    config = {
        "spatial_dims": 3, "in_channels": 1, "out_channels": 1, "latent_channels": 3, "norm_num_groups": 4,
        "with_encoder_nonlocal_attn": False, "with_decoder_nonlocal_attn": False, **DECODERS[name], **changes,
    }  # fmt: skip
    return build_autoencoder(config)


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference in standard deviations of what was expected."""
    return float((found.to(expected.dtype) - expected).abs().max() / expected.float().std())
