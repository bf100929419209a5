"""The Volumetric Conditioning Module (Ahn et al., WACV 2025): an asymmetric U-Net that modulates ε.

Released and paper's variants differ in two switches: whether the encoder knows the time, and whether all conditions
share one encoder or each has its own (which allows any subset). Both are fields of the pack's manifest. Small
backbones have a network of their own (`patch_network`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.networks.blocks import Convolution
from monai.networks.nets import DiffusionModelUNet
from torch import Tensor, nn

from vcm.models.backbones.backbone import dtype_of
from vcm.models.backbones.latents import pad_to
from vcm.models.controls.condition_encoder import ConditionEncoder

SHARED = "shared"


def build_unet(config: Mapping[str, Any]) -> DiffusionModelUNet:
    """The U-Net of a control from its manifest, ready to learn before heads that start at zero."""
    chosen = {**config, "use_flash_attention": True, "upcast_attention": False, "with_conditioning": False}
    unet = DiffusionModelUNet(**{"include_fc": False, **chosen})
    # MONAI starts this layer at zero. Heads that start at zero too would never let it learn, nor it them.
    unet.out[-1].conv.reset_parameters()
    return unet


class ModulationHeads(nn.Module):
    """Split the U-Net's features into γ and β, each `[B, outputs, …]`.

    The released heads end in an InstanceNorm without parameters, so that γ and β have zero mean and unit variance over
    the whole volume and the identity cannot be reached; `norm=False` leaves it out and starts at the identity.
    """

    def __init__(self, inputs: int, outputs: int, hidden: int = 128, norm: bool = True) -> None:
        super().__init__()
        self.shared = Convolution(
            3, inputs, hidden, kernel_size=3, act=("leakyrelu", {"negative_slope": 0.01}), norm=None
        )
        ending: dict[str, Any] = {"act": None, "norm": "instance"} if norm else {"conv_only": True}
        self.gamma = Convolution(3, hidden, outputs, kernel_size=3, **ending)
        self.beta = Convolution(3, hidden, outputs, kernel_size=3, **ending)
        if not norm:
            for head in (self.gamma, self.beta):
                nn.init.zeros_(head.conv.weight)
                nn.init.zeros_(head.conv.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """γ (scale) and β (shift)."""
        h = self.shared(features)
        return self.gamma(h), self.beta(h)


class VcmNetwork(nn.Module):
    """Encoders for the conditions, a U-Net over (encoding, z_t, ε_t), and heads for γ and β.

    `channels` maps each condition to its number of input channels, in the order in which a shared encoder
    concatenates them.
    """

    as_latents: frozenset[str] = frozenset()
    shrinks = 1
    """How many times smaller than the voxels' grid the encoders' first is, along each axis."""

    def __init__(
        self,
        channels: Mapping[str, int],
        encoder: Mapping[str, Any],
        unet: Mapping[str, Any],
        heads: Mapping[str, Any] | None = None,
        *,
        shared_encoder: bool,
        latent_channels: int = 3,
    ) -> None:
        super().__init__()
        self.channels = dict(channels)
        widths = {SHARED: sum(channels.values())} if shared_encoder else self.channels
        self.encoders = nn.ModuleDict(
            {name: ConditionEncoder(**{**encoder, "in_channels": width}) for name, width in widths.items()}
        )
        self.unet, self.multiple = build_unet(unet), 2 ** (len(unet["channels"]) - 1)
        self.heads = ModulationHeads(int(unet["out_channels"]), latent_channels, **(heads or {}))
        self.shared_encoder = shared_encoder
        self.time_in_encoder = bool(encoder.get("time_embedding"))

    def encode(
        self, conditions: Mapping[str, Tensor], active: frozenset[str] | None = None, t: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Encode `{name: [B, channels, …]}`; the result maps each encoder to `[B, c, …]` on the latent's grid.

        A condition that is absent, or not in `active`, contributes zeros: after its own encoder (modality latent
        dropout), or in its input channels where all share one encoder.
        """
        present = {name: c for name, c in conditions.items() if active is None or name in active}
        example = next(iter(conditions.values()))
        if self.shared_encoder:
            zeros = {
                name: example.new_zeros(example.shape[0], width, *example.shape[2:])
                for name, width in self.channels.items()
                if name not in present
            }
            joined = torch.cat([{**present, **zeros}[name] for name in self.channels], dim=1)
            return {SHARED: self.encoders[SHARED](joined, t)}
        return {name: self.encoders[name](c, t) for name, c in present.items()}

    def modulation(
        self, latent: Tensor, eps: Tensor, t: Tensor, encoded: Mapping[str, Tensor], inputs: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """γ and β, each like `eps`, from what `encode` gave; encodings that are missing count as zeros. The backbone's
        inputs play no part.

        The U-Net sees zeros at the ends of axes that it could not halve. They are cut off before the heads, whose norm
        is over the latent alone.
        """
        dtype = dtype_of(self.heads)
        z, e = latent.to(dtype), eps.to(dtype)
        parts = []
        for name, encoder in self.encoders.items():
            part = encoded.get(name)
            if part is None:
                part = z.new_zeros(z.shape[0], int(encoder.out_channels), *z.shape[2:])  # type: ignore[arg-type]
            parts.append(part.expand(z.shape[0], -1, -1, -1, -1).to(z.dtype))
        i, j, k = z.shape[2:]
        whole = [size + -size % self.multiple for size in (i, j, k)]
        features = self.unet(pad_to(torch.cat([z, e, *parts], dim=1), whole), timesteps=t)[:, :, :i, :j, :k]
        gamma, beta = self.heads(features)
        return gamma, beta
