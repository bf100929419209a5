"""Samplers: from noise to a latent along the probability-flow ODE. Each reads like its equation.

All have one signature. `denoise(latent, t)` returns ε at the (possibly fractional) timestep t. `on_step` is called
after each step with a `Step`; raising from it ends the sampling, which is how progress, previews and cancel are made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vcm.models.schedule import Schedule

Denoise = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Step:
    """What a sampler knows after step `index` (from 1) of `total`: the noisy latent and the clean one it foresees."""

    index: int
    total: int
    t: float
    latent: Tensor
    foreseen: Tensor


OnStep = Callable[[Step], None]


@torch.no_grad()
def ddim(denoise: Denoise, latent: Tensor, schedule: Schedule, steps: int, on_step: OnStep | None = None) -> Tensor:
    """DDIM with η = 0 (Song et al. 2021, Eq. 12; the paper's sampler), leading spacing, ending at ᾱ = 1."""
    stride = (schedule.timesteps - schedule.last) // steps
    for index in range(steps):
        t = schedule.last + (steps - 1 - index) * stride
        a = float(schedule.alphas_cumprod[t])
        a_next = float(schedule.alphas_cumprod[t - stride]) if index < steps - 1 else 1.0
        eps = denoise(latent, float(t))
        clean = (latent - (1 - a) ** 0.5 * eps) / a**0.5
        latent = a_next**0.5 * clean + (1 - a_next) ** 0.5 * eps
        if on_step:
            on_step(Step(index + 1, steps, float(t), latent, clean))
    return latent


@torch.no_grad()
def dpm_solver_pp_2m(
    denoise: Denoise, latent: Tensor, schedule: Schedule, steps: int, on_step: OnStep | None = None
) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, Algorithm 2) on a uniform grid of λ = log(α/σ), ending in the clean latent.

    With λ from t = T−1 down to the schedule's last t and h = λ_{i+1} − λ_i, r = h_prev/h:
    D = (1 + 1/2r)·x̂_i − (1/2r)·x̂_{i−1};  x_{i+1} = (σ_{i+1}/σ_i)·x_i − α_{i+1}·(e^{−h} − 1)·D.
    """
    first, last = schedule.half_log_snr[-1], schedule.half_log_snr[schedule.last]
    lambdas = np.linspace(first, last, steps)
    alphas, sigmas = (1 / (1 + np.exp(-2 * lambdas))) ** 0.5, (1 / (1 + np.exp(2 * lambdas))) ** 0.5
    previous: Tensor | None = None
    for i, lam in enumerate(lambdas):
        t = schedule.timestep_of(lam)
        clean = (latent - sigmas[i] * denoise(latent, t)) / alphas[i]
        if i == steps - 1:
            latent = clean
        else:
            h = lambdas[i + 1] - lam
            direction = clean
            if previous is not None:
                r = (lam - lambdas[i - 1]) / h
                direction = (1 + 1 / (2 * r)) * clean - (1 / (2 * r)) * previous
            latent = (sigmas[i + 1] / sigmas[i]) * latent - alphas[i + 1] * np.expm1(-h) * direction
        previous = clean
        if on_step:
            on_step(Step(i + 1, steps, t, latent, clean))
    return latent


SAMPLERS: dict[str, Callable[..., Tensor]] = {"dpm++": dpm_solver_pp_2m, "ddim": ddim}
DEFAULT_STEPS = {"dpm++": 20, "ddim": 200}
