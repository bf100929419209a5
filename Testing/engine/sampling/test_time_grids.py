"""The times at which published models are sampled, as lists that no release of MONAI can change.

MONAI 1.6 spaces DDIM's times otherwise than 1.5.2 and monai-generative did, with which BrainLDM and VCM were made.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.networks.schedulers import DDIMScheduler, RFlowScheduler
from vcm.core.errors import VcmError
from vcm.models.process import Prediction, RectifiedFlow, VariancePreserving
from vcm.sampling.samplers import ddim, euler, rflow

DDIM_50 = [
    980, 960, 940, 920, 900, 880, 860, 840, 820, 800, 780, 760, 740, 720, 700, 680, 660, 640, 620, 600, 580, 560, 540,
    520, 500, 480, 460, 440, 420, 400, 380, 360, 340, 320, 300, 280, 260, 240, 220, 200, 180, 160, 140, 120, 100, 80,
    60, 40, 20, 0,
]  # fmt: skip
DDIM_200_ENDS = [995, 990, 985, 980], [15, 10, 5, 0]
RFLOW = {
    (64, 64, 32): [
        1000.0, 978.5, 957.0, 934.5, 911.5, 888.0, 864.0, 839.0, 813.5, 787.5, 760.5, 733.0, 704.0, 675.0, 644.5, 613.5,
        581.5, 548.5, 514.0, 479.0, 442.5, 404.75, 366.0, 325.75, 284.0, 241.0, 196.25, 149.875, 101.8125, 51.90625,
    ],
    (48, 56, 48): [1000.0, 934.5, 863.5, 786.5, 703.0, 612.5, 513.0, 403.5, 283.0, 149.25],
    (64, 64, 64): [
        1000.0, 956.5, 909.0, 857.0, 800.0, 737.0, 666.5, 588.0, 500.0, 400.0, 285.75, 153.875,
    ],
}  # fmt: skip
STEP_SUMS = {(64, 64, 32): 1.00984375, (48, 56, 48): 1.00275, (64, 64, 64): 1.002625}


def times_of(sampler, process, steps):
    """The times at which a sampler asks, and where it ends up from 0 under a velocity of −1: the sum of its steps."""
    asked = []

    def denoise(latent, t):
        asked.append(t)
        return Prediction(latent, -torch.ones_like(latent), process.guided)

    end = sampler(denoise, torch.zeros(1, 1, 1, 1, 1, dtype=torch.float64), process, steps)
    return asked, float(end)


def flow_of(shape):
    return RectifiedFlow(shift=(np.prod(shape) / 32**3) ** (1 / 3))


def test_ddim_asks_at_the_times_of_brainldm_s_release():
    process = VariancePreserving()
    assert times_of(ddim, process, 50)[0] == DDIM_50
    asked = times_of(ddim, process, 200)[0]
    assert (asked[:4], asked[-4:], len(asked)) == (*DDIM_200_ENDS, 200)
    assert asked == [5 * n for n in range(199, -1, -1)]


@pytest.mark.parametrize("shape", RFLOW)
def test_rflow_asks_at_nvidia_s_times_and_oversteps_as_its_recipe_does(shape):
    asked, moved = times_of(rflow, flow_of(shape), len(RFLOW[shape]))
    assert asked == RFLOW[shape]
    assert moved == pytest.approx(STEP_SUMS[shape], abs=1e-9)


@pytest.mark.parametrize("shape", RFLOW)
def test_euler_asks_at_the_same_times_but_for_their_rounding_and_goes_the_whole_way_exactly(shape):
    asked, moved = times_of(euler, flow_of(shape), len(RFLOW[shape]))
    assert asked[0] == 1000 and np.allclose(asked, RFLOW[shape], rtol=6e-4)
    assert moved == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("shape", RFLOW)
def test_the_lists_are_those_of_the_monai_they_were_taken_from(shape):
    scheduler = RFlowScheduler(1000, use_discrete_timesteps=False, use_timestep_transform=True)
    scheduler.set_timesteps(len(RFLOW[shape]), input_img_size_numel=int(np.prod(shape)))
    assert scheduler.timesteps.tolist() == RFLOW[shape]
    scheduler = DDIMScheduler(1000, schedule="scaled_linear_beta", beta_start=0.0015, beta_end=0.0205)
    scheduler.set_timesteps(50)
    assert scheduler.timesteps.tolist() == DDIM_50


def test_training_draws_its_times_where_monai_s_scheduler_draws_them():
    scheduler = RFlowScheduler(1000, use_discrete_timesteps=False, use_timestep_transform=True)
    torch.manual_seed(2)
    theirs = scheduler.sample_timesteps(torch.empty(1000, 4, 24, 32, 40))
    torch.manual_seed(2)
    process = flow_of((24, 32, 40))
    ours = torch.tensor([process.time_at(float(u)) for u in torch.rand(1000)], dtype=torch.float32)
    assert torch.allclose(ours, theirs, atol=1e-2)


def test_rflow_is_refused_by_a_model_that_is_no_flow():
    with pytest.raises(VcmError, match="for rectified flows"):
        times_of(rflow, VariancePreserving(), 5)
