"""Networks and weights of packs: built as the manifest says, checked and filled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from vcm.core.errors import Code, VcmError
from vcm.packs.store import Pack, open_weights

Network = TypeVar("Network", bound=nn.Module)


def fill(pack: Pack, network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put a pack's weights into a network in fp32; weights that do not fit end in a sentence."""
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    except RuntimeError as error:
        reason = str(error).split("\n")[1].strip() if "\n" in str(error) else str(error)
        raise VcmError(
            Code.PACK_INVALID,
            f"The weights of the pack {pack.name} do not fit the networks that its manifest describes. {reason}",
            "Import or download the pack again.",
        ) from error


def build(pack: Pack, role: str, make: Callable[[], Network]) -> Network:
    """The network that a manifest describes for `role`.

    It is made without memory first: one whose weights the pack's file could not hold is refused before it takes any.
    """
    try:
        with torch.device("meta"):
            drawn = make()
        numbers = sum(tensor.numel() for tensor in (*drawn.parameters(), *drawn.buffers()))
        size = pack.manifest.files[role].size
        if numbers > size:
            raise ValueError(f"it would have {numbers:,} weights, and the file for them has {size:,} bytes")
        return make()
    # Networks check their options as they are built, each in its own way.
    except Exception as error:
        raise VcmError(
            Code.PACK_INVALID,
            f"The manifest of the pack {pack.name} describes a network for its {role} that cannot be built: {error}.",
            "Import or download the pack again.",
        ) from error


def load(pack: Pack, role: str, make: Callable[[], Network]) -> Network:
    """The network of a role with the pack's weights, in fp32 on the CPU."""
    network = build(pack, role, make)
    fill(pack, network, open_weights(pack, role))
    return network


def read_spread(pack: Pack) -> Tensor | None:
    """By what factor, at each place of the latent `[i, j, k]`, finished samples fall short of the spread of real heads;
    None where the pack does not tell."""
    if "spread" not in pack.manifest.files:
        return None
    weights = open_weights(pack, "spread")
    spread = weights.get("spread")
    if set(weights) != {"spread"} or spread is None or spread.ndim != 3 or not ((spread > 0) & (spread < 10)).all():
        raise VcmError(
            Code.PACK_INVALID,
            f"The spread of the pack {pack.name} must be one tensor “spread” of three axes, of numbers from 0 to 10.",
            "Import or download the pack again.",
        )
    return spread.float()


def read_whitening(pack: Pack, classes: int = 0) -> Mapping[str, Tensor]:
    """The `mean` and `std` by which a pack's latents are whitened, and perhaps the `means` of up to so many classes;
    others than its latent's shape asks for are refused."""
    shape, weights = pack.backbone.latent.shape, open_weights(pack, "whitening")
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    means = found.get("means", (0, *shape))
    own = {name: of for name, of in found.items() if name != "means" or not classes}
    if own != {"mean": shape, "std": shape} or means[1:] != shape or means[0] > classes:
        more = f", and may hold the means of up to {classes} classes" if classes else ""
        raise VcmError(
            Code.PACK_INVALID,
            f"The whitening of the pack {pack.name} must hold a mean and a std of shape {shape}{more}; it holds "
            f"{found}.",
            "Import or download the pack again.",
        )
    return weights
