"""The captured step: the same numbers as the plain one, one graph a kind, results of its own, nothing that waits."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import recorded_graph
import tiny
import torch
from vcm.conditions.condition import Condition, ConditionSpec
from vcm.core.volume import Volume
from vcm.sampling.cuda_graph import GraphedDenoiser
from vcm.sampling.guidance import GuidedDenoiser
from vcm.sampling.samplers import SAMPLERS

ATTRIBUTES = torch.tensor([[1.0, 0.3, 0.6, 0.2]])


@pytest.fixture(autouse=True)
def graphs(monkeypatch):
    return recorded_graph.install(monkeypatch)


def condition(index: int, **options) -> Condition:
    array = np.zeros(tiny.GRID.shape, np.float32)
    array[3:9, 5:20, 7:11] = 1.0 if index == 0 else 0.6
    return Condition(ConditionSpec.from_dict(tiny.CONDITIONS[index]), Volume(array, tiny.GRID), **options)


def region() -> Volume:
    return Volume(np.linspace(0, 1, np.prod(tiny.GRID.shape), dtype=np.float32).reshape(tiny.GRID.shape), tiny.GRID)


def latents(batch: int = 1, seed: int = 3) -> torch.Tensor:
    return torch.randn(batch, *tiny.LATENT, generator=torch.Generator().manual_seed(seed))


def denoiser(*conditions: Condition, control=None, backbone=None) -> GuidedDenoiser:
    with torch.no_grad():
        return GuidedDenoiser(backbone or tiny.backbone(), ATTRIBUTES, control or tiny.control(), conditions)


VARIANTS = {
    "one condition": lambda: denoiser(condition(0)),
    "one shared encoder": lambda: denoiser(condition(0), condition(1), control=tiny.control(shared=True)),
    "an encoder that knows the time": lambda: denoiser(condition(0), control=tiny.control(timed=True)),
    "unequal strengths": lambda: denoiser(condition(0, strength=0.5), condition(1)),
    "a region": lambda: denoiser(condition(0, region=region()), condition(1)),
    "v-prediction": lambda: denoiser(condition(0), backbone=tiny.backbone(prediction="v")),
    "no condition": denoiser,
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "rflow"])  # which is for flows alone
def test_sampling_by_graph_gives_the_numbers_of_sampling_by_launches(variant, sampler, graphs):
    plain = VARIANTS[variant]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = SAMPLERS[sampler](GraphedDenoiser(plain), latents(2), tiny.VariancePreserving(), 6)
    assert torch.equal(found, SAMPLERS[sampler](plain, latents(2), tiny.VariancePreserving(), 6))
    assert len(graphs) == 1 and graphs[0].replays == 5


def test_the_first_step_is_launched_and_the_second_captured(graphs):
    graphed = GraphedDenoiser(denoiser(condition(0)))
    graphed(latents(), 900.0)
    assert not graphs
    graphed(latents(), 800.0)
    assert len(graphs) == 1 and graphs[0].replays == 1


def test_each_set_of_acting_conditions_and_each_shape_has_its_own_graph(graphs):
    plain = denoiser(condition(0, end=0.5), condition(1))
    graphed = GraphedDenoiser(plain)
    for latent, t in [(latents(1), 900.0), (latents(1), 100.0), (latents(2), 900.0)] * 3:
        with torch.no_grad():
            assert torch.equal(graphed(latent, t).value, plain(latent, t).value)
    assert [graph.replays for graph in graphs] == [2, 2, 2]


def test_graphs_of_one_denoiser_share_memory_and_a_stream(graphs):
    graphed = GraphedDenoiser(denoiser(condition(0, end=0.5)))
    for t in (900.0, 900.0, 100.0, 100.0):
        graphed(latents(), t)
    first, second = (graph.options for graph in graphs)
    assert first["pool"] is None and second["pool"] == "pool of 0"
    assert first["stream"] is second["stream"] is not None


def test_a_result_stays_as_it_is_when_the_next_step_runs():
    graphed = GraphedDenoiser(denoiser(condition(0)))
    graphed(latents(seed=1), 900.0)
    kept = graphed(latents(seed=2), 800.0).value
    before = kept.clone()
    graphed(latents(seed=4), 10.0)
    assert torch.equal(kept, before)


def test_the_latent_given_is_read_and_never_written():
    graphed = GraphedDenoiser(denoiser(condition(0)))
    given, before = latents(), latents()
    graphed(given, 900.0), graphed(given, 800.0)
    graphed(latents(seed=8), 10.0)
    assert torch.equal(given, before)


def test_forgotten_graphs_are_captured_anew_from_weights_that_moved(graphs):
    plain = denoiser(condition(0))
    graphed = GraphedDenoiser(plain)
    graphed(latents(), 900.0), graphed(latents(), 800.0)
    graphed.forget()
    for parameter in plain.backbone.denoiser.parameters():
        parameter.data = parameter.data * 0.5
    with torch.no_grad():
        assert torch.equal(graphed(latents(), 700.0).value, plain(latents(), 700.0).value)
    assert len(graphs) == 2


def test_a_step_that_cannot_be_captured_is_launched_with_a_warning(graphs):
    class Waiting(GuidedDenoiser):
        def step(self, latent, times, acting):
            assert float(times[0]) >= 0
            return super().step(latent, times, acting)

    plain = Waiting(tiny.backbone(), ATTRIBUTES)
    graphed = GraphedDenoiser(plain)
    graphed(latents(), 900.0)
    with pytest.warns(RuntimeWarning, match="could not be captured.*_local_scalar_dense"):
        found = graphed(latents(), 800.0)
    with torch.no_grad():
        assert torch.equal(found.value, plain(latents(), 800.0).value)
        assert torch.equal(graphed(latents(), 700.0).value, plain(latents(), 700.0).value)
    assert len(graphs) == 1 and graphs[0].replays == 0


@pytest.mark.parametrize("masked", [False, True])
def test_running_out_of_memory_during_a_capture_is_not_taken_for_a_step_that_cannot_be_captured(masked, monkeypatch):
    graphed = GraphedDenoiser(denoiser())
    graphed(latents(), 900.0)

    def full(*_):
        try:
            raise torch.OutOfMemoryError("CUDA out of memory")
        except torch.OutOfMemoryError:
            if masked:
                raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904
            raise

    monkeypatch.setattr(graphed.denoiser, "step", full)
    with pytest.raises(RuntimeError):
        graphed(latents(), 800.0)
