"""The trainer, and the task of a control: it learns, it can be killed, it loses nothing."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from phantoms import grid_in
from small_cohort import control_around, new_network, write_cohort, write_latents
from vcm.cohort.learning_cases import CohortCase
from vcm.core.errors import Code, VcmError
from vcm.training.control.losses import focus_on
from vcm.training.control.run import open_control_run
from vcm.training.control.settings import ControlSettings
from vcm.training.control.task import ControlTask
from vcm.training.trainer.checkpoint import (
    CHECKPOINT,
    FORMER,
    load_checkpoint,
    load_last,
    save_checkpoint,
    save_in_turn,
)
from vcm.training.trainer.run_log import LOG
from vcm.training.trainer.task import item_at, slots_of
from vcm.training.trainer.team import Team
from vcm.training.trainer.trainer import Listeners, Trainer

HERE = Path(__file__).parent
# fp32: at latents of a few voxels, PyTorch's bf16 Conv3d has been seen to read memory that no one wrote.
USUAL = {"steps": 6, "batch": 4, "warmup": 2, "learning_rate": 3e-3, "precision": "fp32", "log_every": 1}


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"))


def trainer(cases, run, listeners=None, identity=None, network=None, names=("ventricles",), **settings):
    backbone = tiny.backbone(prediction="v").requires_grad_(False)
    cache = write_latents(backbone, cases, cases[0].folder.parents[1] / "latents", names)
    chosen = ControlSettings(**{**USUAL, "conditions": names, **settings})
    identity = identity or {"backbone": "1"}
    task = ControlTask(
        chosen, backbone, control_around(network or new_network(), names, chosen.scale_factor), cache, identity=identity
    )
    return Trainer(chosen, task, run, Team("cpu"), listeners)


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def losses(run):
    """The log's rows without their seconds."""
    return [line.split(",")[:1] + line.split(",")[2:] for line in (run / LOG).read_text().splitlines()]


def test_it_starts_where_the_backbone_stands(cases, tmp_path):
    first = trainer(cases, tmp_path).take_step()
    assert first["v_error"] == pytest.approx(first["v_error_uncontrolled"], rel=1e-5)


def test_it_learns(cases, tmp_path):
    learner = trainer(cases, tmp_path, steps=60, learning_rate=1e-2, log_every=10)
    assert learner.train() == "finished"
    last = [float(x) for x in learner.log.rows[-1]]
    assert last[3] < 0.9 * last[4]


@pytest.mark.usefixtures("with_tiny_packs")
def test_the_backbone_is_frozen_and_left_as_it_was(cases, tmp_path):
    settings = ControlSettings(**{**USUAL, "backbone": "tiny", "conditions": ("ventricles",), "variant": "small"})
    learned = [CohortCase(case, tiny.GRID) for case in cases]
    run = open_control_run(settings, learned, tmp_path / "run", latents=tmp_path / "latents", team=Team("cpu"))
    assert not any(p.requires_grad for p in run.task.backbone.parameters())
    before = {name: tensor.clone() for name, tensor in run.task.backbone.state_dict().items()}
    own = weights(run.trainer.network)
    run.trainer.take_step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.task.backbone.state_dict().items())
    assert not torch.equal(weights(run.trainer.network), own)


def test_each_epoch_takes_every_item_once_in_another_order():
    taken = [item_at(1, position, 6) for position in range(18)]
    assert sorted(taken[:6]) == sorted(taken[6:12]) == sorted(taken[12:18]) == list(range(6))
    assert taken[:6] != taken[6:12]


def test_an_item_meets_the_same_noise_whoever_computes_it():
    together = slots_of(3, 5, 8, 100, range(8))
    alone = slots_of(3, 5, 8, 100, [6])[0]
    assert alone.item == together[6].item
    assert torch.equal(torch.randn(4, generator=alone.generator), torch.randn(4, generator=together[6].generator))
    others = slots_of(3, 6, 8, 100, [6])[0]
    assert not torch.equal(torch.randn(4, generator=others.generator), torch.randn(4, generator=alone.generator))


def test_a_batch_in_pieces_is_the_batch_in_one(cases, tmp_path):
    whole = trainer(cases, tmp_path / "a", dropout="none")
    pieces = trainer(cases, tmp_path / "b", micro_batch=1)
    for _ in range(3):
        one, many = whole.take_step(), pieces.take_step()
        assert many == pytest.approx(one, rel=1e-5)
    # Adam makes a step of full size of a gradient of nearly nothing, rounding included.
    assert torch.allclose(weights(whole.network), weights(pieces.network), atol=3e-5)


def test_computing_the_encoders_again_teaches_the_same(cases, tmp_path):
    usual, again = trainer(cases, tmp_path / "a"), trainer(cases, tmp_path / "b", recompute=True)
    for _ in range(3):
        assert again.take_step() == pytest.approx(usual.take_step(), rel=1e-6)


def test_a_training_in_two_parts_is_the_training_in_one(cases, tmp_path):
    whole = trainer(cases, tmp_path / "whole", log_every=4)
    whole.train()
    part = trainer(cases, tmp_path / "parts", log_every=4, steps=6)
    for _ in range(3):
        part._gather(part.take_step())
    part.save()
    rest = trainer(cases, tmp_path / "parts", log_every=4)
    assert rest.step == 3
    rest.train()
    assert torch.equal(weights(rest.network), weights(whole.network))
    assert torch.equal(weights(rest.average.network), weights(whole.average.network))
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


def test_a_training_killed_between_two_steps_goes_on_bit_for_bit(cases, tmp_path):
    whole = trainer(cases, tmp_path / "whole", save_every=2)
    whole.train()
    script = (
        f"import sys; sys.path[:0] = {[str(HERE), str(HERE.parent / 'support')]!r}\n"
        "import os, signal, torch\n"
        f"torch.set_num_threads({torch.get_num_threads()})\n"
        "from pathlib import Path\n"
        "from test_training_control import trainer, Listeners\n"
        "from vcm.cohort.files import read_cases\n"
        "def die(p):\n"
        "    if p.step == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"t = trainer(read_cases(Path({str(cases[0].folder.parents[1])!r})), Path({str(tmp_path / 'killed')!r}),\n"
        "    Listeners(row=die), save_every=2)\n"
        "t.train()\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    rest = trainer(cases, tmp_path / "killed", save_every=2)
    assert rest.step == 4
    rest.train()
    assert torch.equal(weights(rest.network), weights(whole.network))
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    assert [row[0] for row in losses(tmp_path / "killed")] == ["step", "1", "2", "3", "4", "5", "6"]


def test_the_time_that_is_given_is_kept(cases, tmp_path):
    learner = trainer(cases, tmp_path, steps=10**6)
    assert learner.train(minutes=0.005) == "paused"
    assert 0 < learner.step < 10**6
    assert load_checkpoint(tmp_path / CHECKPOINT)["step"] == learner.step


def test_the_first_phase_teaches_the_latent_from_the_condition_alone(cases, tmp_path):
    network = new_network()
    learner = trainer(cases, tmp_path, network=network, steps=80, regression_steps=60, learning_rate=1e-2, log_every=20)
    unet = weights(network.unet)
    for _ in range(60):
        learner._gather(learner.take_step())
    assert torch.equal(weights(network.unet), unet)
    first, last = (float(learner.log.rows[n][3]) for n in (0, -1))
    assert last < 0.8 * first
    learner.train()
    assert not torch.equal(weights(network.unet), unet)


def asked(learner):
    """How many latents the backbone is asked to denoise from now on; the list grows."""
    counts, predict = [], learner.task.backbone.predict

    def counting(latent, t, *rest):
        counts.append(len(latent))
        return predict(latent, t, *rest)

    learner.task.backbone.predict = counting
    return counts


def test_noise_that_stays_for_some_epochs_is_shown_to_the_backbone_once(cases, tmp_path):
    learner = trainer(cases, tmp_path, batch=3, steps=12, noise_epochs=4)  # an epoch is a step
    counts = asked(learner)
    learner.train()
    assert counts == [3, 3, 3]


def test_and_teaches_what_asking_each_time_would_teach(cases, tmp_path):
    settings = {"batch": 2, "steps": 12, "noise_epochs": 3}  # batches lie across the ends of epochs
    kept, forgetful = trainer(cases, tmp_path / "a", **settings), trainer(cases, tmp_path / "b", **settings)
    counts = asked(kept)
    for _ in range(12):
        forgetful.task._frozen.clear()
        assert kept.take_step() == forgetful.take_step()
    assert torch.equal(weights(kept.network), weights(forgetful.network))
    assert sum(counts) < 24


def test_after_them_the_noise_is_another(cases, tmp_path):
    learner = trainer(cases, tmp_path, batch=3, noise_epochs=2, learning_rate=1e-9)
    shown = [learner.take_step()["v_error_uncontrolled"] for _ in range(6)]
    assert shown[0] == pytest.approx(shown[1], rel=1e-5) and shown[2] == pytest.approx(shown[3], rel=1e-5)
    assert len({round(error, 4) for error in shown}) == 3


def test_killed_among_them_it_goes_on_bit_for_bit(cases, tmp_path):
    settings = {"batch": 2, "steps": 9, "noise_epochs": 4}
    whole = trainer(cases, tmp_path / "whole", **settings)
    whole.train()
    part = trainer(cases, tmp_path / "parts", **settings)
    for _ in range(4):
        part._gather(part.take_step())
    part.save()
    rest = trainer(cases, tmp_path / "parts", **settings)
    rest.train()
    assert torch.equal(weights(rest.network), weights(whole.network))
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


@pytest.mark.parametrize("orientation", ["LAS", "ALS", "SPR"])
def test_where_the_focus_lies_is_mirrored_with_its_item(cases, tmp_path, orientation):
    task = trainer(cases, tmp_path, focus=7.0).task
    task.cache.grid = grid_in(orientation, tiny.GRID.shape)
    slots = slots_of(1, 0, 4, len(task), range(4))
    for flip in (False, True):
        batch = task.cache.batch([slot.item for slot in slots], [flip] * 4)
        expected = focus_on(batch.conditions, task.classes, tiny.LATENT[1:], 7.0)
        assert torch.equal(task._focus(slots, [flip] * 4, tiny.LATENT[1:]), expected)
        assert not torch.equal(expected, expected.flip(2))


def test_a_gradient_that_is_no_number_is_told_and_the_checkpoint_stays(cases, tmp_path):
    trainer(cases, tmp_path).train()
    again = trainer(cases, tmp_path, steps=9)
    again.task.cache.latents[:] = float("nan")
    with pytest.raises(VcmError, match="diverged at step 6"):
        again.train()
    assert load_checkpoint(tmp_path / CHECKPOINT)["step"] == 6
    assert torch.isfinite(weights(trainer(cases, tmp_path, steps=9).network)).all()


def test_a_folder_of_other_settings_is_refused(cases, tmp_path):
    trainer(cases, tmp_path).train()
    with pytest.raises(VcmError, match=r"other settings: learning_rate 0.003 \(now 0.1\)"):
        trainer(cases, tmp_path, learning_rate=0.1)


def test_longer_and_in_smaller_pieces_is_no_other_training(cases, tmp_path):
    trainer(cases, tmp_path).train()
    more = trainer(cases, tmp_path, steps=8, micro_batch=2)
    assert more.step == 6 and more.train() == "finished" and more.step == 8


def test_a_checkpoint_of_another_backbone_is_refused(cases, tmp_path):
    trainer(cases, tmp_path).train()
    with pytest.raises(VcmError, match="started with another backbone") as caught:
        trainer(cases, tmp_path, identity={"backbone": "2"})
    assert caught.value.code is Code.BAD_REQUEST


def test_other_cases_are_told(cases, tmp_path):
    trainer(cases, tmp_path).train()
    said = []
    trainer(cases[:2], tmp_path, Listeners(say=said.append))
    assert any("cases have changed since the run began" in words for words in said)


def full_disk(action):
    """A script in which no file may grow beyond 20 kB; prints the code of the error."""
    return (
        "import resource, signal, sys, torch\n"
        f"sys.path[:0] = {[str(HERE), str(HERE.parent / 'support')]!r}\n"
        "from pathlib import Path\n"
        "from vcm.core.errors import VcmError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try:\n"
        f"    {action}\n"
        "except VcmError as error:\n"
        "    print(error.code.value, error.sentence)\n"
    )


def test_a_full_disk_ends_the_training_with_a_sentence_and_the_checkpoint_before_is_whole(cases, tmp_path):
    learner = trainer(cases, tmp_path, save_every=2)
    learner.train()
    expected = weights(learner.average.network)
    folder = str(cases[0].folder.parents[1])
    action = (
        "from test_training_control import trainer; from vcm.cohort.files import read_cases; "
        f"trainer(read_cases(Path({folder!r})), Path({str(tmp_path)!r}), steps=20, save_every=2).train()"
    )
    ended = subprocess.run([sys.executable, "-c", full_disk(action)], capture_output=True, text=True, check=False)
    assert ended.stdout.startswith(Code.DISK_FULL.value), (ended.stdout, ended.stderr)
    assert "checkpoint of step 8" in ended.stdout and "before it is intact" in ended.stdout
    again = trainer(cases, tmp_path, save_every=2)
    assert again.step == 6
    assert torch.equal(weights(again.average.network), expected)


def test_a_spoilt_checkpoint_gives_way_to_the_one_before(tmp_path):
    for step in (1, 2):
        save_in_turn(tmp_path, {"step": step, "network": torch.full((1000,), float(step))})
    last = tmp_path / CHECKPOINT
    last.write_bytes(last.read_bytes()[:700])
    said = []
    assert load_last(tmp_path, said.append)["step"] == 1
    assert "not a whole checkpoint" in said[0] and "one before it is used" in said[0]


def test_a_process_that_died_between_the_two_moves_of_saving_loses_nothing(tmp_path):
    save_in_turn(tmp_path, {"step": 1})
    (tmp_path / CHECKPOINT).replace(tmp_path / FORMER)
    assert load_last(tmp_path, print)["step"] == 1


def test_a_truncated_checkpoint_is_told(tmp_path):
    path = tmp_path / CHECKPOINT
    save_checkpoint(path, {"step": 1, "network": torch.ones(1000)})
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(VcmError, match="not a whole checkpoint"):
        load_checkpoint(path)


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_code_in_a_checkpoint_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(CHECKPOINT).write_bytes(pickle.dumps({"step": Bomb()}))
    with pytest.raises(VcmError):
        load_checkpoint(Path(CHECKPOINT))
    assert not Path("exploded").exists()


def test_without_accelerate_a_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(VcmError, match="package accelerate") as caught:
        Team("cpu")
    assert ".[train]" in caught.value.remedy


def test_a_batch_smaller_than_the_team_is_refused(cases, tmp_path):
    learner = trainer(cases, tmp_path)
    team = Team("cpu")
    team.size = 8
    with pytest.raises(VcmError, match="cannot be shared by 8 processes"):
        Trainer(learner.settings, learner.task, tmp_path, team)
