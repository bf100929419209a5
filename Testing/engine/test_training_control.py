"""The trainer of controls: it learns, it can be killed, it loses nothing."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from small_cohort import new_network, write_cohort, write_latents
from vcm.errors import Code, VcmError
from vcm.training.checkpoint import load_checkpoint, save_checkpoint
from vcm.training.control import CHECKPOINT, LOG, ControlTrainer
from vcm.training.control_config import ControlTraining

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return tmp_path_factory.mktemp("cohort")


@pytest.fixture(scope="module")
def cases(cohort):
    return write_cohort(cohort)


def trainer(cases, run, **settings):
    backbone = tiny.backbone(prediction="v").requires_grad_(False)
    cache = write_latents(backbone, cases, cases[0].folder.parents[1] / "latents")
    # fp32: at latents of a few voxels, PyTorch's bf16 Conv3d has been seen to read memory that no one wrote.
    usual = {"steps": 6, "batch": 4, "warmup": 2, "learning_rate": 3e-3, "precision": "fp32"}
    chosen = ControlTraining(**{**usual, **settings})
    return ControlTrainer(chosen, backbone, new_network(), cache, run)


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def test_it_starts_where_the_backbone_stands(cases, tmp_path):
    first = trainer(cases, tmp_path).take_step()
    assert first["v_error"] == pytest.approx(first["v_error_uncontrolled"], rel=1e-5)


def test_it_learns(cases, tmp_path):
    learner = trainer(cases, tmp_path, steps=60, learning_rate=1e-2)
    learner.train(log_every=10)
    last = [float(x) for x in learner.rows[-1]]
    assert last[3] < 0.9 * last[4]


def test_a_training_that_comes_apart_is_told_and_its_checkpoint_stays(cases, tmp_path):
    learner = trainer(cases, tmp_path)
    learner.train(log_every=1)
    again = trainer(cases, tmp_path, steps=9)
    again.resume()
    again.cache.latents[:] = float("nan")
    with pytest.raises(VcmError, match="came apart at step 6"):
        again.train()
    assert load_checkpoint(tmp_path / CHECKPOINT)["step"] == 6


def test_the_backbone_is_left_as_it_was(cases, tmp_path):
    learner = trainer(cases, tmp_path)
    before = weights(learner.backbone.denoiser)
    learner.train()
    assert torch.equal(weights(learner.backbone.denoiser), before)


def test_each_epoch_takes_every_item_once_in_another_order(cases, tmp_path):
    learner = trainer(cases, tmp_path)
    taken = [item for step in range(6) for item in learner.items(step)]
    assert sorted(taken[:6]) == sorted(taken[6:12]) == sorted(taken[12:18]) == list(range(6))
    assert taken[:6] != taken[6:12]


def test_a_training_in_two_parts_is_the_training_in_one(cases, tmp_path):
    whole = trainer(cases, tmp_path / "whole")
    assert whole.train(log_every=1)
    part = trainer(cases, tmp_path / "parts")
    for _ in range(3):
        part.take_step()
    part.save()
    rest = trainer(cases, tmp_path / "parts")
    rest.resume()
    assert rest.step == 3
    rest.train(log_every=1)
    assert torch.equal(weights(rest.network), weights(whole.network))
    assert torch.equal(weights(rest.average.network), weights(whole.average.network))


def test_a_training_killed_between_two_steps_goes_on_bit_for_bit(cases, tmp_path):
    whole = trainer(cases, tmp_path / "whole")
    whole.train()
    script = (
        f"import sys; sys.path.insert(0, {str(HERE)!r})\n"
        "import os, signal, torch\n"
        f"torch.set_num_threads({torch.get_num_threads()})\n"
        "from pathlib import Path\n"
        "from test_training_control import trainer\n"
        "from vcm.training.cohort_files import read_cases\n"
        f"t = trainer(read_cases(Path({str(cases[0].folder.parents[1])!r})), Path({str(tmp_path / 'killed')!r}))\n"
        "def die(p):\n"
        "    if p.step == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "t.train(log_every=1, save_every=2, on_progress=die)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    rest = trainer(cases, tmp_path / "killed")
    rest.resume()
    assert rest.step == 4
    rest.train(log_every=1)
    assert torch.equal(weights(rest.network), weights(whole.network))
    steps = [line.split(",")[0] for line in (tmp_path / "killed" / LOG).read_text().splitlines()]
    assert steps == ["step", "1", "2", "3", "4", "5", "6"]


def test_the_time_that_is_given_is_kept(cases, tmp_path):
    learner = trainer(cases, tmp_path, steps=10**6)
    assert not learner.train(minutes=0.005)
    assert 0 < learner.step < 10**6


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path):
    path = tmp_path / CHECKPOINT
    save_checkpoint(path, {"step": 1, "network": torch.ones(10)})
    script = (
        "import resource, signal, sys, torch\n"
        "from pathlib import Path\n"
        "from vcm.errors import VcmError\n"
        "from vcm.training.checkpoint import save_checkpoint\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try:\n"
        f"    save_checkpoint(Path({str(path)!r}), {{'step': 2, 'network': torch.ones(100_000)}})\n"
        "except VcmError as error:\n"
        "    print(error.code.value)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.stdout.strip() == Code.DISK_FULL.value, ended.stderr
    assert load_checkpoint(path)["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == [CHECKPOINT]


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


def test_a_run_that_was_never_begun_is_told(cases, tmp_path):
    with pytest.raises(VcmError) as caught:
        trainer(cases, tmp_path).resume()
    assert caught.value.code is Code.FILE_MISSING
