"""What is kept between two Generates: encoded conditions and captured steps, and nothing that has changed."""

from __future__ import annotations

import numpy as np
import pytest
import recorded_graph
import tiny
import torch
from vcm.conditions.attributes import AttributeValue, resolve
from vcm.conditions.condition import Condition, ConditionSpec
from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.machine.runtime import Runtime, choose_runtime
from vcm.sampling import generator as generator_module
from vcm.sampling.generator import Generator
from vcm.sampling.request import GenerateRequest


def mask(**options) -> Condition:
    array = np.zeros(tiny.GRID.shape, np.float32)
    array[3:9, 5:20, 7:11] = 1
    return Condition(ConditionSpec.from_dict(tiny.CONDITIONS[0]), Volume(array, tiny.GRID), **options)


def request(*conditions: Condition, age: float = 70, seed: int = 1, **options) -> GenerateRequest:
    attributes = resolve(tiny.backbone().attributes, {"age": age}, {}, ())
    return GenerateRequest(attributes, conditions or (mask(),), seed=seed, steps=3, **options)


class Counted:
    """A Generator, and how often its conditions were encoded."""

    def __init__(self, monkeypatch):
        control = tiny.control()
        self.generator, self.encoded = Generator(tiny.backbone(), control, choose_runtime("cpu")), 0
        prepare = control.prepare

        def counting(*arguments):
            self.encoded += 1
            return prepare(*arguments)

        monkeypatch.setattr(control, "prepare", counting)

    def __call__(self, wanted: GenerateRequest) -> list[np.ndarray]:
        samples = list(self.generator.generate(wanted))
        twins = [sample.uncontrolled.array for sample in samples if sample.uncontrolled]
        return [sample.volume.array for sample in samples] + twins


def alone(wanted: GenerateRequest, monkeypatch) -> list[np.ndarray]:
    return Counted(monkeypatch)(wanted)


def equal(found, expected) -> bool:
    return len(found) == len(expected) and all(map(np.array_equal, found, expected))


@pytest.mark.parametrize("uncontrolled", [False, True])
def test_the_same_condition_is_encoded_once_for_other_seeds_and_batches(uncontrolled, monkeypatch):
    generate = Counted(monkeypatch)
    for options in ({}, {"seed": 9, "samples": 2}, {"seed": 3, "batch": 2, "samples": 3}):
        wanted = request(uncontrolled=uncontrolled, **options)
        assert equal(generate(wanted), alone(wanted, monkeypatch))
    assert generate.encoded == 1


def test_whatever_changes_is_encoded_anew_and_seen(monkeypatch):
    ramp = np.linspace(0, 1, np.prod(tiny.GRID.shape), dtype=np.float32).reshape(tiny.GRID.shape)
    moved = Grid(tiny.GRID.shape, tiny.GRID.affine + np.diag([0, 0, 0, 0]) + np.eye(4, k=3) * 2)
    generate, first = Counted(monkeypatch), request()
    images = [generate(first)]
    for count, other in enumerate(
        [
            request(mask(strength=0.5)), request(mask(end=0.4)), request(mask(region=Volume(ramp, tiny.GRID))),
            request(mask(region=Volume(1 - ramp, tiny.GRID))), request(age=50), request(Condition(
                ConditionSpec.from_dict(tiny.CONDITIONS[1]), mask().volume)),
        ],
        start=2,
    ):  # fmt: skip
        images.append(generate(other))
        assert generate.encoded == count and equal(images[-1], alone(other, monkeypatch))
    assert len({image[0].tobytes() for image in images}) == len(images)
    generate(request(Condition(mask().spec, Volume(mask().volume.array, moved))))
    assert generate.encoded == len(images) + 1


@pytest.mark.parametrize("uncontrolled", [False, True])
def test_other_attributes_need_no_other_encoding(uncontrolled, monkeypatch):
    generate = Counted(monkeypatch)
    images = [generate(request(age=age, uncontrolled=uncontrolled)) for age in (70, 50, 70)]
    assert generate.encoded == 1 and equal(images[0], images[2]) and not equal(images[0], images[1])
    assert equal(images[1], alone(request(age=50, uncontrolled=uncontrolled), monkeypatch))


@pytest.mark.parametrize("batch", [1, 2])
def test_a_step_that_was_captured_for_one_contrast_is_not_replayed_for_another(batch, monkeypatch):
    sex = tiny.backbone().attributes[0]
    contrasts = tuple(AttributeValue(sex, raw, "given") for raw in sex.choices.values())
    wanted = request(contrasts=contrasts, samples=2, batch=batch)
    plain = alone(wanted, monkeypatch)
    assert len({image.tobytes() for image in plain}) == 4
    recorded_graph.install(monkeypatch)
    monkeypatch.setattr(Runtime, "has_graphs", property(lambda _: True))
    generate = Counted(monkeypatch)
    for found, expected in zip(generate(wanted), plain, strict=True):
        assert np.allclose(found, expected, atol=1e-5)
    assert generate.encoded == 1


def test_a_mask_that_is_painted_on_in_place_is_a_new_one(monkeypatch):
    generate, given = Counted(monkeypatch), mask()
    before = generate(request(given))
    given.volume.array[5, 6, 25] = 1
    after = generate(request(given))
    assert generate.encoded == 2 and not equal(before, after) and equal(after, alone(request(given), monkeypatch))


def test_only_the_last_request_is_kept(monkeypatch):
    generate = Counted(monkeypatch)
    generate(request(uncontrolled=True))
    generate(request(mask(strength=0.5)))
    assert len(generate.generator._kept) == 1
    generate(request())
    assert generate.encoded == 3


def test_a_captured_step_is_replayed_in_the_next_generate(monkeypatch):
    graphs = recorded_graph.install(monkeypatch)
    monkeypatch.setattr(Runtime, "has_graphs", property(lambda _: True))
    generate = Counted(monkeypatch)
    first = generate(request())
    captured, replayed = len(graphs), graphs[0].replays
    again, other = generate(request()), generate(request(seed=5))
    assert captured == len(graphs) == 1 and graphs[0].replays == replayed + 3 + 3
    monkeypatch.setattr(Runtime, "has_graphs", property(lambda _: False))
    assert equal(first, again)
    assert np.allclose(other[0], alone(request(seed=5), monkeypatch)[0], atol=1e-5)


@pytest.mark.parametrize("refused", [True, False])
def test_what_is_kept_gives_way_where_it_would_change_the_memory_plan(refused, monkeypatch):
    generate = Counted(monkeypatch)
    generate(request())
    plan = Generator.plan

    def tight(self, batch=1):
        found = plan(self, batch)
        if len(self._kept) and refused:
            raise VcmError(Code.OUT_OF_MEMORY, "The memory does not suffice.")
        object.__setattr__(found, "name", "slabs" if not len(self._kept) else "whole")
        return found

    monkeypatch.setattr(Generator, "plan", tight)
    assert equal(generate(request()), alone(request(), monkeypatch))
    assert generate.encoded == 2 and generate.generator._kept.plan == "slabs"


def test_memory_that_runs_out_is_given_back(monkeypatch):
    generate = Counted(monkeypatch)
    generate(request())

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with monkeypatch.context() as patched, pytest.raises(VcmError):
        patched.setattr(generator_module, "run_sampler", full)
        generate(request())
    assert len(generate.generator._kept) == 0
    assert equal(generate(request()), alone(request(), monkeypatch))
