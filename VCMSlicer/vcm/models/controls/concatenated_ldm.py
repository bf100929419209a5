"""What controls are compared with: a denoiser of its own that is shown the conditions as further channels.

It stands in for the backbone's and is as large. It begins with random weights (`ldm-scratch`) or with the backbone's
own (`ldm-fine-tuned`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from vcm.conditions.condition import ConditionSpec
from vcm.core.errors import Code, VcmError
from vcm.models.backbones.backbone import Backbone
from vcm.models.controls.control import Step
from vcm.models.controls.network_control import Planes, PlanesControl, latent_config, refuse_released, with_changes
from vcm.models.loading import BACKBONES
from vcm.packs.manifest import BackboneManifest

FIRST = "conv_in.conv.weight"


class ConcatenatedNetwork(Planes):
    """A copy of the backbone's denoiser whose first convolution takes the conditions on the latent's grid, too."""

    def __init__(
        self,
        channels: Mapping[str, int],
        *,
        family: str,
        denoiser: Mapping[str, Any],
        latent_shape: Sequence[int],
        packing: int,
    ) -> None:
        super().__init__()
        self.channels, self.latent_shape = dict(channels), tuple(latent_shape)
        more = sum(channels.values()) * packing**3
        self.denoiser = BACKBONES[family].copy_of_denoiser(
            {**denoiser, "in_channels": int(denoiser["in_channels"]) + more}
        )


class LdmFineTuned(PlanesControl):
    """The control `ldm-fine-tuned`; the conditions' channels begin at zero."""

    network: ConcatenatedNetwork
    network_class = ConcatenatedNetwork
    attend: ClassVar[bool] = True
    small_learning_rate = 3e-4

    @classmethod
    def configure(
        cls, manifest: BackboneManifest, conditions: Sequence[ConditionSpec], variant: str, changes: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The backbone's own network."""
        refuse_released(variant)
        family = BACKBONES[manifest.family]
        if not family.takes_planes:
            raise VcmError(
                Code.BAD_REQUEST,
                "A control of this kind is a copy of its backbone's denoiser that takes the conditions as further "
                f"channels, and no such copy can be made of {manifest.name} (family {manifest.family}).",
                "Choose a control that corrects what the backbone predicts, such as vcm or mcm.",
            )
        config = {
            "family": manifest.family,
            "denoiser": family.network_options(manifest, attend=cls.attend),
            **latent_config(manifest),
        }
        return {"variant": variant, **with_changes(config, variant, changes)}

    def begin(self, backbone: Backbone) -> None:
        """The weights are the backbone's."""
        former = dict(backbone.denoiser.state_dict())
        own = self.network.denoiser.state_dict()[FIRST]
        zeros = own.new_zeros(own.shape[0], own.shape[1] - former[FIRST].shape[1], *own.shape[2:])
        former[FIRST] = torch.cat([former[FIRST].to(own), zeros], dim=1)
        self.network.denoiser.load_state_dict(former)

    def guide(self, step: Step, state: Mapping[frozenset[str], Tensor], active: frozenset[str]) -> Tensor:
        """What the denoiser of its own predicts; the backbone's is not asked."""
        return step.predict_with(self.network.denoiser, state[active])


class LdmScratch(LdmFineTuned):
    """The control `ldm-scratch`; as in the paper it does not attend to the inputs as a context."""

    attend = False

    def begin(self, backbone: Backbone) -> None:
        """Random weights stay."""
