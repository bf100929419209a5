"""MCM, the Modulating Conditioning Module (Ham et al., ECCV 2024: "Modulating Pretrained Diffusion Models") in 3-D.

A small U-Net over the noisy latent, what the backbone predicts of it and the conditions, brought to the latent's grid
by averages. γ and β modulate the prediction as VCM's do: p′ = p·(1 + γ) + β, in the backbone's own parameterisation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from vcm.conditions.condition import ConditionSpec
from vcm.models.backbones.backbone import dtype_of
from vcm.models.backbones.latents import pack, pad_to, unpack
from vcm.models.controls.control import Step
from vcm.models.controls.network_control import Planes, PlanesControl, latent_config, refuse_released, with_changes
from vcm.models.controls.vcm_networks import ModulationHeads, build_unet
from vcm.models.process import Prediction
from vcm.packs.manifest import BackboneManifest


class McmNetwork(Planes):
    """The U-Net and its heads, on the latent packed by `packing`."""

    def __init__(
        self,
        channels: Mapping[str, int],
        *,
        unet: Mapping[str, Any],
        hidden: int,
        latent_shape: Sequence[int],
        packing: int,
    ) -> None:
        super().__init__()
        count, *places = latent_shape
        self.channels, self.packing, self.latent_shape = dict(channels), packing, tuple(latent_shape)
        width, halvings = count * packing**3, len(unet["channels"]) - 1
        self.packed = [size // packing for size in places]
        self.whole = [size + -size % 2**halvings for size in self.packed]
        self.unet = build_unet({**unet, "in_channels": 2 * width + sum(channels.values()) * packing**3})
        self.heads = ModulationHeads(int(unet["out_channels"]), width, hidden, norm=False)

    def forward(self, latent: Tensor, prediction: Tensor, t: Tensor, planes: Tensor) -> tuple[Tensor, Tensor]:
        """γ and β like the latent; `planes` `[B, ΣC, *latent's grid]`."""
        parts = [latent, prediction, planes.expand(len(latent), -1, -1, -1, -1)]
        seen = torch.cat([pack(part.to(dtype_of(self)), self.packing) for part in parts], dim=1)
        gamma, beta = self.heads(self.unet(pad_to(seen, self.whole), timesteps=t))
        i, j, k = self.packed
        return unpack(gamma[:, :, :i, :j, :k], self.packing), unpack(beta[:, :, :i, :j, :k], self.packing)


class Mcm(PlanesControl):
    """The control `mcm`."""

    asks_plainly = True

    network: McmNetwork
    network_class = McmNetwork
    widths: ClassVar[Mapping[str, tuple[int, ...]]] = {"small": (32, 64), "paper": (32, 64, 128)}

    @classmethod
    def configure(
        cls, manifest: BackboneManifest, conditions: Sequence[ConditionSpec], variant: str, changes: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The paper's has three levels on the latent as it is; a small one two, on the packed latent."""
        refuse_released(variant)
        channels, paper = cls.widths[variant], variant == "paper"
        config = {
            "unet": {
                "spatial_dims": 3,
                "out_channels": 64 if paper else channels[0],
                "channels": list(channels),
                "num_res_blocks": 2 if paper else 1,
                "attention_levels": [False, *(paper for _ in channels[1:])],
                "norm_num_groups": 32 if paper else 8,
                "norm_eps": 1e-6,
                "num_head_channels": [0, *channels[1:]],
                "resblock_updown": paper,
                "include_fc": True,
            },
            "hidden": 128 if paper else 2 * channels[0],
            **latent_config(manifest),
            **({"packing": 1} if paper else {}),
        }
        return {"variant": variant, **with_changes(config, variant, changes)}

    def guide(self, step: Step, state: Mapping[frozenset[str], Tensor], active: frozenset[str]) -> Tensor:
        """The modulated prediction."""
        own, levels, z = step.process.prediction, step.levels, step.latent.float()
        prediction = Prediction(z, step.predict().float(), step.kind).as_kind(own, *levels)
        gamma, beta = self.network(z, prediction, step.t, state[active])
        modulated = prediction * (1 + gamma.float()) + beta.float()
        return Prediction(z, modulated, own).as_kind(step.kind, *levels)


class McmLarge(Mcm):
    """The control `mcm-l`: as many parameters as VCM, to tell the design's share from the size's."""

    widths = {"small": (64, 128), "paper": (64, 128, 256)}  # noqa: RUF012
    small_learning_rate = 3e-4
