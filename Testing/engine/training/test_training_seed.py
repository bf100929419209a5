"""The seed of a training: it decides everything random, and each random thing follows from it."""

import pytest
import tiny
import torch
from small_cohort import SEGMENTER, write_cohort, write_workshop
from vcm.cohort.learning_cases import CohortCase
from vcm.training.backbone.autoencoder_settings import AutoencoderSettings
from vcm.training.backbone.denoiser_run import open_denoiser_run
from vcm.training.backbone.denoiser_settings import DenoiserSettings
from vcm.training.backbone.image_runs import open_autoencoder_run, open_segmenter_run
from vcm.training.backbone.segmenter_settings import SegmenterSettings
from vcm.training.control.objective import ControlObjective
from vcm.training.control.run import open_control_run
from vcm.training.control.settings import ControlSettings
from vcm.training.trainer.team import Team

USUAL = {"backbone": "tiny", "batch": 2, "steps": 3, "precision": "fp32", "log_every": 1, "warmup": 1}
SMALL = {name: SEGMENTER[name] for name in ("channels", "strides")}
DENOISER = {"channels": [8], "num_res_blocks": [1], "attention_levels": [True], "num_head_channels": [8]}
KINDS = ("autoencoder", "segmenter", "denoiser", "control")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workshop")
    write_workshop(folder)
    return folder


@pytest.fixture
def trainer(workshop, tmp_path, monkeypatch):
    """Makes a trainer of a kind from a seed; `count` cases, all else the same."""
    monkeypatch.setenv("VCM_PACKS", str(workshop / "packs"))
    made = []

    def make(kind, seed, count=5, **settings):
        cases = write_cohort(tmp_path / f"cohort-{count}", count)
        chosen = {**USUAL, "seed": seed, **settings}
        folder, latents = tmp_path / f"run-{len(made)}", tmp_path / f"latents-{kind}-{count}"
        made.append(folder)
        torch.manual_seed(len(made))  # what a training draws without its seed differs from one to the next
        if kind == "autoencoder":
            run = open_autoencoder_run(
                AutoencoderSettings(**{"adversary_from": 0.3, "adversary_channels": 4, **chosen}), cases, folder,
                team=Team("cpu"),
            )  # fmt: skip
        elif kind == "segmenter":
            run = open_segmenter_run(
                SegmenterSettings(**{"network": SMALL, "crop": 12, "reconstructed": 0.5, **chosen}), cases, folder,
                team=Team("cpu"),
            )  # fmt: skip
        else:
            learned = [CohortCase(case, tiny.GRID) for case in cases]
            settings = {"scratch": True, "network": DENOISER} if kind == "denoiser" else {}
            settings |= {"conditions": ("ventricles", "skull"), "variant": "small"} if kind == "control" else {}
            cls, open_run = {
                "denoiser": (DenoiserSettings, open_denoiser_run), "control": (ControlSettings, open_control_run)
            }[kind]  # fmt: skip
            run = open_run(cls(**{**settings, **chosen}), learned, folder, latents=latents, team=Team("cpu"))
        return run.trainer

    return make


def weights(trainer):
    networks = [trainer.network, *([trainer.task.adversary.network] if trainer.task.adversary else [])]
    return [torch.cat([p.detach().flatten() for p in network.parameters()]) for network in networks]


def alike(one, other):
    """For each network of two trainings, whether all its weights are the same."""
    return [torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True)]


def same_weights(*trainers):
    """Give all the weights of the first, so that they differ in what follows alone."""
    first, *others = trainers
    for other in others:
        other.network.load_state_dict(first.network.state_dict())
        if first.task.adversary:
            other.task.adversary.network.load_state_dict(first.task.adversary.network.state_dict())


def step_losses(trainer, steps=3):
    return [trainer.take_step()["loss"] for _ in range(steps)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_decides_the_whole_training(trainer, kind):
    first, again, other = trainer(kind, 1), trainer(kind, 1), trainer(kind, 2)
    for one in (first, again, other):
        assert one.train() == "finished"
    assert all(alike(first, again))
    assert not any(alike(first, other))


@pytest.mark.parametrize("kind", KINDS)
def test_the_initial_weights_follow_from_it(trainer, kind):
    first = trainer(kind, 1)
    assert all(alike(first, trainer(kind, 1)))
    assert not any(alike(first, trainer(kind, 2)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_the_cases_follows_from_it(trainer, kind):
    def order(seed):
        one, items = trainer(kind, seed), []
        outcome = one.task.outcome
        one.task.outcome = lambda network, slots, step: (
            items.extend(slot.item for slot in slots), outcome(network, slots, step)
        )[1]  # fmt: skip
        step_losses(one, 5)
        return items

    first, again, other = order(1), order(1), order(2)
    assert sorted(first[:5]) == sorted(other[:5]) == list(range(5))
    assert first == again != other


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("autoencoder", {"flip": 0.0}),
        ("autoencoder", {"flip": 0.0, "crop": 12, "noise": 0.3}),
        ("segmenter", {"flip": 0.5, "crop": 0, "reconstructed": 0.0}),
        ("segmenter", {"flip": 0.0}),
        ("denoiser", {"flip": 0.0}),
        ("control", {"flip": 0.0, "dropout": "none"}),
        ("control", {"flip": 0.0, "dropout": "none", "noise_epochs": 3}),
    ],
)
def test_times_noise_and_crops_follow_from_it(trainer, kind, settings):
    """One case and the same weights: nothing else can tell two trainings apart."""
    ways = [trainer(kind, seed, count=1, batch=8, **settings) for seed in (1, 1, 2)]
    same_weights(*ways)
    first, again, other = (step_losses(one) for one in ways)
    assert first == again
    assert first[0] != other[0]


def test_the_conditions_that_are_dropped_follow_from_it(trainer, monkeypatch):
    def kept(seed):
        seen, forward = [], ControlObjective.forward

        def watched(self, table):
            seen.append([table[f"kept.{name}"].tolist() for name in ("ventricles", "skull")])
            return forward(self, table)

        with monkeypatch.context() as patch:
            patch.setattr(ControlObjective, "forward", watched)
            step_losses(trainer("control", seed, batch=8, dropout="paper"))
        return seen

    first, again, other = kept(1), kept(1), kept(2)
    assert first == again != other
    assert {0.0, 1.0} == {share for step in first for condition in step for share in condition}
