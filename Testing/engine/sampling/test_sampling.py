"""The samplers against exact answers: Gaussians, whose score is known, and diffusers' own scheduler."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from vcm.models.schedule import Schedule
from vcm.sampling.samplers import ddim, dpm_solver_pp_2m

SCHEDULE = Schedule()
DIMENSIONS = 2000


def gaussian_eps(variance: torch.Tensor):
    """The exact ε of data drawn from N(0, variance): at noise level ᾱ, ε = √(1−ᾱ)·x / (ᾱ·v + 1 − ᾱ)."""

    def denoise(x: torch.Tensor, t: float) -> torch.Tensor:
        a = alpha_bar(t)
        return (1 - a) ** 0.5 * x / (a * variance + 1 - a)

    return denoise


def mixture_eps(means: torch.Tensor, spread: float):
    """The exact ε of an even mixture of isotropic Gaussians."""

    def denoise(x: torch.Tensor, t: float) -> torch.Tensor:
        a = alpha_bar(t)
        total = a * spread**2 + 1 - a
        apart = x[:, None] - a**0.5 * means[None]
        share = torch.softmax(-apart.square().sum(-1) / (2 * total), dim=1)
        return (1 - a) ** 0.5 * (share[..., None] * apart).sum(1) / total

    return denoise


def alpha_bar(t: float) -> float:
    half_log_snr = np.interp(t, np.arange(SCHEDULE.timesteps), SCHEDULE.half_log_snr)
    return float(1 / (1 + np.exp(-2 * half_log_snr)))


def power_law() -> torch.Tensor:
    return torch.arange(1, DIMENSIONS + 1, dtype=torch.float64) ** -1.0 * 50


def cases() -> dict[str, object]:
    generator = torch.Generator().manual_seed(5)
    means = torch.randn(8, DIMENSIONS, generator=generator, dtype=torch.float64)
    return {"power law": gaussian_eps(power_law()), "mixture": mixture_eps(means, 0.3)}


def noise() -> torch.Tensor:
    return torch.randn(8, DIMENSIONS, generator=torch.Generator().manual_seed(11), dtype=torch.float64)


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).square().mean().sqrt() / b.square().mean().sqrt())


@pytest.mark.parametrize("name", ["power law", "mixture"])
def test_twenty_steps_of_dpm_solver_end_no_further_from_a_thousand_step_reference_than_ddim_200(name):
    denoise = cases()[name]
    reference = dpm_solver_pp_2m(denoise, noise(), SCHEDULE, 1000)
    twenty = distance(dpm_solver_pp_2m(denoise, noise(), SCHEDULE, 20), reference)
    two_hundred = distance(ddim(denoise, noise(), SCHEDULE, 200), reference)
    assert twenty <= two_hundred
    assert two_hundred < 0.05


@pytest.mark.parametrize("name", ["power law", "mixture"])
def test_more_steps_of_dpm_solver_come_closer_to_the_reference_at_second_order(name):
    denoise = cases()[name]
    reference = dpm_solver_pp_2m(denoise, noise(), SCHEDULE, 1000)
    coarse, fine = (distance(dpm_solver_pp_2m(denoise, noise(), SCHEDULE, n), reference) for n in (20, 80))
    assert fine < coarse / 5


def test_ddim_approaches_the_exact_solution_of_the_gaussian_at_first_order():
    variance = power_law() + 0.5  # so that the last step, from σ = 0.04 to 0, is short for every component
    a = float(SCHEDULE.alphas_cumprod[-1])
    exact = noise() * (variance / (a * variance + 1 - a)).sqrt()
    coarse, fine = (distance(ddim(gaussian_eps(variance), noise(), SCHEDULE, n), exact) for n in (250, 1000))
    assert fine < 0.005
    assert 2.5 < coarse / fine < 5


@pytest.mark.parametrize("steps", [10, 20, 33])
def test_dpm_solver_agrees_with_diffusers(steps):
    from diffusers import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler(
        beta_start=0.0015, beta_end=0.0205, beta_schedule="scaled_linear", algorithm_type="dpmsolver++",
        solver_order=2, use_lu_lambdas=True, lower_order_final=False, final_sigmas_type="zero",
    )  # fmt: skip
    scheduler.set_timesteps(steps)
    by_level = {}

    def exact(x, sigma):
        a = 1 / (1 + float(sigma) ** 2)
        return (1 - a) ** 0.5 * x / (a * power_law() + 1 - a)

    x = noise()
    for index, t in enumerate(scheduler.timesteps):
        by_level[index] = float(scheduler.sigmas[index])
        x = scheduler.step(exact(x, scheduler.sigmas[index]), t, x).prev_sample
    ours = dpm_solver_pp_2m(gaussian_eps(power_law()), noise(), SCHEDULE, steps)
    assert distance(ours, x) < 2e-3


@pytest.mark.parametrize("steps", [10, 30, 200])
def test_ddim_agrees_with_diffusers(steps):
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(
        beta_start=0.0015, beta_end=0.0205, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=True,
        timestep_spacing="leading", steps_offset=0,
    )  # fmt: skip
    scheduler.set_timesteps(steps)
    denoise = gaussian_eps(power_law())
    x = noise()
    seen = []
    for t in scheduler.timesteps:
        x = scheduler.step(denoise(x, float(t)), int(t), x, eta=0.0).prev_sample
    ours = ddim(denoise, noise(), SCHEDULE, steps, lambda step: seen.append(step.t))
    assert seen == [float(t) for t in scheduler.timesteps]
    assert distance(ours, x) < 1e-5


@pytest.mark.parametrize("sampler", [ddim, dpm_solver_pp_2m])
def test_each_step_is_told_and_an_exception_from_the_callback_ends_the_sampling(sampler):
    told = []

    def stop_at_three(step):
        told.append((step.index, step.total))
        if step.index == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        sampler(gaussian_eps(power_law()), noise(), SCHEDULE, 7, stop_at_three)
    assert told == [(1, 7), (2, 7), (3, 7)]


@pytest.mark.parametrize("sampler", [ddim, dpm_solver_pp_2m])
def test_a_single_step_returns_the_clean_latent_foreseen_from_pure_noise(sampler):
    steps = []
    result = sampler(gaussian_eps(power_law()), noise(), SCHEDULE, 1, steps.append)
    assert torch.equal(result, steps[0].foreseen)


def test_the_schedule_is_linear_in_the_square_root_of_beta():
    betas = 1 - SCHEDULE.alphas_cumprod[1:] / SCHEDULE.alphas_cumprod[:-1]
    assert np.allclose(np.diff(np.sqrt(betas)), np.diff(np.sqrt(betas))[0], rtol=1e-6)
    assert SCHEDULE.alphas_cumprod[-1] == pytest.approx(9.69e-5, rel=1e-3)
    assert Schedule(kind="linear").alphas_cumprod[-1] != pytest.approx(9.69e-5, rel=0.1)


def test_the_timestep_of_a_noise_level_is_found_again():
    for t in (0, 1, 17, 500, 998, 999):
        assert SCHEDULE.timestep_of(SCHEDULE.half_log_snr[t]) == pytest.approx(t, abs=1e-6)


@pytest.mark.parametrize("sampler", [ddim, dpm_solver_pp_2m])
def test_sampling_that_ends_early_ends_in_what_is_foreseen_there(sampler):
    seen, steps = [], []

    def denoise(x, t):
        seen.append(t)
        return gaussian_eps(power_law())(x, t)

    early = sampler(denoise, noise(), Schedule(last=250), 15, steps.append)
    assert len(seen) == 15 and seen[-1] == pytest.approx(250, abs=1e-6) and seen == sorted(seen, reverse=True)
    a = alpha_bar(250)
    x = steps[-2].latent
    foreseen = (x - (1 - a) ** 0.5 * gaussian_eps(power_law())(x, 250)) / a**0.5
    assert torch.equal(steps[-1].foreseen, early) and distance(early, foreseen) < 1e-6


def test_sampling_that_ends_early_varies_less_where_little_varies():
    """Of N(0, v) a sampler that ends where noise has the variance s leaves v/√(v + s) times a normal number."""
    few = torch.tensor([9.0, 0.01] * (DIMENSIONS // 2), dtype=torch.float64)
    early = dpm_solver_pp_2m(gaussian_eps(few), noise(), Schedule(last=250), 40)
    whole = dpm_solver_pp_2m(gaussian_eps(few), noise(), SCHEDULE, 40)
    noisiness = (1 - alpha_bar(250)) / alpha_bar(250)
    for part, variance in ((early[:, ::2], 9.0), (early[:, 1::2], 0.01)):
        assert float(part.std()) == pytest.approx(variance / (variance + noisiness) ** 0.5, rel=0.05)
    assert float(whole[:, 1::2].std()) == pytest.approx(0.1, rel=0.1)


def test_a_sampling_that_ends_early_is_done_at_its_last_step():
    schedule = Schedule(last=250)
    assert [schedule.fraction_done(t) for t in (999, 250)] == [0, 1]
    assert schedule.fraction_done(624.5) == pytest.approx(0.5)


@pytest.mark.parametrize("last", [-1, 999, 1000])
def test_a_schedule_without_a_way_to_go_is_refused(last):
    with pytest.raises(ValueError, match="cannot end at timestep"):
        Schedule(last=last)
