"""What a control is taught with: VCM's Eq. 4, and how much each noise level counts in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

FAINT = 0.02
"""An image condition is taken to show something above this intensity."""

WEIGHTINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "epsilon": torch.ones_like,
    "v": lambda alpha_bar: 1 / alpha_bar,
    "min_snr": lambda alpha_bar: (5 * (1 - alpha_bar) / alpha_bar).clamp(max=1),
}
"""Weights of the squared error of ε, from ᾱ `[B, 1, 1, 1, 1]`.

`epsilon` is the paper's. Its high-noise steps hardly count: there ε is nearly the latent itself, whatever the layout.
`v` measures the error of v, for which every noise level is about as hard; it is what a backbone that predicts v was
taught with, and the layout, which forms at high noise, is learned. `min_snr` (Hang et al. 2023, γ = 5) is `epsilon`
with the nearly finished images counting less.
"""


def control_loss(
    predicted: Tensor,
    noise: Tensor,
    gamma: Tensor,
    beta: Tensor,
    weight: Tensor,
    place: Tensor | None = None,
    l1_weight: float | None = None,
) -> Tensor:
    """MSE(ε, ε′) + λ·(L1(γ) + L1(β)), λ⁻¹ = b·c·h·w·d (Ahn et al. 2025, Eq. 4), the first term weighted.

    `weight` `[B, 1, 1, 1, 1]` weighs the samples (see `WEIGHTINGS`), `place` `[B, 1, …]` the places, with a mean of
    one; `l1_weight` stands in for λ.
    """
    squared = weight * (predicted - noise).square()
    if place is not None:
        squared = squared * place
    lam = 1 / noise.numel() if l1_weight is None else l1_weight
    return squared.mean() + lam * (gamma.abs().mean() + beta.abs().mean())


def focus_on(
    conditions: Mapping[str, Tensor],
    classes: Mapping[str, Sequence[int]],
    shape: Sequence[int],
    focus: float | Mapping[str, float],
) -> Tensor:
    """Weights `[B, 1, *shape]` of the latent's places, higher near the conditions' structures; each sample's mean is 1.

    "Near" is within one of the latent's voxels of any voxel of a structure: it takes in what must not lie beside it.
    Without a focus, a structure that fills a fiftieth of a head has a fiftieth of the say, and the network learns to
    paint air. One number weighs the places near any structure 1 + `focus` times; a table adds a number for each of its
    keys (`focus_key`). `classes` names the values that the channels of a label map stand for.
    """
    example = next(iter(conditions.values()))
    place = example.new_ones(len(example), 1, *shape)
    if isinstance(focus, Mapping):
        for key, weight in focus.items():
            name, values = focus_key(key)
            wanted = [classes[name].index(int(value)) for value in values] or slice(None)
            place = place + weight * near(conditions[name][:, wanted], shape)
    elif focus:
        places = [near(condition, shape) for condition in conditions.values()]
        place = place + focus * torch.stack(places).amax(0)
    return place / place.mean(dim=(2, 3, 4), keepdim=True)


def focus_key(key: str) -> tuple[str, list[str]]:
    """A condition and the classes of it that are meant; none named means all.

    >>> focus_key("semantics:4,5"), focus_key("brain")
    (('semantics', ['4', '5']), ('brain', []))
    """
    name, colon, classes = key.partition(":")
    return name, classes.split(",") if colon else []


def near(condition: Tensor, shape: Sequence[int]) -> Tensor:
    """1 within one of the latent's places of any channel that is set, `[B, 1, *shape]`."""
    there = (condition.amax(1, keepdim=True) > FAINT).float()
    return functional.max_pool3d(functional.adaptive_max_pool3d(there, tuple(shape)), 3, stride=1, padding=1)
