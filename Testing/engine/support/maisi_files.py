"""Tiny checkpoints in the layout of NVIDIA's generators, made by MONAI's own classes and saved as its scripts save."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from monai.apps.generation.maisi.networks.autoencoderkl_maisi import AutoencoderKlMaisi
from monai.apps.generation.maisi.networks.controlnet_maisi import ControlNetMaisi
from monai.apps.generation.maisi.networks.diffusion_model_unet_maisi import DiffusionModelUNetMaisi
from monai.data import MetaTensor

SCALE = 0.8125
SHAPE, SPACING = (32, 64, 96), (1.5, 1.25, 2.0)  # three sizes: a forgotten transpose cannot hide
LATENT = (4, 8, 16, 24)
AUTOENCODER: dict[str, Any] = {"num_channels": [4, 8, 8], "num_res_blocks": [1, 1, 1], "norm_num_groups": 4}
DENOISER: dict[str, Any] = {
    "num_channels": [8, 8, 16, 16], "num_res_blocks": 1, "norm_num_groups": 4, "num_head_channels": [0, 0, 8, 8],
    "num_class_embeds": 40,
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "image_shape": list(SHAPE), "spacing": list(SPACING), "autoencoder": AUTOENCODER, "denoiser": DENOISER,
}  # fmt: skip


def monai_autoencoder(config: dict[str, Any] = AUTOENCODER) -> AutoencoderKlMaisi:
    """MONAI's class with the published arguments, but for those of `config`."""
    published = {
        "spatial_dims": 3, "in_channels": 1, "out_channels": 1, "latent_channels": 4,
        "attention_levels": [False, False, False], "norm_eps": 1e-6, "num_splits": 1,
    }  # fmt: skip
    return AutoencoderKlMaisi(**{**published, **config}).eval()


def monai_denoiser(config: dict[str, Any] = DENOISER, **changes: Any) -> DiffusionModelUNetMaisi:
    """MONAI's class with the published arguments, but for those of `config` and `changes`."""
    published = {
        "spatial_dims": 3, "in_channels": 4, "out_channels": 4, "attention_levels": [False, False, True, True],
        "include_spacing_input": True, "resblock_updown": True, "include_fc": True,
    }  # fmt: skip
    return DiffusionModelUNetMaisi(**{**published, **config, **changes}).eval()


def monai_controlnet(config: dict[str, Any] = DENOISER, **changes: Any) -> ControlNetMaisi:
    """MONAI's class with the published arguments, but for those of `config` and `changes`."""
    published = {
        "spatial_dims": 3, "in_channels": 4, "attention_levels": [False, False, True, True], "resblock_updown": True,
        "include_fc": True, "conditioning_embedding_in_channels": 8,
        "conditioning_embedding_num_channels": [8, 32, 64],
    }  # fmt: skip
    return ControlNetMaisi(**{**published, **config, **changes}).eval()


def lively(network: torch.nn.Module) -> Any:
    """Random weights everywhere, so that no layer is silent because it starts at zero."""
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
    return network


def networks(seed: int = 5) -> tuple[AutoencoderKlMaisi, DiffusionModelUNetMaisi]:
    """The tiny networks of a seed."""
    torch.manual_seed(seed)
    return lively(monai_autoencoder()), lively(monai_denoiser())


def write_files(folder: Path, seed: int = 5, scale: float = SCALE) -> dict[str, Path]:
    """`autoencoder_v1.pt` and a diffusion model's file as NVIDIA's training script leaves it, with a configuration.

    The script takes the scale factor from an image that MONAI has loaded, so that it is saved as a MetaTensor.
    """
    autoencoder, denoiser = networks(seed)
    files = {
        "autoencoder": folder / "autoencoder_v1.pt",
        "denoiser": folder / "diff_unet_3d_rflow-mr-brain_v1.pt",
        "config": folder / "config.json",
    }
    torch.save(autoencoder.state_dict(), files["autoencoder"])
    image = MetaTensor(torch.full((1, 4, 2, 2, 2), scale), affine=torch.eye(4))
    torch.save(
        {
            "epoch": 12, "loss": 0.25, "num_train_timesteps": 1000, "scale_factor": image.mean(),
            "unet_state_dict": denoiser.state_dict(),
        },
        files["denoiser"],
    )  # fmt: skip
    files["config"].write_text(json.dumps(CONFIG))
    return files
