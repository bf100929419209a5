"""What a control is taught with: VCM's Eq. 4, and how much each noise level counts in it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

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


def focus_on(conditions: dict[str, Tensor], shape: tuple[int, ...], strength: float) -> Tensor:
    """Weights `[B, 1, *shape]` of the latent's places, (1 + `strength`) times as high near a mask as far from it.

    "Near" is within one of the latent's voxels of any voxel of a mask: it takes in what must not lie beside the
    structure. Without a focus, a structure that fills a fiftieth of a head has a fiftieth of the say, and the network
    learns to paint air. The mean of each sample is one.
    """
    near = torch.zeros(())
    for mask in conditions.values():
        near = torch.maximum(near.to(mask), functional.adaptive_max_pool3d(mask, shape))
    near = functional.max_pool3d(near, kernel_size=3, stride=1, padding=1)
    place = 1 + strength * near
    return place / place.mean(dim=(2, 3, 4), keepdim=True)
