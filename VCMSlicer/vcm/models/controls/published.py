"""The released VCM checkpoint, read into `VcmNetwork`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from vcm.core.errors import Code, VcmError
from vcm.models.backbones.published import build_without_memory, core_config, match, rename
from vcm.models.controls.vcm_networks import SHARED, VcmNetwork

PLACES = {
    "modality_encoder.": f"encoders.{SHARED}.",
    "time_unet.": "unet.",
    "mlp_shared.": "heads.shared.",
    "mlp_gamma.": "heads.gamma.",
    "mlp_beta.": "heads.beta.",
}
ENCODER_OPTIONS = {
    "in_channels",
    "channels",
    "num_res_blocks",
    "norm_num_groups",
    "norm_eps",
    "attention_levels",
    "num_head_channels",
    "resblock_updown",
}


def translate_control(
    encoder_config: Mapping[str, Any], unet_config: Mapping[str, Any], state: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The manifest's `networks` and the weights of a released VCM: one encoder, no time in it, InstanceNorm heads."""
    encoder = {name: value for name, value in core_config(encoder_config).items() if name in ENCODER_OPTIONS}
    hidden = state.get("mlp_shared.conv.weight")
    gamma = state.get("mlp_gamma.conv.weight")
    if hidden is None or gamma is None:
        raise VcmError(
            Code.PACK_INVALID,
            "The checkpoint of the control lacks the heads of VCM (mlp_shared, mlp_gamma, mlp_beta).",
            "Give the released VCM checkpoint, not the backbone's.",
        )
    networks: dict[str, Any] = {
        "encoder": encoder,
        "unet": core_config(unet_config),
        "heads": {"hidden": int(hidden.shape[0]), "norm": True},
        "shared_encoder": True,
        "latent_channels": int(gamma.shape[0]),
    }
    network = build_without_memory("control", _build, networks)
    return networks, match("control", rename(_move(state), network), network)


def _build(networks: Mapping[str, Any]) -> nn.Module:
    return VcmNetwork({"conditions": int(networks["encoder"]["in_channels"])}, **networks)


def _move(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    moved = {}
    for name, tensor in state.items():
        place = next((old for old in PLACES if name.startswith(old)), None)
        moved[PLACES[place] + name[len(place) :] if place else name] = tensor
    return moved
