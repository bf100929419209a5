"""Samplers: from noise to a latent, along the probability-flow ODE or, as `ddpm`, with fresh noise. Each reads like its
equation.

All have one signature. `denoise(latent, t)` predicts at the (possibly fractional) time t; a sampler asks the prediction
for the clean latent or the noise. `on_step` is called after each step with a `SamplerStep`; raising from it ends the
sampling, which is how progress, previews and cancel are made.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vcm.core.errors import Code, VcmError
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

NEAR_NOISE = 0.9
"""DDIM begins at least so far on the way from the last time to the first, unless its steps are few."""


@torch.no_grad()
def ddim(denoise: Denoise, latent: Tensor, process: Process, steps: int, on_step: OnStep | None = None) -> Tensor:
    """DDIM with η = 0 (Song et al. 2021, Eq. 12; the paper's sampler), leading spacing, ending in the clean latent.

    Leading spacing rounds the distance of two times down to a whole number. Where that would begin far from pure noise,
    whole times lie as evenly as can be; one step starts at pure noise.
    """
    way = process.timesteps - process.last
    stride: float = way // steps
    if (steps - 1) * stride < NEAR_NOISE * way and way % steps:
        stride = way / steps
    times = [float(process.last + int((steps - 1 - index) * stride)) for index in range(steps)]
    return _along(denoise, latent, process, times if steps > 1 else [process.first], on_step)


@torch.no_grad()
def ddim_linspace(
    denoise: Denoise, latent: Tensor, process: Process, steps: int, on_step: OnStep | None = None
) -> Tensor:
    """DDIM with η = 0 at whole times spread evenly from the first to the last, as Wang et al. (2025) sample.

    It ends at the last time's own level of noise, where next to nothing of it is left there; else in the clean latent.
    """
    times = _whole_times(process, steps)
    end = process.level(times[-1]) if times[-1] == 0 else (1.0, 0.0)
    return _along(denoise, latent, process, times, on_step, end=end)


@torch.no_grad()
def ddpm(denoise: Denoise, latent: Tensor, process: Process, steps: int, on_step: OnStep | None = None) -> Tensor:
    """Ancestral sampling (Ho et al. 2020, Algorithm 2), over all times or whole ones spread evenly.

    From level (α, σ) to (α', σ') with a = α/α' and s² = σ² − a²σ'²: z' = (a·σ'²·z + α'·s²·x)/σ² + (s·σ'/σ)·n. The
    noise n of each latent follows from its initial noise, however many are made at a time.
    """
    generators = [_generator_of(z) for z in latent]
    times = _whole_times(process, steps)
    for index, t in enumerate(times):
        (alpha, sigma), last = process.level(t), index + 1 == len(times)
        clean = denoise(latent, t).clean(alpha, sigma)
        if last:
            latent = clean
        else:
            alpha_next, sigma_next = process.level(times[index + 1])
            ratio = alpha / alpha_next
            added = sigma**2 - (ratio * sigma_next) ** 2
            fresh = torch.stack([torch.randn(z.shape, generator=g) for z, g in zip(latent, generators, strict=True)])
            mean = (ratio * sigma_next**2 * latent + alpha_next * added * clean) / sigma**2
            latent = mean + added**0.5 * sigma_next / sigma * fresh.to(latent)
        if on_step:
            on_step(SamplerStep(index + 1, len(times), t, latent, clean))
    return latent


@torch.no_grad()
def euler(denoise: Denoise, latent: Tensor, process: Process, steps: int, on_step: OnStep | None = None) -> Tensor:
    """Euler's steps over even shares of the way from pure noise on, the usual ones of a flow: z + (σ' − σ)·velocity."""
    return _along(denoise, latent, process, _even_times(process, steps), on_step)


@torch.no_grad()
def rflow(denoise: Denoise, latent: Tensor, process: Process, steps: int, on_step: OnStep | None = None) -> Tensor:
    """Euler's steps as MONAI's `RFlowScheduler` takes them: z − (t − ⌊t'⌋)/T·velocity, with times in half precision.

    A step goes on to the whole number below the next time, where the next prediction is not asked: together the steps
    are about 1 % too long. `euler` takes the same steps exactly.
    """
    if process.guided != "velocity":
        raise VcmError(
            Code.BAD_REQUEST, "The sampler rflow is for rectified flows; this model is none.", "Choose dpm++ or ddim."
        )
    times = np.array(_even_times(process, steps)).astype(np.float16).astype(float)
    for index, t in enumerate(times):
        following = int(times[index + 1]) if index + 1 < len(times) else 0
        level = process.level(t)
        predicted = denoise(latent, float(t))
        clean = predicted.clean(*level)
        latent = latent - (t - following) / process.timesteps * predicted.as_kind("velocity", *level)
        if on_step:
            on_step(SamplerStep(index + 1, len(times), float(t), latent, clean))
    return latent


def _even_times(process: Process, steps: int) -> list[float]:
    """From the first time on; the last is the process's own, where this is not the clean latent itself."""
    ways = max(steps - 1, 1) if process.last > 0 else steps
    return [process.time_at(1 - index / ways) for index in range(steps)]


def _whole_times(process: Process, steps: int) -> list[float]:
    """From the first time to the last, both included where there is more than one step; what lies between whole times
    is rounded down, in whole numbers, as floating-point ones would miss some."""
    way, ways = int(process.first) - process.last, max(steps - 1, 1)
    return [float(process.last + way * (ways - index) // ways) for index in range(steps)]


def _generator_of(latent: Tensor) -> torch.Generator:
    """Random numbers that follow from a latent's initial noise."""
    digest = hashlib.sha256(latent.float().cpu().numpy().tobytes()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def _along(
    denoise: Denoise,
    latent: Tensor,
    process: Process,
    times: Sequence[float],
    on_step: OnStep | None,
    end: tuple[float, float] = (1.0, 0.0),
) -> Tensor:
    """z' = α'·x + σ'·n with the clean latent x and the noise n predicted at each time; α' and σ' are `end` at last."""
    for index, t in enumerate(times):
        alpha, sigma = process.level(t)
        alpha_next, sigma_next = process.level(times[index + 1]) if index + 1 < len(times) else end
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


@torch.no_grad()
def dpm_solver_pp_3m(
    denoise: Denoise, latent: Tensor, process: Process, steps: int, on_step: OnStep | None = None
) -> Tensor:
    """DPM-Solver++(3M) on the grid of `dpm_solver_pp_2m`: the parabola through the last three clean latents.

    The formula known by this name (Lu et al.'s code, and what followed it) has half of the second difference in it and
    converges with order 2; here the parabola's integral is exact, and the order is 3.
    """
    return _along_polynomials(denoise, latent, process, steps, on_step, correct=False)


@torch.no_grad()
def unipc(denoise: Denoise, latent: Tensor, process: Process, steps: int, on_step: OnStep | None = None) -> Tensor:
    """UniPC-3 (Zhao et al. 2023, Algorithms 1 and 2, for clean latents) on the grid of `dpm_solver_pp_2m`.

    A step is one of `dpm_solver_pp_3m`, and is taken again once the clean latent at its end is known as a fourth point.
    """
    return _along_polynomials(denoise, latent, process, steps, on_step, correct=True)


ORDER = 3


def _along_polynomials(
    denoise: Denoise, latent: Tensor, process: Process, steps: int, on_step: OnStep | None, *, correct: bool
) -> Tensor:
    """x_{i+1} = (σ_{i+1}/σ_i)·x_i + α_{i+1}·∫₀ʰ e^{u−h} p(u) du, where the polynomial p of u = λ − λ_i goes through the
    clean latents that are known; towards the end through fewer, as the last latent is the clean one itself."""
    grid = np.linspace(*process.log_snr_range(), steps)
    alphas, sigmas = (levels.tolist() for levels in process.levels_of(grid))
    lambdas = grid.tolist()

    def moved(latent: Tensor, i: int, known: Sequence[tuple[float, Tensor]]) -> Tensor:
        weights = polynomial_weights([lam - lambdas[i] for lam, _ in known], lambdas[i + 1] - lambdas[i])
        mean = sum(weight * clean for weight, (_, clean) in zip(weights, known, strict=True))
        return (sigmas[i + 1] / sigmas[i]) * latent + alphas[i + 1] * mean

    known: list[tuple[float, Tensor]] = []
    start = latent
    for i, lam in enumerate(lambdas):
        t = process.timestep_of(lam)
        clean = denoise(latent, t).clean(alphas[i], sigmas[i])
        known.append((lam, clean))
        if correct and i > 0:
            latent = moved(start, i - 1, known)
        known = known[-min(ORDER, steps - i) :]
        start = latent
        latent = clean if i == steps - 1 else moved(start, i, known)
        if on_step:
            on_step(SamplerStep(i + 1, steps, t, latent, clean))
    return latent


def polynomial_weights(nodes: Sequence[float], h: float) -> list[float]:
    """Weights w with Σ w_k·p(u_k) = ∫₀ʰ e^{u−h} p(u) du for all polynomials p of a lower degree than there are u_k.

    >>> [round(weight, 6) for weight in polynomial_weights([0.0], 1.0)]  # 1 − 1/e
    [0.632121]
    """
    moments = [-math.expm1(-h)]  # of (u/h)ʲ
    for degree in range(1, len(nodes)):
        moments.append(1 - degree / h * moments[-1])
    powers = np.vander(np.asarray(nodes) / h, increasing=True).T
    weights: list[float] = np.linalg.solve(powers, moments).tolist()
    return weights


Sampler = Callable[[Denoise, Tensor, Process, int, "OnStep | None"], Tensor]

SAMPLERS: Registry[Sampler] = Registry(
    "samplers",
    "sampler",
    {
        "dpm++": "vcm.sampling.samplers:dpm_solver_pp_2m",
        "dpm++3m": "vcm.sampling.samplers:dpm_solver_pp_3m",
        "unipc": "vcm.sampling.samplers:unipc",
        "ddim": "vcm.sampling.samplers:ddim",
        "ddim-linspace": "vcm.sampling.samplers:ddim_linspace",
        "ddpm": "vcm.sampling.samplers:ddpm",
        "euler": "vcm.sampling.samplers:euler",
        "rflow": "vcm.sampling.samplers:rflow",
    },
)
DEFAULT_STEPS = {
    "dpm++": 20,
    "dpm++3m": 20,
    "unipc": 20,
    "ddim": 200,
    "ddim-linspace": 100,
    "ddpm": 1000,
    "euler": 30,
    "rflow": 30,
}
