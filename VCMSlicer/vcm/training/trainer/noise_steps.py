"""What diffusion adds to a step of training: a time and a noise for each slot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vcm.models.process import Process
from vcm.training.trainer.task import Slot

LEAST_ALPHA = 0.009
"""Below this α, which the cosine schedule comes to, an error of ε would count as one of v a thousandfold."""


@dataclass(frozen=True, eq=False)
class Noisy:
    """Latents `[B, *latent_shape]` at times `t` `[B]`, with the noise that is in them and their levels."""

    latent: Tensor
    noise: Tensor
    t: Tensor
    alpha: Tensor
    sigma: Tensor


def make_noisy(clean: Tensor, slots: Sequence[Slot], process: Process) -> Noisy:
    """Each slot has a time in its own part of the schedule: less chance in the gradient than with independent times.

    Times that sampling never comes to are not drawn.
    """
    t = torch.tensor([process.time_at((slot.place + slot.uniform()) / slot.of) for slot in slots])
    t = t.to(clean.device)
    noise = normal_like(clean, slots)
    alpha, sigma = process.levels(t)
    return Noisy(alpha * clean + sigma * noise, noise, t, alpha, sigma)


def normal_like(clean: Tensor, slots: Sequence[Slot]) -> Tensor:
    """Standard normal numbers, each slot's from its own generator; on an NVIDIA GPU from one that follows from it."""
    if clean.device.type != "cuda":
        return torch.stack([torch.randn(clean.shape[1:], generator=slot.generator) for slot in slots]).to(clean.device)
    numbers = []
    for slot in slots:
        seed = int(torch.randint(2**62, (), generator=slot.generator))
        there = torch.Generator(clean.device).manual_seed(seed)
        numbers.append(torch.randn(clean.shape[1:], generator=there, device=clean.device))
    return torch.stack(numbers)


def v_error(eps: Tensor, noisy: Noisy) -> Tensor:
    """The mean squared error of v, to which an error of ε belongs; at pure noise, where none does, a bounded one."""
    return ((eps - noisy.noise) / noisy.alpha.clamp(min=LEAST_ALPHA)).square().mean()
