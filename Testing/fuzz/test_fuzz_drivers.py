"""A few cases of each driver, and what the judge must see: a judge that sees nothing finds nothing."""

import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
import process
from campaign import DRIVERS, Campaign
from case import changes, state_of, write_users_files
from process import Ended, Hardship, complaints

CASES = {"images": 30, "options": 30, "packs": 6, "worker": 1, "faults": 4, "batches": 1, "privacy": 1, "learning": 2}
"""So many of each in the test suite; `make fuzz` runs thousands."""


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    return Campaign(tmp_path_factory.mktemp("fuzz"), seed=1)


@pytest.mark.parametrize("driver", DRIVERS)
def test_hostile_cases_end_in_a_result_or_a_sentence(campaign, driver):
    campaign.found.clear()
    for number in range(CASES[driver]):
        campaign.run_one(driver, number)
    assert campaign.found == []
    assert campaign.done[driver] >= CASES[driver]


def ended(**fields) -> Ended:
    return Ended(**{"code": 0, "seconds": 1.0, "peak": 0, "out": b"done\n", **fields})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"code": -signal.SIGSEGV}, "SIGSEGV"),
        ({"code": -signal.SIGKILL, "timed_out": True}, "did not end"),
        ({"code": 70}, "exit code 70"),
        ({"code": 99}, "exit code 99"),
        ({"code": 1, "err": b"Traceback (most recent call last):\n  File"}, "traceback"),
        ({"err": b"vcm: Something failed that should not have.\n"}, "internal error"),
        ({"out": b"\x1b[31mred"}, "control character"),
        ({"out": "\x9bm".encode()}, "control character"),
        ({"code": 1, "out": b"", "err": b" \n"}, "without a word"),
        ({"peak": 3_000_000_000}, "3.00 GB"),
    ],
)
def test_the_judge_sees_what_no_input_may_cause(fields, words):
    (complaint,) = complaints(ended(**fields))
    assert words in complaint


@pytest.mark.parametrize(
    ("fields", "hardship"),
    [
        ({}, process.EASE),
        ({"code": 1, "err": "vcm: größer als erlaubt\n".encode()}, process.EASE),
        ({"code": 1, "out": b""}, Hardship(stdout="/dev/full")),
        ({"code": -signal.SIGTERM, "out": b""}, Hardship(signal_after=(signal.SIGTERM, 1.0))),
    ],
)
def test_the_judge_lets_an_orderly_end_pass(fields, hardship):
    assert complaints(ended(**fields), hardship) == []


def test_a_real_crash_a_hang_and_their_memory_are_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "PATIENCE", 1.0)
    folder = tmp_path / "case"
    folder.mkdir()

    def watched(script: str) -> Ended:
        def start(out: Path, err: Path) -> int:
            command = [sys.executable, "-c", script]
            return process._started(command, folder, tmp_path, process.EASE, out, err)

        return process._watch(start, folder, process.EASE)

    crash = watched("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert crash.code == -signal.SIGSEGV
    began = time.monotonic()
    hang = watched("import time; time.sleep(60)")
    assert hang.timed_out and time.monotonic() - began < 20
    large = watched("x = bytearray(300_000_000); x[::4096] = b'1' * len(x[::4096]); print('all of it')")
    assert large.peak > 300_000_000 and large.out == b"all of it\n"


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "thesis.txt").write_text("the only  copy\n"),
        lambda folder: (folder / "ventricles.nii.gz").unlink(),
        lambda folder: (folder / "report.json").chmod(0o600) or (folder / "results.csv").write_bytes(b""),
        lambda folder: (folder / "sample-0.nii.gz").replace(folder / "report.json"),
    ],
)
def test_a_change_to_the_user_s_files_is_seen(tmp_path, harm):
    write_users_files(tmp_path / "user")
    before = state_of(tmp_path / "user")
    (tmp_path / "user" / "new.txt").write_text("a file beside them")
    assert changes(before, tmp_path / "user") == []
    harm(tmp_path / "user")
    assert changes(before, tmp_path / "user")
