"""Weights that need not be shipped: what a network of patches learned with, taken into what it learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from vcm.models.backbones.latents import pack


def fold_typical(
    networks: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The manifest's `networks` and weights of a control without its typical conditions, and with the same outputs.

    Each patch is embedded linearly and each place has an embedding of its own, so that what the typical condition takes
    from a patch can be taken from its place's embedding instead. Networks without typical conditions stay as they are.
    """
    folded = {name: tensor.detach().float().clone() for name, tensor in weights.items()}
    typical = {name.removeprefix("typical_"): t for name, t in folded.items() if name.startswith("typical_")}
    if not typical:
        return dict(networks), folded
    packing = int(networks["condition_packing"])
    size = [n * packing for n in networks["places"]]
    for name, condition in typical.items():
        patches = pack(functional.interpolate(condition[None], size), packing)[0] * networks["condition_gain"]
        embed = folded[f"encoders.{name}.embed.conv.weight"][:, :, 0, 0, 0]
        folded[f"encoders.{name}.place"] -= torch.einsum("oc,cijk->oijk", embed, patches)
        del folded[f"typical_{name}"]
    return {name: value for name, value in networks.items() if name != "typical_shape"}, folded
