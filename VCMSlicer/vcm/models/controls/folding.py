"""Weights that need not be shipped: what a network of patches learned with, taken into what it learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from vcm.models.backbones.latents import pack
from vcm.models.controls.patch_network import PatchNetwork

TYPICAL = "typical_"


def fold_typical(
    networks: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The manifest's `networks` and weights of a control without its typical conditions, and with the same outputs.

    Each patch is embedded linearly and each place has an embedding of its own, so that what the typical condition takes
    from a patch can be taken from its place's embedding instead. Networks without typical conditions stay as they are.
    """
    folded = {name: tensor.detach().float().clone() for name, tensor in weights.items()}
    if not any(name.startswith(TYPICAL) for name in folded):
        return dict(networks), folded
    taken = _taken(folded, folded, int(networks["condition_packing"]), networks["condition_gain"])
    for name, tensor in taken.items():
        folded[f"encoders.{name}.place"] -= tensor
        del folded[TYPICAL + name]
    return {name: value for name, value in networks.items() if name != "typical_shape"}, folded


def unfold_typical(network: PatchNetwork, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Folded `weights` for a network that has typical conditions: with those it has now, the outputs are the same."""
    own = dict(network.named_buffers())
    unfolded = {name: tensor.detach().float().clone() for name, tensor in weights.items()}
    for name, tensor in _taken(own, unfolded, network.condition_packing, network.condition_gain).items():
        unfolded[f"encoders.{name}.place"] += tensor
        unfolded[TYPICAL + name] = own[TYPICAL + name].clone()
    return unfolded


def _taken(
    typical: Mapping[str, Tensor], weights: Mapping[str, Tensor], packing: int, gain: float
) -> dict[str, Tensor]:
    """What each typical condition takes from the embedding of every place, by the condition's name."""
    taken = {}
    for name in [key.removeprefix(TYPICAL) for key in typical if key.startswith(TYPICAL)]:
        size = [n * packing for n in weights[f"encoders.{name}.place"].shape[1:]]
        patches = pack(functional.interpolate(typical[TYPICAL + name].float()[None], size), packing)[0] * gain
        embed = weights[f"encoders.{name}.embed.conv.weight"][:, :, 0, 0, 0]
        taken[name] = torch.einsum("oc,cijk->oijk", embed, patches)
    return taken
