"""When a worker ends: asked to, left alone, by a signal, with its parent; and what it takes along."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
from vcm import protocol
from vcm.core.errors import Code
from worker_client import SCRIPTED_WORKER, is_alive, wait_until_gone

GONE_WITHIN = 5
LONG = 5000
BUSY_IN_C = ["call_c_for_a_minute", "call_c_for_a_minute_with_the_lock"]


def test_shutdown_ends_an_idle_worker_with_success(worker):
    worker.send(protocol.Shutdown())
    assert worker.rest() == []
    assert worker.exit_code() == 0


def test_shutdown_cancels_what_runs_and_what_waits(worker):
    worker.begin(protocol.Generate("running", "/out", steps=LONG))
    worker.begin(protocol.Generate("waiting", "/out"))
    worker.send(protocol.Shutdown())
    endings = [item for item in worker.rest() if isinstance(item, protocol.Cancelled)]
    assert {item.id for item in endings} == {"running", "waiting"} and len(endings) == 2
    assert worker.exit_code() == 0


def test_shutdown_does_not_wait_for_a_request_that_cannot_notice(worker):
    worker.begin(protocol.Generate("a", "/out", pack="call_c_for_a_minute"))
    worker.get(protocol.Progress)
    worker.send(protocol.Shutdown())
    assert worker.rest() == [protocol.Cancelled("a")]
    assert worker.exit_code(within=GONE_WITHIN) == 0


@pytest.mark.parametrize(
    "ends",
    [
        "import vcm.cli; sys.argv = ['vcm', '--version']; vcm.cli.main()",
        "import vcm.cli; sys.argv = ['vcm', 'nonsense']; vcm.cli.main()",
        "from vcm.worker.process import serve; serve(None)",
    ],
)
def test_no_process_looks_for_cycles_among_all_its_objects_when_it_ends(ends):
    code = f"import atexit, gc, sys\natexit.register(lambda: print(gc.get_freeze_count(), file=sys.stderr))\n{ends}"
    done = subprocess.run([sys.executable, "-c", code], input="", capture_output=True, text=True, check=False)
    assert int(done.stderr.split()[-1]) > 10_000


def test_the_end_of_stdin_ends_the_worker(worker):
    worker.process.stdin.close()
    assert worker.exit_code(within=GONE_WITHIN) == 0


@pytest.mark.parametrize("pack", [None, "call_c_for_a_minute"])
def test_the_end_of_stdin_ends_a_busy_worker(worker, pack):
    worker.begin(protocol.Generate("a", "/out", pack=pack, steps=LONG))
    worker.get(protocol.Progress)
    worker.process.stdin.close()
    assert worker.exit_code(within=GONE_WITHIN) == 0
    assert protocol.Cancelled("a") in worker.rest()


def test_a_last_request_without_its_newline_is_still_heard(worker):
    worker.send(protocol.encode(protocol.Shutdown()).rstrip() + b"oops")
    worker.process.stdin.close()
    assert any(isinstance(item, protocol.Failed) and item.code is Code.BAD_REQUEST for item in worker.rest())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("pack", [None, "call_c_for_a_minute"])
def test_a_signal_ends_a_busy_worker_politely(worker, number, pack):
    worker.begin(protocol.Generate("a", "/out", pack=pack, steps=LONG))
    worker.get(protocol.Progress)
    worker.process.send_signal(number)
    assert protocol.Cancelled("a") in worker.rest()
    assert worker.exit_code(within=GONE_WITHIN) == 128 + number
    assert worker.stderr() == ""


def test_a_signal_ends_an_idle_worker(worker):
    worker.process.terminate()
    assert worker.exit_code(within=GONE_WITHIN) == 128 + signal.SIGTERM


@pytest.mark.parametrize("pack", [None, "call_c_for_a_minute"])
def test_a_worker_nobody_reads_from_any_more_ends(worker, pack):
    worker.begin(protocol.Generate("a", "/out", pack=pack, steps=LONG))
    worker.get(protocol.Progress)
    worker.stop_reading()
    with contextlib.suppress(BrokenPipeError):
        for number in range(4):
            worker.send(protocol.ListPacks(f"{number}"))
            time.sleep(0.1)
    assert worker.exit_code(within=GONE_WITHIN) == 0


def test_a_client_that_does_not_read_holds_up_neither_the_work_nor_the_end():
    process = subprocess.Popen(
        [sys.executable, str(SCRIPTED_WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        # Each bad line is answered with its own head: far more than a pipe holds.
        process.stdin.write(b"".join(b'{"type":"%d%s","version":1}\n' % (n, b"x" * 150) for n in range(3000)))
        process.stdin.close()
        assert process.wait(GONE_WITHIN + 2) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


PARENT = """
import subprocess, sys, time
worker = subprocess.Popen([sys.executable, {worker!r}], stdin={stdin}, stdout={stdout}, stderr=subprocess.DEVNULL)
{talk}
print(worker.pid, flush=True)
time.sleep(60)
"""


def start_grandchild(talk, stdin="subprocess.PIPE", stdout="subprocess.PIPE"):
    code = PARENT.format(worker=str(SCRIPTED_WORKER), stdin=stdin, stdout=stdout, talk=talk)
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    return parent, int(parent.stdout.readline())


def say(pack):
    line = protocol.encode(protocol.Generate("a", "/out", pack=pack, steps=LONG))
    return (
        f"worker.stdin.write({line!r}); worker.stdin.flush()\n"
        "while b'\"progress\"' not in worker.stdout.readline(): pass"
    )


@pytest.mark.parametrize("pack", [None, *BUSY_IN_C])
def test_a_busy_worker_is_gone_soon_after_its_parent_was_killed(pack):
    parent, pid = start_grandchild(say(pack))
    with parent:
        assert is_alive(pid)
        parent.kill()
        parent.wait()
        wait_until_gone(pid, GONE_WITHIN)


def test_a_worker_whose_pipes_somebody_else_holds_open_is_gone_with_its_parent():
    inlet, inlet_end = os.pipe()
    outlet_end, outlet = os.pipe()
    os.set_inheritable(inlet, True)
    os.set_inheritable(outlet, True)
    code = PARENT.format(worker=str(SCRIPTED_WORKER), stdin=inlet, stdout=outlet, talk="")
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, pass_fds=(inlet, outlet))
    with parent:
        pid = int(parent.stdout.readline())
        assert b"ready" in os.read(outlet_end, 1000) + os.read(outlet_end, 1000)
        parent.kill()
        parent.wait()
        wait_until_gone(pid, GONE_WITHIN)
    for descriptor in (inlet, inlet_end, outlet, outlet_end):
        os.close(descriptor)


def test_a_worker_outlives_the_thread_that_started_it():
    talk = f"""
import threading
def begin():
    global worker
    worker.kill(); worker.wait()
    worker = subprocess.Popen([sys.executable, {str(SCRIPTED_WORKER)!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    while b'"ready"' not in worker.stdout.readline(): pass
thread = threading.Thread(target=begin); thread.start(); thread.join()
"""
    parent, pid = start_grandchild(talk)
    with parent:
        time.sleep(4)
        assert is_alive(pid)
        parent.kill()
        parent.wait()
        wait_until_gone(pid, GONE_WITHIN)


def test_a_child_of_the_worker_is_ended_with_it_by_force(worker, tmp_path):
    worker.begin(protocol.Generate("a", str(tmp_path / "pid"), pack="start_a_child"))
    worker.get(protocol.Progress)
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.05)
    child = int((tmp_path / "pid").read_text())
    assert is_alive(child)
    worker.send(protocol.Shutdown())
    assert worker.exit_code(within=GONE_WITHIN) == 0
    wait_until_gone(child, 1)


def test_a_crash_in_c_closes_the_stream_after_whole_lines(worker):
    worker.begin(protocol.Generate("a", "/out", pack="abort"))
    assert [type(item) for item in worker.rest()] == [protocol.Found, protocol.Progress]
    assert worker.exit_code(within=GONE_WITHIN) == -signal.SIGABRT
