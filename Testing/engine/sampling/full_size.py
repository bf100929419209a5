"""BrainLDM and the released VCM at full size, without memory: networks of PyTorch's `meta` device."""

from __future__ import annotations

import torch
from vcm.conditions.attributes import AttributeSpec
from vcm.conditions.condition import ConditionSpec
from vcm.models.backbones.autoencoders import build_autoencoder
from vcm.models.backbones.latent_diffusion import LatentDiffusion, build_denoiser
from vcm.models.backbones.published import core_config
from vcm.models.controls.published import ENCODER_OPTIONS
from vcm.models.controls.vcm_control import VcmControl
from vcm.models.controls.vcm_networks import VcmNetwork
from vcm.models.process import process_from
from vcm.packs.published_config import read_config

CONFIG = read_config()


def backbone(dtype: torch.dtype) -> LatentDiffusion:
    with torch.device("meta"):
        autoencoder = build_autoencoder(core_config(CONFIG.networks["autoencoder"])).to(dtype)
        denoiser = build_denoiser(core_config(CONFIG.networks["diffusion"])).to(dtype)
        return LatentDiffusion(
            grid=CONFIG.grid,
            latent_shape=(CONFIG.latent_channels, *CONFIG.latent_shape),
            process=process_from(CONFIG.schedule),
            attributes=tuple(map(AttributeSpec.from_dict, CONFIG.attributes)),
            autoencoder=autoencoder,
            denoiser=denoiser,
        ).eval()


def control(dtype: torch.dtype) -> VcmControl:
    encoder = core_config(CONFIG.networks["vcm_encoder"])
    specs = tuple(map(ConditionSpec.from_dict, CONFIG.conditions))
    with torch.device("meta"):
        network = VcmNetwork(
            {spec.name: spec.channels for spec in specs},
            encoder={name: value for name, value in encoder.items() if name in ENCODER_OPTIONS},
            unet=core_config(CONFIG.networks["vcm_unet"]),
            heads={"hidden": 128, "norm": True},
            shared_encoder=True,
        )
        return VcmControl(network.to(dtype), specs).eval()
