"""The published networks with random weights: BrainLDM of monai-generative, and VCM around its U-Net."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from vcm.core.errors import Code, VcmError
from vcm.models.backbones.published import core_config
from vcm.models.controls.condition_encoder import ConditionEncoder
from vcm.models.controls.published import ENCODER_OPTIONS
from vcm.models.controls.vcm_networks import ModulationHeads
from vcm.packs.published_config import PublishedConfig

HIDDEN = 128
"""Width between the released U-Net and its two heads."""


class PublishedVcm(nn.Module):
    """The released VCM. monai-generative has no class for its encoder and heads; these are of the engine.

    They hold the released weights under the released names and are the same arithmetic; the U-Net is
    monai-generative's own.
    """

    def __init__(self, config: PublishedConfig) -> None:
        super().__init__()
        from generative.networks.nets import DiffusionModelUNet

        encoder, unet = core_config(config.networks["vcm_encoder"]), config.networks["vcm_unet"]
        self.modality_encoder = ConditionEncoder(**{k: v for k, v in encoder.items() if k in ENCODER_OPTIONS})
        self.time_unet = DiffusionModelUNet(**unet)
        heads = ModulationHeads(unet["out_channels"], config.latent_channels, HIDDEN, norm=True)
        self.mlp_shared, self.mlp_gamma, self.mlp_beta = heads.shared, heads.gamma, heads.beta

    def forward(self, latent: Tensor, eps: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The modulated ε, with the condition encoded anew."""
        encoded = self.modality_encoder(condition)
        h = self.mlp_shared(self.time_unet(torch.cat([latent, eps, encoded], dim=1), timesteps=t))
        return eps * (1 + self.mlp_gamma(h)) + self.mlp_beta(h)


class PublishedNetworks(nn.Module):
    """Autoencoder, denoiser and VCM as published, in fp32."""

    def __init__(self, config: PublishedConfig) -> None:
        super().__init__()
        from generative.networks.nets import AutoencoderKL, DiffusionModelUNet

        self.autoencoder = AutoencoderKL(**config.networks["autoencoder"])
        self.denoiser = DiffusionModelUNet(**config.networks["diffusion"])
        self.vcm = PublishedVcm(config)


def build_published(config: PublishedConfig, device: torch.device, seed: int) -> PublishedNetworks:
    """The networks on a device, with weights drawn from a seed; none of them is zero, as some would start."""
    require_reference()
    with torch.random.fork_rng(), torch.device(device), torch.no_grad():
        torch.manual_seed(seed)
        networks = PublishedNetworks(config).eval().requires_grad_(False)
        for parameter in networks.parameters():
            if not parameter.any():
                parameter.normal_(std=0.02)
    return networks


def require_reference() -> None:
    """Raise, in a sentence, where monai-generative is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import generative.networks.nets  # noqa: F401
    except ImportError as error:
        raise VcmError(
            Code.BAD_REQUEST,
            "The benchmark compares with the published networks, but monai-generative is not installed.",
            "Install it in the repository's folder: pip install '.[reference]'",
        ) from error
