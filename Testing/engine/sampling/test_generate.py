"""The one loop: what a seed promises, twins, previews, cancelling, progress, subsets and scaling."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tiny
import torch
from vcm.conditions.attributes import AttributeValue, resolve
from vcm.conditions.condition import Condition, ConditionSpec
from vcm.core.errors import Code, VcmError
from vcm.core.volume import Volume
from vcm.machine.runtime import choose_runtime
from vcm.sampling.generator import Generator, seeded_noise
from vcm.sampling.guidance import GuidedDenoiser
from vcm.sampling.request import GenerateRequest
from vcm.sampling.samplers import SAMPLERS

SPECS = tiny.backbone().attributes


def condition(index: int, **options) -> Condition:
    array = np.zeros(tiny.GRID.shape, np.float32)
    array[3:9, 5:20, 7:11] = 1.0 if index == 0 else 0.6
    return Condition(ConditionSpec.from_dict(tiny.CONDITIONS[index]), Volume(array, tiny.GRID), **options)


def generator(memory: str = "auto", **control) -> Generator:
    steering = tiny.control()
    steering.scale_factor = control.get("scale_factor")
    return Generator(tiny.backbone(), steering, choose_runtime("cpu"), memory)


@pytest.fixture(scope="module")
def shared() -> Generator:
    return generator()


def request(*conditions: Condition, **options) -> GenerateRequest:
    return GenerateRequest(**{"attributes": resolve(SPECS), "conditions": conditions, "steps": 3, "seed": 4, **options})


def images(maker: Generator, *conditions: Condition, **options) -> list[np.ndarray]:
    return [sample.volume.array for sample in maker.generate(request(*conditions, **options))]


@pytest.mark.parametrize("sampler", ["dpm++", "ddim"])
def test_a_seed_gives_the_same_image_bit_for_bit_from_a_used_and_from_a_fresh_generator(shared, sampler):
    (first,) = images(shared, condition(0), sampler=sampler)
    (again,) = images(shared, condition(0), sampler=sampler)
    (fresh,) = images(generator(), condition(0), sampler=sampler)
    (other,) = images(shared, condition(0), sampler=sampler, seed=5)
    assert first.dtype == np.float32 and first.shape == tiny.GRID.shape
    assert np.array_equal(first, again) and np.array_equal(first, fresh)
    assert np.abs(first - other).max() > 0.01 * first.std()


def test_the_noise_of_a_seed_never_changes():
    # Frozen: a user's seed must mean the same image in every version, on every device.
    assert seeded_noise(7, (4,)).tolist() == pytest.approx([-0.146795, 0.786141, 0.946822, -1.114344], abs=1e-5)


def test_sample_n_is_the_sample_of_seed_plus_n(shared):
    several = list(shared.generate(request(condition(0), samples=3)))
    assert [(s.index, s.seed) for s in several] == [(0, 4), (1, 5), (2, 6)]
    for sample in several:
        (alone,) = images(shared, condition(0), seed=sample.seed)
        assert np.array_equal(sample.volume.array, alone)


def test_batches_give_the_same_samples_but_for_rounding(shared):
    alone = images(shared, condition(0), condition(1, strength=0.5), samples=3, uncontrolled=True)
    together = list(
        shared.generate(request(condition(0), condition(1, strength=0.5), samples=3, batch=2, uncontrolled=True))
    )
    assert [(s.index, s.seed) for s in together] == [(0, 4), (1, 5), (2, 6)]
    for image, sample in zip(alone, together, strict=True):
        assert np.abs(image - sample.volume.array).max() < 1e-4 * image.std()
        assert sample.uncontrolled is not None
    assert together[0].seconds["sampling"] == together[1].seconds["sampling"] > 0


def test_given_noise_takes_the_place_of_the_seed(shared):
    noise = np.stack([seeded_noise(seed, tiny.LATENT).numpy() for seed in (8, 2)])
    given = list(shared.generate(request(seed=99, samples=2, noise=noise)))
    for sample, seed in zip(given, (8, 2), strict=True):
        assert np.array_equal(sample.volume.array, images(shared, seed=seed)[0])
        assert np.array_equal(sample.noise, seeded_noise(seed, tiny.LATENT).numpy())
    (single,) = images(shared, noise=noise[1].astype(np.float64))
    assert np.array_equal(single, given[1].volume.array)


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        (np.zeros((2, *tiny.LATENT)), "2 × 3 × 4 × 6 × 8"),
        (np.zeros(tiny.LATENT[::-1]), "8 × 6 × 4 × 3"),
        (np.full(tiny.LATENT, np.nan), "576 of its 576"),
        (np.full(tiny.LATENT, 1e300), "finite"),
        (np.zeros(tiny.LATENT, complex), "complex128"),
    ],
)
def test_noise_that_does_not_fit_is_refused_before_anything_runs(shared, noise, words):
    with pytest.raises(VcmError, match=words) as caught:
        images(shared, noise=noise)
    assert caught.value.code is Code.BAD_REQUEST


def test_the_twin_is_the_backbones_own_image_from_the_same_noise(shared):
    (sample,) = shared.generate(request(condition(0), uncontrolled=True))
    assert apart_by(sample.uncontrolled.array, images(shared)[0]) < 1e-6
    assert apart_by(sample.volume.array, images(shared, condition(0))[0]) < 1e-6
    assert apart_by(sample.uncontrolled.array, sample.volume.array) > 1e-3


def apart_by(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference as a share of the range of intensities."""
    return float(np.abs(one - other).max() / np.ptp(other))


@pytest.mark.parametrize("sampler", ["dpm++", "unipc", "ddim"])
@pytest.mark.parametrize(
    "options", [{}, {"strength": 0.4}, {"start": 0.5}, {"end": 0.3}], ids=["whole", "weak", "late", "early"]
)
def test_twins_of_one_batch_are_those_made_apart(shared, monkeypatch, sampler, options):
    given = (condition(0, **options), condition(1))
    wanted = request(*given, samples=3, batch=2, steps=5, sampler=sampler, uncontrolled=True)
    asked, predict = [], shared.backbone.predict

    def counted(latent, *arguments):
        asked.append(len(latent))
        return predict(latent, *arguments)

    monkeypatch.setattr(shared.backbone, "predict", counted)
    together = list(shared.generate(wanted))
    assert asked == [4] * 5 + [2] * 5, "one question a step for the samples and their twins"
    asked.clear()
    monkeypatch.setattr(type(shared.control), "asks_plainly", False)
    apart = list(shared.generate(wanted))
    assert asked == [2] * 10 + [1] * 10
    for one, other in zip(together, apart, strict=True):
        assert one.index == other.index and np.array_equal(one.noise, other.noise)
        assert apart_by(one.volume.array, other.volume.array) < 1e-6
        assert apart_by(one.uncontrolled.array, other.uncontrolled.array) < 1e-6
        assert apart_by(one.volume.array, one.uncontrolled.array) > 1e-4


def test_without_a_condition_or_a_control_there_is_no_twin(shared):
    (sample,) = shared.generate(request(uncontrolled=True))
    assert sample.uncontrolled is None
    bare = Generator(tiny.backbone(), None, choose_runtime("cpu"))
    (sample,) = bare.generate(request(uncontrolled=True))
    assert sample.uncontrolled is None and np.array_equal(sample.volume.array, images(shared)[0])


@pytest.mark.parametrize(("steps", "every", "expected"), [(7, 3, [3, 6]), (6, 3, [3]), (4, 0, []), (3, 5, [])])
def test_previews_come_every_n_steps_of_the_steered_run_and_not_after_the_last(shared, steps, every, expected):
    seen = []
    wanted = request(condition(0), steps=steps, preview_every=every, samples=2, uncontrolled=True)
    list(shared.generate(wanted, on_preview=lambda *preview: seen.append(preview)))
    assert [(index, step) for index, step, _ in seen] == [(i, step) for i in (0, 1) for step in expected]
    assert all(volume.grid.same_as(tiny.GRID) for _, _, volume in seen)


def test_a_preview_is_the_decoded_image_that_the_sampler_foresees(shared):
    seen = {}
    wanted = request(condition(0), steps=5, preview_every=2)
    list(shared.generate(wanted, on_preview=lambda _, step, volume: seen.update({step: volume.array})))
    foreseen = {}
    raw = torch.tensor([[value.raw for value in wanted.attributes]])
    with torch.no_grad():
        denoiser = GuidedDenoiser(shared.backbone, raw, shared.control, wanted.conditions)
        noise = seeded_noise(4, tiny.LATENT)[None]
        SAMPLERS["dpm++"](
            denoiser, noise, shared.backbone.process, 5, lambda step: foreseen.update({step.index: step.clean})
        )
        for step, image in seen.items():
            assert np.array_equal(image, shared.backbone.decode(foreseen[step])[0, 0].numpy())


def test_previews_do_not_change_the_image(shared):
    quiet = images(shared, condition(0))
    watched = list(shared.generate(request(condition(0), preview_every=1), on_preview=lambda *_: None))
    assert np.array_equal(quiet[0], watched[0].volume.array)


@pytest.mark.parametrize("after", [1, 3])
def test_a_cancel_is_heard_within_a_step_and_the_generator_goes_on_to_serve(after):
    maker = generator()
    (before,) = images(maker, condition(0), steps=6)
    calls, steps = itertools.count(), []
    original = maker.backbone.denoiser.forward
    maker.backbone.denoiser.forward = lambda *a, **k: (next(calls), original(*a, **k))[1]
    with pytest.raises(VcmError) as caught:
        list(maker.generate(request(condition(0), steps=6), steps.append, cancelled=lambda: len(steps) >= after))
    assert caught.value.code is Code.CANCELLED
    assert len(steps) == after and next(calls) == after + 1
    maker.backbone.denoiser.forward = original
    assert np.array_equal(images(maker, condition(0), steps=6)[0], before)


def test_a_cancel_in_the_second_sample_keeps_the_first(shared):
    done, kept = [], []
    with pytest.raises(VcmError, match="cancelled"):
        for sample in shared.generate(request(samples=3), done.append, cancelled=lambda: len(done) > 5):
            kept.append(sample)
    assert [sample.index for sample in kept] == [0]


@pytest.mark.parametrize(("samples", "batch"), [(1, 1), (3, 2)])
def test_progress_never_falls_and_ends_at_the_whole(shared, samples, batch):
    seen = []
    list(shared.generate(request(condition(0), samples=samples, batch=batch, uncontrolled=True), seen.append))
    fractions = [progress.fraction for progress in seen]
    assert all(a < b for a, b in itertools.pairwise(fractions)) and fractions[0] > 0
    assert fractions[-1] == 1.0 and seen[-1].seconds_left == 0
    assert [p.stage for p in seen[:5]] == ["sampling"] * 3 + ["decoding", "uncontrolled decoding"]
    last = {progress.stage: (progress.step, progress.total) for progress in seen}
    assert all(step == total for step, total in last.values())
    assert last["sampling"][1] == 3 * -(-samples // batch)


def test_a_sample_is_handed_over_as_soon_as_it_is_finished(shared):
    seen = []
    samples = shared.generate(request(samples=2), seen.append)
    assert next(samples).index == 0
    assert seen[-1].fraction == 0.5
    samples.close()


def test_any_subset_of_the_conditions_gives_an_image_of_its_own_in_whatever_order(shared):
    subsets = [(), (condition(0),), (condition(1),), (condition(0), condition(1))]
    made = [images(shared, *subset)[0] for subset in subsets]
    for one, other in itertools.combinations(made, 2):
        assert np.abs(one - other).max() > 1e-3 * one.std()
    assert np.array_equal(images(shared, condition(1), condition(0))[0], made[3])
    silent = images(shared, condition(0, strength=0.0), condition(1))[0]
    assert np.abs(silent - made[2]).max() < 1e-4 * silent.std()


def test_a_condition_that_acts_in_no_step_changes_nothing(shared):
    # Three steps of DPM-Solver++ lie at 0, about two thirds and all of the way.
    assert np.array_equal(images(shared, condition(0, start=0.01, end=0.02))[0], images(shared)[0])


def test_attributes_reach_the_network(shared):
    older = request(attributes=resolve(SPECS, {"age": 80, "sex": "M"}))
    (sample,) = shared.generate(older)
    assert not np.allclose(sample.volume.array, images(shared)[0])


@pytest.mark.parametrize("plan", ["whole", "slabs"])
def test_every_memory_plan_gives_the_same_image(shared, plan):
    (usual,) = images(shared, condition(0))
    maker = generator(plan)
    assert maker.plan().name == plan
    (image,) = images(maker, condition(0))
    assert np.abs(image - usual).max() < 1e-4 * usual.std()


def test_networks_are_not_moved_out_of_a_processors_way():
    with pytest.raises(VcmError, match="offload") as caught:
        images(generator("offload"), condition(0))
    assert caught.value.code is Code.BAD_REQUEST


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sampler": "heun"}, "dpm.* or ddim or .*euler or rflow, not 'heun'"),
        ({"steps": 0}, "steps must be between 1 and 1000, not 0"),
        ({"steps": 1001}, "not 1001"),
        ({"samples": 0}, "samples"),
        ({"batch": 0}, "batch"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"preview_every": -1}, "previews"),
    ],
)
def test_a_request_without_sense_is_refused(options, words):
    with pytest.raises(VcmError, match=words) as caught:
        request(**options)
    assert caught.value.code is Code.BAD_REQUEST


def test_the_largest_seed_is_taken_and_cannot_be_followed_by_another(shared):
    assert len(images(shared, seed=2**63 - 1, samples=1, steps=1)) == 1
    with pytest.raises(VcmError, match="above the largest seed"):
        images(shared, seed=2**63 - 1, samples=2, steps=1)


def test_more_steps_than_the_model_knows_are_refused():
    backbone = tiny.backbone()
    backbone.process = type(backbone.process)(timesteps=8)
    with pytest.raises(VcmError, match="knows 8 steps; 9 were asked for"):
        images(Generator(backbone, None, choose_runtime("cpu")), steps=9)


def test_steps_are_counted_down_to_where_sampling_ends():
    backbone = tiny.backbone()
    backbone.process = type(backbone.process)(timesteps=8, last=3)
    with pytest.raises(VcmError, match="knows 5 steps; 6 were asked for"):
        images(Generator(backbone, None, choose_runtime("cpu")), steps=6)


def test_an_image_that_is_not_made_of_numbers_is_an_error_and_not_a_result(shared):
    wild = tuple(AttributeValue(spec, 3e38, "given raw") for spec in SPECS)
    with pytest.raises(VcmError, match="not numbers, in fp32"):
        list(shared.generate(request(attributes=wild)))


def test_a_controls_own_scale_factor_holds_for_the_steered_image_and_not_for_its_twin():
    maker = generator(scale_factor=1.7)
    maker.backbone.scale_factor = 0.6
    (sample,) = maker.generate(request(condition(0, strength=1e-8), uncontrolled=True))
    latent = []
    original = maker.backbone.decode
    maker.backbone.decode = lambda z, scale=None: (latent.append((z, scale)), original(z, scale))[1]
    list(maker.generate(request(condition(0, strength=1e-8), uncontrolled=True)))
    (steered, own), (alone, none) = latent
    assert (own, none) == (1.7, None) and torch.allclose(steered, alone, atol=1e-5)
    assert np.array_equal(sample.volume.array, original(steered, 1.7)[0, 0].detach().numpy())
    assert np.array_equal(sample.uncontrolled.array, original(alone, 0.6)[0, 0].detach().numpy())


def test_strength_zero_is_the_twin_bit_for_bit_whatever_scale_the_control_was_trained_with():
    maker = generator(scale_factor=1.7)
    (sample,) = maker.generate(request(condition(0, strength=0.0), uncontrolled=True))
    assert np.array_equal(sample.volume.array, sample.uncontrolled.array)
    (alone,) = maker.generate(request())
    assert np.allclose(sample.volume.array, alone.volume.array, atol=1e-4)


def test_bf16_on_a_processor_is_near_fp32_also_for_networks_that_pool():
    fp32, bf16 = (
        next(iter(Generator(tiny.backbone(), None, choose_runtime("cpu", precision)).generate(request(steps=4))))
        for precision in ("fp32", "bf16")
    )
    difference = np.abs(fp32.volume.array - bf16.volume.array)
    assert difference.max() > 0 and difference.std() < 0.2 * fp32.volume.array.std()
