"""The stand-in for the worker behaves like one, and each of its faults is what it says."""

import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from vcm import protocol
from vcm.core.errors import Code
from vcm.packs.store import default_backbone, find_pack
from vcm.volumes.volume_files import read_volume
from worker_client import WorkerClient, is_alive, wait_until_gone

FAKE_WORKER = Path(__file__).parents[2] / "fake_worker.py"
GRID = find_pack(default_backbone()).backbone.grid


@pytest.fixture
def start():
    clients = []

    def start_one(*arguments, packages=False):
        # -S: a Python without any package, as other tests may have no other.
        command = [sys.executable, *([] if packages else ["-S"]), str(FAKE_WORKER)]
        clients.append(WorkerClient(*arguments, command=command))
        return clients[-1]

    yield start_one
    for client in clients:
        client.close()


def generate(tmp_path, **options):
    conditions = (protocol.ConditionInput("ventricles", "v.nii"), protocol.ConditionInput("skull", "s.nii"))
    return protocol.Generate("größe", str(tmp_path / "脳"), conditions, seed=4, **options)


def test_it_answers_a_generate_with_files_that_lie_where_the_model_would_put_them(start, tmp_path):
    client = start("--log", str(tmp_path / "log"))
    asked = generate(tmp_path, samples=2, uncontrolled=True, preview_every=2, preview_dir=str(tmp_path))
    client.send(asked)
    ending, before = client.until(protocol.Generated)
    assert {protocol.Hello, protocol.Ready, protocol.Accepted, protocol.Progress, protocol.Found, protocol.Preview} <= {
        type(item) for item in before
    }
    for sample in ending.samples:
        for path in (sample.path, sample.uncontrolled_path):
            volume = read_volume(path)
            assert volume.grid.same_as(GRID)
            for axis in range(3):
                assert not np.array_equal(volume.array, np.flip(volume.array, axis))
    assert read_volume(next(item.path for item in before if isinstance(item, protocol.Preview))).grid.same_as(GRID)
    assert protocol.decode((tmp_path / "log").read_bytes()) == asked


def test_it_answers_every_other_request(start, tmp_path):
    client = start()
    for request, ending in (
        (
            protocol.Examine("a", (protocol.ConditionInput("ventricles", "v"),), prepared_dir=str(tmp_path)),
            protocol.Examined,
        ),
        (protocol.Segment("a", "t1.nii", str(tmp_path / "labels.nii.gz")), protocol.Segmented),
        (protocol.Register("a", "t1.nii", str(tmp_path / "registered")), protocol.Registered),
        (protocol.ListPacks("a"), protocol.Packs),
        (protocol.GetPack("a", "brainldm", "Apache-2.0"), protocol.PackObtained),
        (protocol.Preflight("a"), protocol.Machine),
        (protocol.Warm("a"), protocol.Warmed),
    ):
        client.send(request)
        client.get(ending)
    assert int((read_volume(tmp_path / "labels.nii.gz").array == 1).sum()) == 480
    assert read_volume(tmp_path / "ventricles.nii.gz").grid.same_as(GRID)


def test_it_can_be_cancelled_and_shut_down(start, tmp_path):
    client = start("--delay", "0.05")
    client.send(generate(tmp_path, steps=1000))
    client.get(protocol.Progress)
    client.send(protocol.Cancel("größe"))
    assert client.get(protocol.Cancelled).id == "größe"
    client.send(protocol.Shutdown())
    assert client.exit_code() == 0


@pytest.mark.parametrize(
    ("fault", "code"), [("fail", "GEOMETRY"), ("out-of-memory", "OUT_OF_MEMORY"), ("unforeseen", "INTERNAL")]
)
def test_a_fault_of_the_work_fails_the_request_and_no_other(start, tmp_path, fault, code):
    client = start("--fault", fault)
    client.send(generate(tmp_path))
    assert client.get(protocol.Failed).code is Code[code]
    client.send(protocol.ListPacks("b"))
    assert client.get(protocol.Packs)


@pytest.mark.parametrize(("fault", "exit_code"), [("crash", -signal.SIGABRT), ("exit", 0), ("half", 0)])
def test_a_fault_of_the_process_ends_it_without_an_ending(start, tmp_path, fault, exit_code):
    client = start("--fault", fault)
    client.send(generate(tmp_path))
    items = client.rest()
    assert not [item for item in items if isinstance(item, protocol.Generated)]
    assert isinstance(items[-1], protocol.Garbage) is (fault == "half")
    assert client.exit_code() == exit_code


@pytest.mark.parametrize("fault", ["garbage", "cut", "chatter", "flood", "not-mine"])
def test_a_fault_of_the_stream_hides_no_message(start, tmp_path, fault):
    client = start("--fault", fault)
    threading.Thread(target=client.stderr, daemon=True).start()
    client.send(generate(tmp_path))
    ending, before = client.until(protocol.Generated)
    assert ending.id == "größe"
    assert any(isinstance(item, protocol.Garbage) for item in before) is (fault == "garbage")


def test_a_huge_line_is_one_piece_of_garbage(start):
    client = start("--fault", "huge", "--on", "none")
    assert isinstance(client.next(), protocol.Garbage)
    assert isinstance(client.next(), protocol.Hello)


def test_another_version_is_told_as_such(start):
    item = start("--fault", "other-version").next()
    assert isinstance(item, protocol.Garbage) and "speaks version 99" in item.error.sentence


def test_it_can_fail_to_start_in_every_way(start):
    client = start("--fault", "no-start")
    assert client.rest() == [] and client.exit_code() == 3 and "no module torch" in client.stderr()
    client = start("--fault", "broken-engine")
    assert (
        any(isinstance(item, protocol.Failed) and item.id == "" for item in client.rest()) and client.exit_code() == 1
    )
    client = start("--fault", "never-ready")
    assert isinstance(client.next(), protocol.Hello)
    client.send(protocol.Shutdown())
    assert client.rest() == [] and client.exit_code() == 0


def test_a_hanging_one_ignores_all_but_a_kill(start, tmp_path):
    client = start("--fault", "hang")
    client.send(generate(tmp_path))
    client.get(protocol.Progress)
    client.send(protocol.Shutdown())
    client.process.terminate()
    with pytest.raises(Exception, match="timed out"):
        client.exit_code(within=0.5)
    client.process.kill()
    assert client.exit_code() == -signal.SIGKILL


def test_a_deaf_one_ignores_cancel_but_can_be_shut_down(start, tmp_path):
    client = start("--fault", "deaf")
    client.send(generate(tmp_path))
    client.get(protocol.Progress)
    client.send(protocol.Cancel("größe"))
    for _ in range(3):
        client.get(protocol.Progress)
    client.send(protocol.Shutdown())
    assert client.get(protocol.Cancelled)
    assert client.exit_code() == 0


def test_one_with_a_child_takes_it_along_when_shut_down(start, tmp_path):
    client = start("--fault", "child", packages=True)
    client.send(generate(tmp_path))
    child = int(client.process.stderr.readline().split()[1])
    assert is_alive(child)
    client.send(protocol.Shutdown())
    assert client.exit_code() == 0
    wait_until_gone(child, 2)
