"""The samplers of third order against exact answers: Gaussians, numerical integration, and diffusers' schedulers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from vcm.models.process import PARAMETERISATIONS, Prediction, RectifiedFlow, VariancePreserving
from vcm.sampling.samplers import SAMPLERS, polynomial_weights

PROCESSES = {
    "scaled linear, ε": VariancePreserving(),
    "cosine, v": VariancePreserving(kind="cosine", prediction="v"),
    "flow, velocity": RectifiedFlow(),
    "ends early": VariancePreserving(last=120),
}
MEAN, SPREAD = 0.7, 0.6


class Gaussian:
    """Data drawn from N(0.7, 0.6²): the clean latent at each noise level, and the ODE's solution, are known."""

    def __init__(self, process):
        self.process, self.asked = process, []
        self.noise = torch.randn(1, 1, 4, 5, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def clean(self, z, a, s):
        return (MEAN * s**2 + a * SPREAD**2 * z) / (a**2 * SPREAD**2 + s**2)

    def predict(self, z, t):
        """In the parameterisation of the process, as a network of its kind would."""
        self.asked.append(t)
        a, s = self.process.level(t)
        x = self.clean(z, a, s)
        kind = self.process.prediction
        return Prediction(z, PARAMETERISATIONS[kind].of(x, (z - a * x) / s, a, s), kind)

    def exact(self):
        """The clean latent seen at the last level: along the ODE a Gaussian's z keeps its place within its spread."""
        (a0, a1), (s0, s1) = self.process.levels_of(np.array(self.process.log_snr_range()))
        wide = lambda a, s: (a**2 * SPREAD**2 + s**2) ** 0.5  # noqa: E731
        end = a1 * MEAN + wide(a1, s1) / wide(a0, s0) * (self.noise - a0 * MEAN)
        return self.clean(end, a1, s1)

    def error(self, sampler, steps):
        return float(
            (SAMPLERS[sampler](self.predict, self.noise, self.process, steps, None) - self.exact()).abs().max()
        )


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize(("sampler", "order"), [("dpm++", 2), ("dpm++3m", 3), ("unipc", 3)])
def test_the_error_falls_with_the_order_of_the_sampler(name, sampler, order):
    gaussian = Gaussian(PROCESSES[name])
    coarse, fine = (gaussian.error(sampler, steps) for steps in (160, 640))
    slope = np.log(coarse / fine) / np.log(4)
    assert slope > order - 0.35, (coarse, fine)
    if order == 2:
        assert slope < 2.3, "a sampler of second order, or this test could not tell"


@pytest.mark.parametrize("name", PROCESSES)
def test_with_forty_steps_the_third_order_is_many_times_nearer_than_the_second(name):
    gaussian = Gaussian(PROCESSES[name])
    second, third, corrected = (gaussian.error(sampler, 40) for sampler in ("dpm++", "dpm++3m", "unipc"))
    assert third < second / 3 and corrected < third


@pytest.mark.parametrize("sampler", ["dpm++3m", "unipc"])
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_a_step_asks_the_network_once_and_ends_in_the_clean_latent(sampler, steps):
    gaussian, told = Gaussian(PROCESSES["scaled linear, ε"]), []
    found = SAMPLERS[sampler](gaussian.predict, gaussian.noise, gaussian.process, steps, told.append)
    assert len(gaussian.asked) == steps and gaussian.asked == sorted(gaussian.asked, reverse=True)
    assert [step.index for step in told] == list(range(1, steps + 1)) and torch.equal(found, told[-1].clean)
    assert gaussian.asked[0] == pytest.approx(999) and (steps == 1 or gaussian.asked[-1] == pytest.approx(0, abs=1e-6))


@pytest.mark.parametrize("nodes", [(0.0,), (0.0, -0.3), (0.0, -0.5, -0.9), (0.7, 0.0, -0.4, -1.3)])
def test_the_weights_integrate_polynomials_as_numerical_integration_does(nodes):
    h = 0.7
    weights = polynomial_weights(nodes, h)
    for degree in range(len(nodes)):
        expected, _ = quad(lambda u, degree=degree: np.exp(u - h) * u**degree, 0, h)
        assert np.dot(weights, np.power(nodes, degree)) == pytest.approx(expected, abs=1e-12)


def test_weights_of_very_short_steps_are_those_of_a_plain_adams_step():
    assert polynomial_weights([0.0, -1e-3, -2e-3], 1e-3) == pytest.approx(
        [23e-3 / 12, -16e-3 / 12, 5e-3 / 12], rel=1e-3
    )


def levels(process, steps):
    return process.levels_of(np.linspace(*process.log_snr_range(), steps))


def three_known(seed=4):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 3, 4, generator=generator, dtype=torch.float64) for _ in range(5)]


def on_our_grid(scheduler, process, steps):
    """A scheduler of diffusers with the noise levels of our samplers, uniform in λ."""
    alphas, sigmas = levels(process, steps)
    scheduler.set_timesteps(steps)
    scheduler.sigmas = torch.tensor([*(sigmas / alphas), 0.0], dtype=torch.float64)
    return alphas, sigmas


def test_a_step_of_unipc_has_the_coefficients_of_diffusers():
    diffusers = pytest.importorskip("diffusers")
    process, steps, i = PROCESSES["scaled linear, ε"], 11, 6
    scheduler = diffusers.UniPCMultistepScheduler(solver_order=3, solver_type="bh2", prediction_type="sample")
    alphas, sigmas = on_our_grid(scheduler, process, steps)
    lambdas = np.log(alphas / sigmas)
    *known, latent, after = three_known()
    scheduler.model_outputs, scheduler.timestep_list = list(known), [0, 0, 0]
    scheduler._step_index = i
    predicted = scheduler.multistep_uni_p_bh_update(known[-1], sample=latent, order=3)
    scheduler._step_index = i + 1
    corrected = scheduler.multistep_uni_c_bh_update(after, last_sample=latent, this_sample=predicted, order=3)
    h, nodes = lambdas[i + 1] - lambdas[i], lambdas[i - 2 : i + 1] - lambdas[i]
    for found, ends, values in ((predicted, nodes, known), (corrected, [*nodes, h], [*known, after])):
        weights = polynomial_weights(ends, h)
        ours = sigmas[i + 1] / sigmas[i] * latent
        ours = ours + alphas[i + 1] * sum(w * value for w, value in zip(weights, values, strict=True))
        assert torch.allclose(ours, found, atol=1e-10)


def test_unipc_comes_to_what_diffusers_comes_to():
    """But for its first and last steps, where diffusers puts 1/2 for a coefficient that is nearly that."""
    diffusers = pytest.importorskip("diffusers")
    gaussian, steps = Gaussian(PROCESSES["scaled linear, ε"]), 14
    scheduler = diffusers.UniPCMultistepScheduler(solver_order=3, solver_type="bh2", prediction_type="epsilon")
    ours = SAMPLERS["unipc"](gaussian.predict, gaussian.noise, gaussian.process, steps, None)
    theirs = run_in_diffusers(scheduler, gaussian, steps)
    assert float((ours - theirs).abs().max()) < 2e-4 < gaussian.error("dpm++", steps) / 50


def test_the_third_order_that_goes_by_this_name_elsewhere_is_of_second_order():
    """Why `dpm++3m` does not agree with diffusers: its second difference counts half there. Ours, halved, does."""
    diffusers = pytest.importorskip("diffusers")
    gaussian = Gaussian(PROCESSES["scaled linear, ε"])
    make = lambda: diffusers.DPMSolverMultistepScheduler(solver_order=3, prediction_type="epsilon")  # noqa: E731
    errors = [float((run_in_diffusers(make(), gaussian, n) - gaussian.exact()).abs().max()) for n in (40, 80, 160)]
    assert all(1.9 < np.log2(a / b) < 2.3 for a, b in itertools.pairwise(errors))
    scheduler, i = make(), 6
    alphas, sigmas = on_our_grid(scheduler, gaussian.process, 11)
    h = np.log(alphas[i + 1] / sigmas[i + 1] * sigmas[i] / alphas[i])
    *known, latent, _ = three_known()
    scheduler._step_index = i
    theirs = scheduler.multistep_dpm_solver_third_order_update(known, sample=latent)
    whole = polynomial_weights([-2 * h, -h, 0.0], h)
    line = np.array([0.0, *polynomial_weights([-h, 0.0], h)])
    # The line has the slope between its two points, the parabola that at its end: half of the curvature's square.
    second = np.array([1.0, -2.0, 1.0])
    curvature = (np.array(whole) - line - 0.5 * (1 - (1 - np.exp(-h)) / h) * second) / 2
    halved = np.array(whole) - curvature
    ours = sigmas[i + 1] / sigmas[i] * latent
    ours = ours + alphas[i + 1] * sum(w * value for w, value in zip(halved, known, strict=True))
    assert torch.allclose(ours, theirs, atol=1e-10)


def run_in_diffusers(scheduler, gaussian, steps):
    alphas, sigmas = on_our_grid(scheduler, gaussian.process, steps)
    scheduler._step_index = 0
    z = gaussian.noise
    for i, (a, s) in enumerate(zip(alphas, sigmas, strict=True)):
        clean = gaussian.clean(z, a, s)
        z = scheduler.step((z - a * clean) / s, scheduler.timesteps[i], z).prev_sample
    return z
