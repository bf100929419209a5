"""The Volumetric Conditioning Module (Ahn et al., WACV 2025): an asymmetric U-Net that modulates ε.

Released and paper's variants differ in two switches: whether the encoder knows the time, and whether all conditions
share one encoder or each has its own (which allows any subset). Both are fields of the pack's manifest. Small
backbones have a network of their own (`patch_network`); the options from `condition_packing` on are there to read small
controls that were taught before it (variant `packed`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.networks.blocks import Convolution
from monai.networks.nets import DiffusionModelUNet
from torch import Tensor, nn

from vcm.backbones.latent_diffusion import dtype_of
from vcm.backbones.latents import pack, unpack
from vcm.backbones.noise_levels import NoiseLevels
from vcm.backbones.schedule import Schedule
from vcm.controls.condition_encoder import ConditionEncoder
from vcm.controls.patch_encoder import PatchEncoder, unusual

SHARED = "shared"


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
    concatenates them. `condition_packing` and `latent_packing` trade resolution for channels without loss, for
    backbones small enough to run on a CPU; `condition_pooling` averages blocks of voxels before that. An `encoder` with
    `places` is a `PatchEncoder`, any other a `ConditionEncoder`. With a `schedule` the network sees v in place of ε,
    and its γ and β are scaled by √ᾱ_t, so that one unit of its output moves v by one unit at every noise level: where
    ᾱ is 10⁻⁴, ε is nearly the latent itself, and what decides the layout is a hundredth of it. `condition_gain`
    multiplies the conditions: a mask fills a hundredth of a head, and without a gain its encoding drowns between z and
    ε. With a
    `typical_shape` the encoders see how a condition differs from the typical one, a tensor of that shape kept with
    the weights: a whitened latent says nothing of where it lies, so that a network of convolutions could not know
    whether the absence of a structure is worth a remark. With `direct` the heads see the encodings too, beside what
    the U-Net made of them, so that a shift of the latent where the mask is can be learned in tens of steps instead of
    thousands; there they are scaled by √(1−ᾱ_t), since a condition adds the less the more of the latent shows.
    """

    as_latents: frozenset[str] = frozenset()

    def __init__(
        self,
        channels: Mapping[str, int],
        encoder: Mapping[str, Any],
        unet: Mapping[str, Any],
        heads: Mapping[str, Any] | None = None,
        *,
        shared_encoder: bool,
        condition_packing: int = 1,
        condition_pooling: int = 1,
        latent_packing: int = 1,
        latent_channels: int = 3,
        schedule: Mapping[str, Any] | None = None,
        condition_gain: float = 1.0,
        typical_shape: Sequence[int] | None = None,
        direct: bool = False,
    ) -> None:
        super().__init__()
        self.channels = dict(channels)
        self.condition_packing, self.latent_packing = condition_packing, latent_packing
        self.condition_pooling, self.condition_gain = condition_pooling, condition_gain
        for name, width in self.channels.items() if typical_shape else ():
            self.register_buffer(f"typical_{name}", torch.zeros(width, *(typical_shape or ())))
        seen = latent_channels * latent_packing**3
        widths = {name: width * condition_packing**3 for name, width in self.channels.items()}
        widths = {SHARED: sum(widths.values())} if shared_encoder else widths
        build = PatchEncoder if "places" in encoder else ConditionEncoder
        self.encoders = nn.ModuleDict(
            {name: build(**{**encoder, "in_channels": width}) for name, width in widths.items()}
        )
        chosen = {**unet, "use_flash_attention": True, "upcast_attention": False, "with_conditioning": False}
        self.unet = DiffusionModelUNet(**{"include_fc": False, **chosen})
        self.direct = direct
        if not direct:
            # MONAI starts this layer at zero. Heads that start at zero too would never let it learn, nor it them.
            self.unet.out[-1].conv.reset_parameters()
        seen_by_heads = int(unet["out_channels"])
        if direct:
            seen_by_heads += sum(encoder.out_channels for encoder in self.encoders.values())  # type: ignore[misc]
        self.heads = ModulationHeads(seen_by_heads, seen, **(heads or {}))
        self.noise_levels = None if schedule is None else NoiseLevels(Schedule.from_dict(schedule))
        self.shared_encoder = shared_encoder
        self.time_in_encoder = bool(encoder.get("time_embedding"))

    def encode(
        self, conditions: Mapping[str, Tensor], active: frozenset[str] | None = None, t: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Encode `{name: [B, channels, …]}`; the result maps each encoder to `[B, c, …]` on the latent's grid.

        A condition that is absent, or not in `active`, contributes zeros: after its own encoder (modality latent
        dropout), or in its input channels where all share one encoder.
        """
        present = {name: self._unusual(name, c) for name, c in conditions.items() if active is None or name in active}
        example = next(iter(conditions.values()))
        if self.shared_encoder:
            zeros = {
                name: example.new_zeros(example.shape[0], width, *example.shape[2:])
                for name, width in self.channels.items()
                if name not in present
            }
            joined = torch.cat([{**present, **zeros}[name] for name in self.channels], dim=1)
            return {SHARED: self.encoders[SHARED](pack(joined, self.condition_packing), t)}
        return {name: self.encoders[name](pack(c, self.condition_packing), t) for name, c in present.items()}

    def _unusual(self, name: str, condition: Tensor) -> Tensor:
        typical = getattr(self, f"typical_{name}", None)
        return unusual(condition, typical, self.condition_pooling, self.condition_gain)

    def modulation(
        self, latent: Tensor, eps: Tensor, t: Tensor, encoded: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """γ and β, each like `eps`, from what `encode` gave; encodings that are missing count as zeros."""
        seen, scale = eps, None
        unseen: Tensor | float = 1.0
        if self.noise_levels is not None:
            alpha_bar = self.noise_levels(t)
            scale, unseen = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
            seen = (eps.float() - (1 - alpha_bar).sqrt() * latent.float()) / scale
        dtype = dtype_of(self.heads)
        z, e = pack(latent.to(dtype), self.latent_packing), pack(seen.to(dtype), self.latent_packing)
        parts = []
        for name, encoder in self.encoders.items():
            part = encoded.get(name)
            if part is None:
                part = z.new_zeros(z.shape[0], int(encoder.out_channels), *z.shape[2:])  # type: ignore[arg-type]
            parts.append(part.expand(z.shape[0], -1, -1, -1, -1).to(z.dtype))
        features = self.unet(torch.cat([z, e, *parts], dim=1), timesteps=t)
        if self.direct:
            features = torch.cat([features, *((part * unseen).to(features.dtype) for part in parts)], dim=1)
        gamma, beta = self.heads(features)
        gamma, beta = unpack(gamma, self.latent_packing), unpack(beta, self.latent_packing)
        return (gamma, beta) if scale is None else (gamma * scale, beta * scale)
