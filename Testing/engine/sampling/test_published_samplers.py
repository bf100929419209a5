"""The samplers that 3D MedDiffusion was published with, against Ho et al.'s own formulas and exact answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from vcm.models.process import Prediction, RectifiedFlow, VariancePreserving
from vcm.sampling.samplers import SAMPLERS, ddim_linspace, ddpm

COSINE = VariancePreserving(kind="cosine", bound=1.0)


def constant(value: float, process=COSINE, asked: list[float] | None = None):
    """A network that always predicts the same noise."""

    def predict(z: torch.Tensor, t: float) -> Prediction:
        if asked is not None:
            asked.append(t)
        return Prediction(z, torch.full_like(z, value), "epsilon", process.bound)

    return predict


def bars() -> np.ndarray:
    """ᾱ of Nichol and Dhariwal's schedule, by their formula."""
    curve = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.cumprod(1 - np.minimum(1 - curve[1:] / curve[:-1], 0.9999))


def test_ddpm_takes_ho_and_colleagues_steps_through_all_times():
    asked, start = [], torch.linspace(-1, 1, 24).reshape(1, 1, 2, 3, 4)
    found = []
    ddpm(constant(0.3, asked=asked), start, COSINE, 1000, lambda step: found.append(step.latent.clone()))
    assert asked == list(range(999, -1, -1))
    bar, z = bars(), start.double()
    from vcm.sampling.samplers import _generator_of

    noise = _generator_of(start[0])
    for t in range(999, 0, -1):
        beta = 1 - bar[t] / bar[t - 1]
        clean = ((z - (1 - bar[t]) ** 0.5 * 0.3) / bar[t] ** 0.5).clamp(-1, 1)
        mean = beta * bar[t - 1] ** 0.5 / (1 - bar[t]) * clean + (1 - bar[t - 1]) * (1 - beta) ** 0.5 / (1 - bar[t]) * z
        z = mean + (beta * (1 - bar[t - 1]) / (1 - bar[t])) ** 0.5 * torch.randn(start.shape[1:], generator=noise)
        assert torch.allclose(found[999 - t].double(), z, atol=2e-5), t
    clean = ((z - (1 - bar[0]) ** 0.5 * 0.3) / bar[0] ** 0.5).clamp(-1, 1)
    assert torch.allclose(found[-1].double(), clean, atol=2e-5)


@pytest.mark.parametrize(("steps", "error"), [(1000, 0.05), (250, 0.1)])
def test_ddpm_gives_gaussian_data_its_own_spread(steps, error):
    variance = torch.tensor([0.02, 0.1, 0.3]).reshape(1, 3, 1, 1, 1)
    process = VariancePreserving(kind="cosine")

    def exact(z: torch.Tensor, t: float) -> Prediction:
        alpha, sigma = process.level(t)
        return Prediction(z, sigma * z / (alpha**2 * variance + sigma**2))

    start = torch.randn(1, 3, 20, 20, 20, generator=torch.Generator().manual_seed(2))
    made = ddpm(exact, start, process, steps)
    assert torch.allclose(made.var(dim=(2, 3, 4)), variance.flatten()[None], rtol=error)


def test_what_a_latent_becomes_does_not_depend_on_its_neighbours_in_a_batch():
    start = torch.randn(3, 1, 2, 3, 4)
    together = ddpm(constant(0.1), start, COSINE, 20)
    for n in range(3):
        assert torch.equal(ddpm(constant(0.1), start[n : n + 1], COSINE, 20), together[n : n + 1])
    assert torch.equal(ddpm(constant(0.1), start, COSINE, 20), together)
    assert not torch.equal(ddpm(constant(0.1), start + 1e-6, COSINE, 20), together)


def test_ddim_linspace_ends_at_the_noise_of_the_last_time():
    asked, start = [], torch.linspace(-1, 1, 24).reshape(1, 1, 2, 3, 4)
    found = ddim_linspace(constant(0.3, asked=asked), start, COSINE, 100)
    assert asked[:3] == [999, 988, 978] and asked[-2:] == [10, 0] and len(asked) == 100
    assert {111, 222, 333, 444, 555, 666, 777, 888} < set(asked)  # eleven steps make a whole number
    bar, z = bars(), start.double()
    levels = [bar[int(t)] for t in asked]
    for now, then in zip(levels, [*levels[1:], bar[0]], strict=True):
        clean = ((z - (1 - now) ** 0.5 * 0.3) / now**0.5).clamp(-1, 1)
        z = then**0.5 * clean + (1 - then) ** 0.5 * 0.3
    assert torch.allclose(found.double(), z, atol=1e-5)


@pytest.mark.parametrize("name", list(SAMPLERS))
@pytest.mark.parametrize("process", [COSINE, VariancePreserving(), RectifiedFlow()], ids=lambda p: p.kind)
def test_every_sampler_keeps_what_every_prediction_agrees_on(name, process):
    if name == "rflow" and process.guided != "velocity":
        pytest.skip("for flows alone")
    target = torch.linspace(-0.9, 0.9, 24).reshape(1, 1, 2, 3, 4)

    def exact(z: torch.Tensor, t: float) -> Prediction:
        alpha, sigma = process.level(t)
        noise = (z - alpha * target) / max(sigma, 1e-6)
        return Prediction(z, noise - target if process.guided == "velocity" else noise, process.guided, process.bound)

    made = SAMPLERS[name](exact, torch.randn(1, 1, 2, 3, 4), process, 40, None)
    left = 4 * process.level(process.last)[1] if name == "ddim-linspace" else 0.0
    assert torch.allclose(made, target, atol=0.05 + left)


def test_even_steps_of_lambda_begin_next_to_pure_noise_and_not_in_it():
    asked: list[float] = []
    SAMPLERS["dpm++"](constant(0.3, asked=asked), torch.randn(1, 1, 2, 2, 2), COSINE, 20, None)
    assert 990 < asked[0] < 999 and asked[-1] == 0
    assert VariancePreserving().log_snr_range()[0] == VariancePreserving().half_log_snr[-1]
