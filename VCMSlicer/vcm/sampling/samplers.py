"""Samplers: from noise to a latent along the probability-flow ODE. Each reads like its equation.

All have one signature. `denoise(latent, t)` predicts at the (possibly fractional) time t; a sampler asks the prediction
for the clean latent or the noise. `on_step` is called after each step with a `SamplerStep`; raising from it ends the
sampling, which is how progress, previews and cancel are made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vcm.core.registry import Registry
from vcm.models.process import Prediction, Process

Denoise = Callable[[Tensor, float], Prediction]


@dataclass(frozen=True)
class SamplerStep:
    """What a sampler knows after step `index` (from 1) of `total`: the noisy latent, and the clean one predicted."""

    index: int
    total: int
    t: float
    latent: Tensor
    clean: Tensor


OnStep = Callable[[SamplerStep], None]


@torch.no_grad()
def ddim(denoise: Denoise, latent: Tensor, process: Process, steps: int, on_step: OnStep | None = None) -> Tensor:
    """DDIM with η = 0 (Song et al. 2021, Eq. 12; the paper's sampler), leading spacing, ending in the clean latent."""
    stride = (process.timesteps - process.last) // steps
    times = [process.last + (steps - 1 - index) * stride for index in range(steps)]
    return _along(denoise, latent, process, times, on_step)


@torch.no_grad()
def euler(denoise: Denoise, latent: Tensor, process: Process, steps: int, on_step: OnStep | None = None) -> Tensor:
    """Euler steps of equal length from pure noise on, the usual ones of a rectified flow: z + (σ' − σ)·velocity."""
    times = np.linspace(process.first, process.last, steps, endpoint=process.last > 0)
    return _along(denoise, latent, process, times.tolist(), on_step)


def _along(
    denoise: Denoise, latent: Tensor, process: Process, times: Sequence[float], on_step: OnStep | None
) -> Tensor:
    """z' = α'·x + σ'·n with the clean latent x and the noise n predicted at each time; then α' = 1."""
    for index, t in enumerate(times):
        alpha, sigma = process.level(t)
        alpha_next, sigma_next = process.level(times[index + 1]) if index + 1 < len(times) else (1.0, 0.0)
        predicted = denoise(latent, float(t))
        clean = predicted.clean(alpha, sigma)
        latent = alpha_next * clean + sigma_next * predicted.noise(alpha, sigma)
        if on_step:
            on_step(SamplerStep(index + 1, len(times), float(t), latent, clean))
    return latent


@torch.no_grad()
def dpm_solver_pp_2m(
    denoise: Denoise, latent: Tensor, process: Process, steps: int, on_step: OnStep | None = None
) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, Algorithm 2) on a uniform grid of λ = log(α/σ), ending in the clean latent.

    With λ from the first time to the process's last and h = λ_{i+1} − λ_i, r = h_prev/h:
    D = (1 + 1/2r)·x̂_i − (1/2r)·x̂_{i−1};  x_{i+1} = (σ_{i+1}/σ_i)·x_i − α_{i+1}·(e^{−h} − 1)·D.
    """
    first, last = process.log_snr_range()
    lambdas = np.linspace(first, last, steps)
    alphas, sigmas = process.levels_of(lambdas)
    previous: Tensor | None = None
    for i, lam in enumerate(lambdas):
        t = process.timestep_of(lam)
        clean = denoise(latent, t).clean(alphas[i], sigmas[i])
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
            on_step(SamplerStep(i + 1, steps, t, latent, clean))
    return latent


Sampler = Callable[[Denoise, Tensor, Process, int, "OnStep | None"], Tensor]

SAMPLERS: Registry[Sampler] = Registry(
    "samplers",
    "sampler",
    {
        "dpm++": "vcm.sampling.samplers:dpm_solver_pp_2m",
        "ddim": "vcm.sampling.samplers:ddim",
        "euler": "vcm.sampling.samplers:euler",
    },
)
DEFAULT_STEPS = {"dpm++": 20, "ddim": 200, "euler": 30}
