"""The samplers against exact answers: Gaussians, whose score is known, and diffusers' own scheduler."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from vcm.core.errors import VcmError
from vcm.models.process import PARAMETERISATIONS, Prediction, RectifiedFlow, VariancePreserving, process_from
from vcm.sampling.samplers import ddim, ddim_linspace, dpm_solver_pp_2m, euler

SCHEDULE = VariancePreserving()
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


def predicted(denoise, kind="epsilon"):
    """An exact ε as a sampler asks for it, in some parameterisation."""

    def predict(x: torch.Tensor, t: float) -> Prediction:
        return Prediction(x, Prediction(x, denoise(x, t)).as_kind(kind, *SCHEDULE.level(t)), kind)

    return predict


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
    reference = dpm_solver_pp_2m(predicted(denoise), noise(), SCHEDULE, 1000)
    twenty = distance(dpm_solver_pp_2m(predicted(denoise), noise(), SCHEDULE, 20), reference)
    two_hundred = distance(ddim(predicted(denoise), noise(), SCHEDULE, 200), reference)
    assert twenty <= two_hundred
    assert two_hundred < 0.05


@pytest.mark.parametrize("name", ["power law", "mixture"])
def test_more_steps_of_dpm_solver_come_closer_to_the_reference_at_second_order(name):
    denoise = cases()[name]
    reference = dpm_solver_pp_2m(predicted(denoise), noise(), SCHEDULE, 1000)
    coarse, fine = (distance(dpm_solver_pp_2m(predicted(denoise), noise(), SCHEDULE, n), reference) for n in (20, 80))
    assert fine < coarse / 5


def test_ddim_approaches_the_exact_solution_of_the_gaussian_at_first_order():
    variance = power_law() + 0.5  # so that the last step, from σ = 0.04 to 0, is short for every component
    a = float(SCHEDULE.alphas_cumprod[-1])
    exact = noise() * (variance / (a * variance + 1 - a)).sqrt()
    coarse, fine = (distance(ddim(predicted(gaussian_eps(variance)), noise(), SCHEDULE, n), exact) for n in (250, 1000))
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
    ours = dpm_solver_pp_2m(predicted(gaussian_eps(power_law())), noise(), SCHEDULE, steps)
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
    ours = ddim(predicted(denoise), noise(), SCHEDULE, steps, lambda step: seen.append(step.t))
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
        sampler(predicted(gaussian_eps(power_law())), noise(), SCHEDULE, 7, stop_at_three)
    assert told == [(1, 7), (2, 7), (3, 7)]


@pytest.mark.parametrize("sampler", [ddim, dpm_solver_pp_2m])
def test_a_single_step_returns_the_clean_latent_foreseen_from_pure_noise(sampler):
    steps = []
    result = sampler(predicted(gaussian_eps(power_law())), noise(), SCHEDULE, 1, steps.append)
    assert torch.equal(result, steps[0].clean)


def test_the_schedule_is_linear_in_the_square_root_of_beta():
    betas = 1 - SCHEDULE.alphas_cumprod[1:] / SCHEDULE.alphas_cumprod[:-1]
    assert np.allclose(np.diff(np.sqrt(betas)), np.diff(np.sqrt(betas))[0], rtol=1e-6)
    assert SCHEDULE.alphas_cumprod[-1] == pytest.approx(9.69e-5, rel=1e-3)
    assert VariancePreserving(kind="linear").alphas_cumprod[-1] != pytest.approx(9.69e-5, rel=0.1)


def test_the_timestep_of_a_noise_level_is_found_again():
    for t in (0, 1, 17, 500, 998, 999):
        assert SCHEDULE.timestep_of(SCHEDULE.half_log_snr[t]) == pytest.approx(t, abs=1e-6)


@pytest.mark.parametrize("sampler", [ddim, dpm_solver_pp_2m])
def test_sampling_that_ends_early_ends_in_what_is_foreseen_there(sampler):
    seen, steps = [], []

    def denoise(x, t):
        seen.append(t)
        return gaussian_eps(power_law())(x, t)

    early = sampler(predicted(denoise), noise(), VariancePreserving(last=250), 15, steps.append)
    assert len(seen) == 15 and seen[-1] == pytest.approx(250, abs=1e-6) and seen == sorted(seen, reverse=True)
    a = alpha_bar(250)
    x = steps[-2].latent
    foreseen = (x - (1 - a) ** 0.5 * gaussian_eps(power_law())(x, 250)) / a**0.5
    assert torch.equal(steps[-1].clean, early) and distance(early, foreseen) < 1e-6


def test_sampling_that_ends_early_varies_less_where_little_varies():
    """Of N(0, v) a sampler that ends where noise has the variance s leaves v/√(v + s) times a normal number."""
    few = torch.tensor([9.0, 0.01] * (DIMENSIONS // 2), dtype=torch.float64)
    early = dpm_solver_pp_2m(predicted(gaussian_eps(few)), noise(), VariancePreserving(last=250), 40)
    whole = dpm_solver_pp_2m(predicted(gaussian_eps(few)), noise(), SCHEDULE, 40)
    noisiness = (1 - alpha_bar(250)) / alpha_bar(250)
    for part, variance in ((early[:, ::2], 9.0), (early[:, 1::2], 0.01)):
        assert float(part.std()) == pytest.approx(variance / (variance + noisiness) ** 0.5, rel=0.05)
    assert float(whole[:, 1::2].std()) == pytest.approx(0.1, rel=0.1)


def test_a_sampling_that_ends_early_is_done_at_its_last_step():
    schedule = VariancePreserving(last=250)
    assert [schedule.fraction_done(t) for t in (999, 250)] == [0, 1]
    assert schedule.fraction_done(624.5) == pytest.approx(0.5)


@pytest.mark.parametrize("last", [-1, 999, 1000])
def test_a_schedule_without_a_way_to_go_is_refused(last):
    with pytest.raises(VcmError, match="cannot end at timestep"):
        VariancePreserving(last=last)


@pytest.mark.parametrize("kind", ["v", "clean"])
@pytest.mark.parametrize("sampler", [ddim, dpm_solver_pp_2m, euler])
def test_a_sampler_comes_to_the_same_whatever_the_network_predicts(kind, sampler):
    exact = gaussian_eps(power_law())
    assert (
        distance(
            sampler(predicted(exact, kind), noise(), SCHEDULE, 15), sampler(predicted(exact), noise(), SCHEDULE, 15)
        )
        < 1e-7
    )


FLOW = RectifiedFlow()
LEVELS = [
    *((kind, SCHEDULE, t) for kind in ("epsilon", "v", "clean") for t in (37, 411.25)),
    *((kind, FLOW, 730.0) for kind in ("epsilon", "velocity", "clean")),
]


@pytest.mark.parametrize(("kind", "process", "t"), LEVELS)
def test_clean_latent_and_noise_are_found_again_from_what_is_predicted_of_them(kind, process, t):
    a, s = process.level(t)
    assert (a + s if process is FLOW else a**2 + s**2) == pytest.approx(1)
    x, n = noise()[:3], noise()[3:6]
    made = Prediction(a * x + s * n, PARAMETERISATIONS[kind].of(x, n, a, s), kind)
    assert torch.allclose(made.clean(a, s), x, atol=1e-10) and torch.allclose(made.noise(a, s), n, atol=1e-10)


def flow_velocity(variance):
    """The exact velocity of data drawn from N(0, variance): E[n − x | z] at z = (1−σ)·x + σ·n."""

    def predict(z: torch.Tensor, t: float) -> Prediction:
        s = t / 1000
        return Prediction(z, z * (s - (1 - s) * variance) / ((1 - s) ** 2 * variance + s**2), "velocity")

    return predict


def test_euler_follows_a_flow_to_the_exact_solution_at_first_order():
    variance = power_law() + 0.5
    exact = noise() * variance.sqrt()
    coarse, fine = (distance(euler(flow_velocity(variance), noise(), RectifiedFlow(), n), exact) for n in (50, 200))
    assert fine < 0.02
    assert 3 < coarse / fine < 5


def test_dpm_solver_follows_a_flow_with_fewer_steps():
    variance = power_law() + 0.5
    found = dpm_solver_pp_2m(flow_velocity(variance), noise(), RectifiedFlow(), 30)
    assert distance(found, noise() * variance.sqrt()) < 0.03


def test_the_cosine_schedule_is_the_published_one():
    """ᾱ as computed from 3D MedDiffusion's published formula: cos²((s/1000 + .008)/1.008·π/2), β at most .9999."""
    table = VariancePreserving(kind="cosine").alphas_cumprod
    for t, expected in ((0, 0.9999587), (499, 0.493844), (500, 0.492285), (990, 1.967e-4), (998, 2.4288e-6)):
        assert table[t] == pytest.approx(expected, rel=2e-4)


def test_levels_on_the_device_are_those_of_numbers_also_between_two_timesteps():
    for process in (SCHEDULE, RectifiedFlow(), VariancePreserving(kind="cosine")):
        for t in (0.0, 17.0, 500.25, 999.0):
            alpha, sigma = process.levels(torch.tensor([t, 3.0]))
            assert alpha.shape == sigma.shape == (2, 1, 1, 1, 1) and alpha.dtype is torch.float32
            assert (float(alpha[0]), float(sigma[0])) == pytest.approx(process.level(t), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"kind": "sigmoid", "timesteps": 10}, "no noise schedule 'sigmoid'"),
        ({"kind": "flow", "timesteps": 10, "prediction": "epsilon"}, "velocity"),
        ({"kind": "linear", "timesteps": 10, "prediction": "velocity"}, "cannot predict"),
        ({"kind": "flow", "timesteps": 10, "beta_start": 0.1}, "beta_start"),
    ],
)
def test_an_entry_that_describes_no_process_is_refused_in_a_sentence(entry, said):
    with pytest.raises(VcmError, match=said):
        process_from(entry)


def test_a_process_is_read_from_the_entry_it_writes():
    for process in (VariancePreserving(last=250, prediction="v"), RectifiedFlow(last=20)):
        assert process_from(process.as_dict()).as_dict() == process.as_dict()


@pytest.mark.parametrize("sampler", [ddim, ddim_linspace])
@pytest.mark.parametrize("steps", [1, 20, 200, 501, 600])
@pytest.mark.parametrize("last", [0, 250])
def test_however_many_steps_ddim_goes_from_pure_noise_to_the_clean_latent(sampler, steps, last):
    """Of an image that is the same at every noise level nothing of the noise is left."""
    process = VariancePreserving(last=last)
    seen = []

    def denoise(latent, t):
        seen.append(t)
        alpha, sigma = process.level(t)
        return Prediction(latent, (latent - alpha * 0.7) / sigma, "epsilon", None)

    found = sampler(denoise, noise(), process, steps)
    assert seen[0] >= 0.9 * process.timesteps or (steps == 1 and seen == [process.first])
    assert seen == sorted(set(seen), reverse=True)
    level = process.level(0)[1] if sampler is ddim_linspace and last == 0 and steps > 1 else 0.0
    assert float((found - 0.7).square().mean() ** 0.5) == pytest.approx(level, abs=0.01)
