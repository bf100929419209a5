"""The times and noises of a training step."""

import pytest
import torch
from vcm.models.process import VariancePreserving
from vcm.training.trainer.noise_steps import make_noisy
from vcm.training.trainer.task import Slot

BATCH = 8


def noisy(last, seed=0):
    slots = [Slot(place, BATCH, place, torch.Generator().manual_seed(seed * BATCH + place)) for place in range(BATCH)]
    return make_noisy(torch.full((BATCH, 2, 3, 4, 5), 2.0), slots, VariancePreserving(last=last))


@pytest.mark.parametrize("last", [0, 250])
def test_each_slot_has_a_time_of_its_own_part_of_what_sampling_goes_through(last):
    edges = torch.linspace(last, 999, BATCH + 1)
    times = torch.stack([noisy(last, seed).t for seed in range(200)])
    assert ((times >= edges[:-1]) & (times <= edges[1:])).all()
    assert times.min() == pytest.approx(last, abs=5) and times.max() == pytest.approx(999, abs=5)


def test_latent_and_noise_are_mixed_as_the_schedule_says():
    made = noisy(250)
    a = torch.tensor([float(VariancePreserving().alphas_cumprod[round(float(t))]) for t in made.t])
    assert torch.allclose(made.alpha.square().flatten(), a, rtol=0.02)
    shown = (made.latent - made.sigma * made.noise) / made.alpha
    assert torch.allclose(shown, torch.full_like(shown, 2.0), atol=1e-3)
