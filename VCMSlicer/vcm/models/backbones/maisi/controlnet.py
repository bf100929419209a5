"""MONAI's `ControlNetMaisi` as a control: NVIDIA's own ControlNet for its generators.

It sees label maps as bit planes, the lowest bit first, takes the class but not the spacing, and adds to the skips and
the middle of the backbone's U-Net at each step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from monai.apps.generation.maisi.networks.controlnet_maisi import ControlNetMaisi
from torch import Tensor, nn
from torch.nn import functional

from vcm.conditions.condition import ConditionSpec, Kind
from vcm.core.errors import Code, VcmError
from vcm.models.backbones.backbone import Backbone, Residuals, Shown, dtype_of
from vcm.models.backbones.maisi.networks import conditioning, with_fused_attention
from vcm.models.controls.control import Control, Step
from vcm.models.controls.network_control import refuse_released, with_changes
from vcm.models.preparers.preparer import PREPARERS
from vcm.packs.manifest import BackboneManifest

LEAST_PLANES = 8
"""The published network takes eight bits."""

HINT = (8, 32, 64)
"""The published channels of the convolutions that lead from the voxels to the latent's grid, a quarter of them."""

SHARED = (
    "spatial_dims", "in_channels", "num_channels", "attention_levels", "num_head_channels", "num_res_blocks",
    "norm_num_groups", "norm_eps", "num_class_embeds", "resblock_updown", "include_fc",
)  # fmt: skip
"""The options of the backbone's U-Net that the copy of its encoder has too."""


class MaisiControlNetwork(ControlNetMaisi):
    """MONAI's network, whose first convolutions over the conditions can be run once a Sample."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "use_flash_attention": False, "use_checkpointing": False})
        with_fused_attention(self)

    def guided(self, shown: Shown, t: Tensor, hint: Tensor) -> Residuals:
        """What is added, from what the convolutions over the conditions made."""
        assert shown.context is not None
        dtype = dtype_of(self)
        x, given = shown.tensor.to(dtype), conditioning(self, shown.context, dtype)
        emb = self._prepare_time_and_class_embedding(x, t, given.get("class_labels"))
        skips, h = self._apply_down_blocks(emb, None, self._apply_initial_convolution(x) + hint)
        h = self._apply_mid_block(emb, None, h)
        down, middle = self._apply_controlnet_blocks(h, skips)
        return Residuals(tuple(down), middle)


class MaisiControl(Control):
    """The control `controlnet-maisi`."""

    network: MaisiControlNetwork
    needs_residuals = True

    def __init__(
        self, network: nn.Module, conditions: Sequence[ConditionSpec], scale_factor: float | None = None
    ) -> None:
        super().__init__()
        self.network, self.conditions, self.scale_factor = network, tuple(conditions), scale_factor  # type: ignore[assignment]

    @classmethod
    def create(
        cls, networks: Mapping[str, Any], conditions: Sequence[ConditionSpec], scale_factor: float | None = None
    ) -> MaisiControl:
        """A control with random weights."""
        planes = max(LEAST_PLANES, sum(map(plane_count, conditions)))
        hint = {"conditioning_embedding_num_channels": networks["hint"]}
        network = MaisiControlNetwork(**{**networks["network"], "conditioning_embedding_in_channels": planes, **hint})
        return cls(network, conditions, scale_factor)

    @classmethod
    def configure(
        cls, manifest: BackboneManifest, conditions: Sequence[ConditionSpec], variant: str, changes: Mapping[str, Any]
    ) -> dict[str, Any]:
        """A copy of the encoder of the backbone's U-Net, in any variant."""
        refuse_released(variant)
        config = manifest.networks["denoiser"]
        if manifest.family != "maisi":
            raise VcmError(
                Code.BAD_REQUEST,
                f"The control controlnet-maisi is for NVIDIA's generators; {manifest.name} is of the family "
                f"{manifest.family}.",
                'Choose architecture = "controlnet".',
            )
        if latents := [spec.name for spec in conditions if PREPARERS[spec.preparer or "voxels"].makes_latents]:
            raise VcmError(
                Code.BAD_REQUEST,
                f"The control controlnet-maisi sees conditions voxel by voxel, and {latents[0]} would be a latent.",
                'Choose architecture = "vcm".',
            )
        halvings = round(math.log2(manifest.grid.shape[0] / manifest.latent.shape[1]))
        network = {name: config[name] for name in SHARED if name in config}
        made = {"network": network, "hint": [*HINT[:halvings], HINT[-1]][: halvings + 1]}
        return {"variant": variant, **with_changes(made, variant, changes)}

    def begin(self, backbone: Backbone) -> None:
        """The copy begins as the encoder of the backbone's U-Net.

        That takes the spacing besides, in the last columns of its layers for the time. As it is the same for every
        image of a grid, what it adds goes into their biases.
        """
        own, former = self.network.state_dict(), backbone.denoiser.state_dict()
        taken = {name: former[name] for name in own if name in former and former[name].shape == own[name].shape}
        constant = _constant_part(backbone)
        if constant is not None:
            for name in [name for name in own if name.endswith("time_emb_proj.weight")]:
                width, bias = own[name].shape[1], name.replace("weight", "bias")
                taken[name] = former[name][:, :width]
                taken[bias] = former[bias] + former[name][:, width:] @ constant.to(former[name])
        self.network.load_state_dict({**own, **taken})

    def prepare(
        self, conditions: Mapping[str, Tensor], subsets: Iterable[frozenset[str]]
    ) -> dict[frozenset[str], Tensor]:
        """What the first convolutions make of each set of conditions, which is the same at every step."""
        embed, dtype = self.network.controlnet_cond_embedding, dtype_of(self.network)
        return {subset: embed(self.planes(conditions, subset).to(dtype)) for subset in subsets}

    def guide(self, step: Step, state: Mapping[frozenset[str], Tensor], active: frozenset[str]) -> Tensor:
        """The prediction of the backbone with what the copy adds."""
        return step.predict(residuals=self.network.guided(step.shown(), step.t, state[active]))

    def planes(self, conditions: Mapping[str, Tensor], active: frozenset[str]) -> Tensor:
        """The bit planes `[B, P, i, j, k]` of the conditions, one after another; of an image the image itself.

        Those of a condition that is missing or not in `active` are zeros.
        """
        example = next(iter(conditions.values())).float()
        parts = []
        for spec in self.conditions:
            given = conditions.get(spec.name) if spec.name in active else None
            if given is None:
                parts.append(example.new_zeros(len(example), plane_count(spec), *example.shape[2:]))
            elif spec.kind is Kind.IMAGE:
                parts.append(given.float())
            else:
                parts.append(torch.einsum("pc,bcijk->bpijk", _bits(spec).to(example), given.float()))
        joined = torch.cat(parts, dim=1)
        missing = int(self.network.controlnet_cond_embedding.conv_in.in_channels) - joined.shape[1]
        return functional.pad(joined, (0, 0, 0, 0, 0, 0, 0, missing))


def plane_count(spec: ConditionSpec) -> int:
    """How many planes a condition takes: the bits of its largest value, one for an image."""
    return 1 if spec.kind is Kind.IMAGE else max(entry.value for entry in spec.classes).bit_length()


def _bits(spec: ConditionSpec) -> Tensor:
    """Which classes have which bit in their value, `[planes, classes]`."""
    values = torch.tensor([entry.value for entry in spec.classes])
    return ((values[None] >> torch.arange(plane_count(spec))[:, None]) & 1).float()


def _constant_part(backbone: Backbone) -> Tensor | None:
    """What the backbone's layers for the time see of the grid's spacing, `[width]`."""
    denoiser: Any = backbone.denoiser
    if not denoiser.include_spacing_input or denoiser.include_top_region_index_input:
        return None
    with torch.no_grad():
        spacing: Tensor = backbone.spacing  # type: ignore[assignment]
        return functional.silu(denoiser.spacing_layer(spacing[None].to(dtype_of(denoiser))))[0]
