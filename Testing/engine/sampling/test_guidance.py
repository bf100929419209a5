"""Strength, window, region and subsets, on the difference between guided and unguided ε."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from vcm.conditions.condition import Condition, ConditionSpec
from vcm.core.errors import VcmError
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.models.preparers.preparer import Voxels
from vcm.sampling.guidance import GuidedDenoiser, subset_weights

ATTRIBUTES = torch.tensor([[1.0, 0.3, 0.6, 0.2]])
T = 500.0


def condition(index: int, **options) -> Condition:
    spec = ConditionSpec.from_dict(tiny.CONDITIONS[index])
    array = np.zeros(tiny.GRID.shape, np.float32)
    array[3:9, 5:20, 7:11] = 1.0 if index == 0 else 0.6
    return Condition(spec, Volume(array, tiny.GRID), **options)


def guided(*conditions: Condition, control=None, t: float = T) -> torch.Tensor:
    latent = torch.randn(2, *tiny.LATENT, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        denoiser = GuidedDenoiser(tiny.backbone(), ATTRIBUTES, control or tiny.control(), conditions)
        return denoiser(latent, t).value


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a, b, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("options", [{}, {"shared": True}, {"timed": True}])
def test_a_condition_changes_eps_and_a_strength_of_zero_takes_the_change_back(options):
    control = tiny.control(**options)
    unguided = guided(control=control)
    assert not close(guided(condition(0), control=control), unguided)
    assert close(guided(condition(0, strength=0.0), control=control), unguided)


def test_the_correction_is_linear_in_the_strength():
    unguided, full = guided(), guided(condition(0))
    assert close(guided(condition(0, strength=0.5)) - unguided, (full - unguided) * 0.5)
    assert close(guided(condition(0, strength=1.5)) - unguided, (full - unguided) * 1.5)


@pytest.mark.parametrize("options", [{}, {"shared": True}, {"timed": True}])
def test_a_strength_of_zero_is_the_same_as_not_giving_the_condition(options):
    control = tiny.control(**options)
    only = guided(condition(1), control=control)
    assert close(guided(condition(0, strength=0.0), condition(1), control=control), only)
    assert not close(guided(condition(0), condition(1), control=control), only)


def test_a_common_strength_scales_the_correction_of_the_whole_set():
    unguided, both = guided(), guided(condition(0), condition(1))
    halves = guided(condition(0, strength=0.5), condition(1, strength=0.5))
    assert close(halves - unguided, (both - unguided) * 0.5)


def test_different_strengths_blend_the_set_and_its_stronger_part():
    unguided, both, first = guided(), guided(condition(0), condition(1)), guided(condition(0))
    blended = guided(condition(0), condition(1, strength=0.3))
    assert close(blended - unguided, (both - unguided) * 0.3 + (first - unguided) * 0.7)


@pytest.mark.parametrize(("t", "acts"), [(999.0, False), (700.0, False), (600.0, True), (300.0, True), (100.0, False)])
def test_a_condition_acts_within_its_window_of_the_diffusion_only(t, acts):
    windowed = condition(0, start=0.35, end=0.8)
    assert close(guided(windowed, t=t), guided(condition(0), t=t)) is acts
    assert close(guided(windowed, t=t), guided(t=t)) is not acts


def test_a_region_lets_a_condition_act_there_and_nowhere_else():
    weights = np.zeros(tiny.GRID.shape, np.float32)
    weights[:8] = 1.0  # the first half along the first axis: latent indices 0 and 1 of 4
    regional = guided(condition(0, region=Volume(weights, tiny.GRID)))
    full, unguided = guided(condition(0)), guided()
    assert close(regional[:, :, 0], full[:, :, 0])
    assert close(regional[:, :, 3], unguided[:, :, 3])
    assert not close(regional[:, :, 0], unguided[:, :, 0])


def test_a_region_is_read_in_millimetres_not_in_array_order():
    weights = np.zeros((24, 16, 32), np.float32)
    weights[:, :8] = 1.0
    axes = np.eye(4)[:, [1, 0, 2, 3]]  # the same places with the first two axes exchanged
    exchanged = Volume(weights, type(tiny.GRID)(weights.shape, tiny.GRID.affine @ axes))
    straight = np.zeros(tiny.GRID.shape, np.float32)
    straight[:8] = 1.0
    assert close(guided(condition(0, region=exchanged)), guided(condition(0, region=Volume(straight, tiny.GRID))))


def test_a_uniform_region_is_a_strength():
    half = Volume(np.full(tiny.GRID.shape, 0.5, np.float32), tiny.GRID)
    assert close(guided(condition(0, region=half)), guided(condition(0, strength=0.5)))


def test_weights_are_spread_over_sets_so_that_each_place_sums_to_its_largest_weight():
    generator = torch.Generator().manual_seed(1)
    weights = {name: torch.rand(1, 1, 2, 3, 4, generator=generator) for name in "abc"}
    spread = subset_weights(weights)
    assert torch.allclose(sum(spread.values()), torch.stack(list(weights.values())).amax(0))
    for name, weight in weights.items():
        assert torch.allclose(sum(m for subset, m in spread.items() if name in subset), weight)


def test_the_backbone_runs_once_a_step_however_many_sets_are_evaluated(monkeypatch):
    backbone = tiny.backbone()
    calls = []
    original = backbone.predict
    monkeypatch.setattr(backbone, "predict", lambda *a: calls.append(1) or original(*a))
    denoiser = GuidedDenoiser(backbone, ATTRIBUTES, tiny.control(), (condition(0), condition(1, strength=0.4)))
    with torch.no_grad():
        denoiser(torch.randn(1, *tiny.LATENT), T)
    assert len(calls) == 1


def test_conditions_are_encoded_once_a_sample(monkeypatch):
    control = tiny.control()
    calls = []
    original = control.network.encode
    monkeypatch.setattr(control.network, "encode", lambda *a: calls.append(1) or original(*a))
    with torch.no_grad():
        denoiser = GuidedDenoiser(tiny.backbone(), ATTRIBUTES, control, (condition(0), condition(1, end=0.5)))
        for t in (999.0, 400.0, 20.0):
            denoiser(torch.randn(1, *tiny.LATENT), t)
    assert len(calls) == 1


@pytest.mark.parametrize("dtype", ["u1", "i1", ">i2", "u2", "i4", "u4", "i8", "f2", "f4", ">f4", "f8"])
def test_the_channels_made_on_the_device_are_those_of_the_condition(dtype):
    labels = np.random.default_rng(4).choice([0, 3, 44, 100], (3, 5, 4)).astype(dtype)
    grid = Grid((3, 5, 4), np.eye(4))
    classes = [{"value": value, "name": str(value)} for value in (44, 300, 3)]  # 300 is 44 in eight bits
    for entry in ({"name": "a", "kind": "labels", "classes": classes}, {"name": "b", "kind": "image"}):
        condition = Condition(ConditionSpec.from_dict(entry), Volume(labels, grid))
        assert torch.equal(
            Voxels().prepare(condition, tiny.backbone(), torch.device("cpu"))[0],
            torch.from_numpy(condition.as_channels()),
        )
    mask = Condition(ConditionSpec.from_dict({"name": "c", "kind": "mask"}), Volume(labels > 3, grid))
    made = Voxels().prepare(mask, tiny.backbone(), torch.device("cpu"))
    assert made.dtype is torch.float32
    assert torch.equal(made[0], torch.from_numpy(mask.as_channels()))


@pytest.mark.parametrize(
    "options", [{"start": 0.6, "end": 0.4}, {"end": 1.2}, {"start": -0.1}, {"strength": -1}, {"strength": float("nan")}]
)
def test_a_window_or_strength_without_meaning_is_refused(options):
    with pytest.raises(VcmError):
        condition(0, **options)
