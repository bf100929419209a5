"""A training shared by two processes: the same losses as in one, and one that is killed costs a few steps only."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny
from small_cohort import write_cohort
from vcm.training.trainer.checkpoint import CHECKPOINT, load_checkpoint
from vcm.training.trainer.run_log import LOG

ENGINE = Path(__file__).resolve().parents[3] / "VCMSlicer"
SETTINGS = """
backbone = "tiny"
conditions = ["ventricles", "skull"]
steps = 6
batch = 5
warmup = 2
precision = "fp32"
log_every = 1
save_every = 2
[dropout]
skull = 0.5
"""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workshop")
    tiny.write_packs(folder / "packs")
    write_cohort(folder / "cohort", 4)
    (folder / "settings.toml").write_text(SETTINGS)
    return folder


def command(workshop, out, processes, steps=6):
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)] if processes > 1 else []
    training = ["-m", "vcm", "train", "control", "--config", str(workshop / "settings.toml")]
    training += ["--cases", str(workshop / "cohort"), "--out", str(workshop / out), "--threads", "1"]
    return [sys.executable, *launcher, *training, "--steps", str(steps)]


def environment(workshop):
    """Without a GPU, whatever the machine has: the processes find out for themselves what they compute on."""
    own = {"VCM_PACKS": str(workshop / "packs"), "PYTHONPATH": str(ENGINE), "OMP_NUM_THREADS": "1"}
    return {**os.environ, **own, "CUDA_VISIBLE_DEVICES": ""}


def train(workshop, out, processes, steps=6):
    told = subprocess.run(
        command(workshop, out, processes, steps), env=environment(workshop), capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr[-3000:]
    return told.stdout


def rows(workshop, out):
    """The log without its seconds."""
    table = [line.split(",") for line in (workshop / out / LOG).read_text().splitlines()[1:]]
    return [[float(cell) for place, cell in enumerate(row) if place != 1] for row in table]


def test_two_processes_learn_what_one_does_and_a_killed_one_is_made_good(workshop):
    train(workshop, "one", 1)
    said = train(workshop, "two", 2)
    assert said.count("step 3 of 6") == 1  # one speaks for both
    one, two = rows(workshop, "one"), rows(workshop, "two")
    assert len(one) == len(two) == 6
    for row, other in zip(one, two, strict=True):
        assert other == pytest.approx(row, rel=1e-5)

    # A share of five and of two processes is uneven; now one of the two dies in a longer training.
    long = 5000
    started = subprocess.Popen(
        command(workshop, "killed", 2, long),
        env=environment(workshop),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    checkpoint = workshop / "killed" / CHECKPOINT
    _wait(checkpoint.is_file, started)
    os.kill(_worker_of(started.pid), signal.SIGKILL)
    assert started.wait(60) != 0
    reached = load_checkpoint(checkpoint)["step"]
    assert reached < long
    end = reached + 4
    # The learning rate's course follows from the number of steps, so it is named anew for both.
    assert f"resuming from step {reached}" in train(workshop, "killed", 2, end)
    assert len(rows(workshop, "killed")) == end


def _wait(happened, process, seconds=90):
    until = time.monotonic() + seconds
    while not happened():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)


def _worker_of(launcher):
    import psutil

    return psutil.Process(launcher).children()[-1].pid
