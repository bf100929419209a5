"""The worker as a process: what it answers, what it survives, and when it ends."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from vcm.errors import Code
from vcm.protocol import (
    Accepted,
    Cancel,
    Cancelled,
    ConditionInput,
    Examine,
    Examined,
    Failed,
    Found,
    Garbage,
    Generate,
    Generated,
    Hello,
    ListPacks,
    Machine,
    Packs,
    Preflight,
    Progress,
    Ready,
    Segment,
    Segmented,
    Shutdown,
    Warm,
    Warmed,
    encode,
)
from vcm.protocol.lines import MAX_LINE_BYTES
from vcm.worker.jobs import MAX_WAITING
from worker_client import SCRIPTED_WORKER, WorkerClient, is_alive, wait_until_gone

GONE_WITHIN = 5
LONG = 5000
BUSY_IN_C = ["call_c_for_a_minute", "call_c_for_a_minute_with_the_lock"]


@pytest.fixture
def start():
    clients = []

    def start_one(*arguments, **options):
        clients.append(WorkerClient(*arguments, **options))
        return clients[-1]

    yield start_one
    for client in clients:
        client.close()


@pytest.fixture
def worker(start):
    client = start()
    client.get(Ready)
    return client


def test_a_worker_says_hello_before_it_loads_and_ready_after(start):
    client = start()
    hello, ready = client.next(), client.next()
    assert isinstance(hello, Hello) and hello.pid == client.process.pid
    assert ready == Ready("the processor, 3 cores")


def test_a_request_sent_before_ready_is_worked_on_after_it(start):
    client = start()
    client.send(ListPacks("early"))
    kinds = [type(item) for item in client.until(Packs, "early")[1]]
    assert kinds.index(Accepted) < kinds.index(Ready)


@pytest.mark.parametrize(
    ("request_", "ending"),
    [
        (Generate("a", "/out"), Generated),
        (Examine("a", ()), Examined),
        (Segment("a", "t1.nii", "/out/labels.nii"), Segmented),
        (ListPacks("a"), Packs),
        (Preflight("a"), Machine),
        (Warm("a"), Warmed),
    ],
    ids=lambda value: getattr(value, "type", ""),
)
def test_every_request_is_accepted_and_has_its_own_ending(worker, request_, ending):
    worker.send(request_)
    assert worker.next() == Accepted("a", 0)
    assert worker.get(ending).id == "a"


def test_findings_and_progress_arrive_in_order_before_the_ending(worker):
    worker.send(Generate("a", "/out", steps=3, seed=11))
    ending, before = worker.until(Generated)
    assert [type(item) for item in before] == [Accepted, Found, Progress, Progress, Progress]
    assert [(item.step, item.total) for item in before[2:]] == [(1, 3), (2, 3), (3, 3)]
    assert ending.samples[0].seed == 11


def test_two_requests_run_one_after_the_other_in_their_order(worker):
    worker.send(encode(Generate("first", "/a", steps=20)) + encode(Generate("second", "/b", steps=2)))
    _, before = worker.until(Generated, "second")
    ids = [item.id for item in before if isinstance(item, (Progress, Generated))]
    assert ids == ["first"] * 21 + ["second"] * 2
    assert [item.ahead for item in before if isinstance(item, Accepted)] == [0, 1]


def test_paths_of_any_script_come_through(worker):
    path = "C:\\Users\\Lékař\\脳🧠\\mask ”1“.nii.gz\n"
    worker.send(json.dumps(json.loads(encode(Generate("größe", path))), ensure_ascii=False).encode() + b"\n")
    assert worker.get(Generated, "größe").out == path


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"hello\n", "not JSON"),
        (b'{"type":"generate","version":1,"id":"x"\n', "not JSON"),
        (b"\x00\xff\xfe\x89PNG\r\x1a\n", "not JSON"),
        (b'{"type":"explode","version":1,"id":"x"}\n', 'no message of the type "explode"'),
        (b'{"type":"list-packs","version":99,"id":"x"}\n', "speaks version 99"),
        (b'{"type":"generate","version":1,"id":"x","out":3}\n', "out must be a text, not 3"),
        (b'{"type":"list-packs","version":1,"id":""}\n', "needs an id"),
        (encode(Ready("me")), "takes none"),
        (b"x" * (MAX_LINE_BYTES + 10) + b"\n", "longer than"),
        (b"[" * 100_000 + b"\n", "not JSON"),
    ],
    ids=["words", "cut", "binary", "type", "version", "field", "no id", "wrong way", "huge", "nested"],
)
def test_a_bad_request_is_answered_and_the_next_good_one_is_served(worker, line, said):
    worker.send(line)
    failed = worker.next()
    assert isinstance(failed, Failed) and failed.code is Code.BAD_REQUEST
    assert said in failed.sentence
    assert failed.id == ("x" if b'"id":"x"}' in line or b'"out":3' in line else "")
    worker.send(ListPacks("good"))
    assert worker.get(Packs).id == "good"


def test_a_bad_request_does_not_end_the_good_one_whose_id_it_uses(worker):
    worker.begin(Generate("a", "/out", steps=30))
    worker.send(b'{"type":"generate","version":1,"id":"a","out":3}\n' + encode(ListPacks("a")))
    ending, before = worker.until(Generated)
    refusals = [item for item in before if isinstance(item, Failed)]
    assert [item.id for item in refusals] == ["", ""]
    assert "'a' has not ended yet" in refusals[1].sentence
    assert ending.id == "a"


def test_an_id_can_be_used_again_once_its_request_has_ended(worker):
    for _ in range(20):
        worker.send(ListPacks("a"))
        assert [type(worker.next()), type(worker.next())] == [Accepted, Packs]


def test_more_requests_than_can_wait_are_refused(worker):
    worker.begin(Generate("running", "/out", steps=LONG))
    for number in range(MAX_WAITING + 1):
        worker.send(ListPacks(f"{number}"))
    refused = worker.get(Failed)
    assert refused.id == f"{MAX_WAITING}" and "requests are waiting already" in refused.sentence
    worker.send(Cancel("running"))
    assert worker.get(Packs, f"{MAX_WAITING - 1}")


def test_nothing_that_prints_reaches_the_client(worker):
    worker.send(Generate("a", "/out", pack="print_everywhere"))
    worker.get(Generated)
    worker.send(Shutdown())
    assert not [item for item in worker.rest() if isinstance(item, Garbage)]
    assert all(line.startswith(b'{"type":"') for line in bytes(worker.raw).splitlines())
    printed = worker.stderr()
    for source in ("from Python", "from a C library", "from libc's buffer", "from a child process"):
        assert source in printed


def test_nothing_that_reads_takes_a_request_away(worker):
    worker.send(encode(Generate("a", "/out", pack="read_stdin")) + encode(ListPacks("b")))
    assert worker.get(Generated).id == "a"
    assert worker.get(Packs).id == "b"


def test_cancel_ends_a_running_request_halfway_and_the_worker_lives_on(worker):
    worker.begin(Generate("a", "/out", steps=LONG))
    while worker.get(Progress).step < 3:
        pass
    worker.send(Cancel("a"))
    _, before = worker.until(Cancelled, "a")
    assert max((item.step for item in before if isinstance(item, Progress)), default=0) < LONG
    worker.send(Generate("b", "/out"))
    assert worker.get(Generated).id == "b"


def test_cancel_takes_a_waiting_request_out_at_once(worker):
    worker.begin(Generate("running", "/out", steps=60))
    worker.begin(Generate("waiting", "/out"))
    worker.send(Cancel("waiting"))
    _, before = worker.until(Generated, "running")
    assert Cancelled("waiting") in before
    worker.send(Shutdown())
    assert not [item for item in worker.rest() if getattr(item, "id", "") == "waiting"]


def test_cancelling_what_has_ended_or_never_was_is_passed_over_in_silence(worker):
    worker.send(encode(ListPacks("a")) + encode(Cancel("never")))
    worker.get(Packs)
    worker.send(encode(Cancel("a")) + encode(ListPacks("b")))
    assert [type(worker.next()), type(worker.next())] == [Accepted, Packs]


def test_an_error_in_words_arrives_as_it_was_raised(worker):
    worker.send(Generate("a", "/out", pack="fail_in_words"))
    failed = worker.get(Failed)
    assert (failed.code, failed.sentence) == (Code.GEOMETRY, "The mask größe.nii lies 80 mm away.")
    assert failed.details == {"lost": 12, "path": "/a/b"}


@pytest.mark.parametrize("shortage", ["run_out_of_memory", "run_out_of_gpu_memory"])
def test_running_out_of_memory_is_told_and_lets_go_of_what_is_warm(worker, shortage):
    worker.send(encode(Generate("a", "/out", pack=shortage)) + encode(ListPacks("b")))
    failed = worker.get(Failed)
    assert failed.code is Code.OUT_OF_MEMORY and failed.remedy
    assert worker.get(Packs).folder == "released 1 times"


@pytest.mark.parametrize(
    ("deed", "named"),
    [("divide_by_zero", "ZeroDivisionError"), ("exit_python", "SystemExit"), ("not_a_number", "seed")],
)
def test_an_unforeseen_failure_is_told_without_a_traceback_and_survived(worker, deed, named):
    worker.send(Generate("a", "/out", pack=deed))
    failed = worker.get(Failed)
    assert failed.id == "a" and failed.code is Code.INTERNAL
    assert named in failed.sentence and failed.remedy
    assert "Traceback" not in json.dumps(failed.details) and failed.details["where"]
    worker.send(ListPacks("b"))
    assert worker.get(Packs)
    worker.send(Shutdown())
    assert "Traceback" not in worker.stderr()


def test_debug_adds_the_traceback(start):
    client = start("--debug")
    client.send(Generate("a", "/out", pack="divide_by_zero"))
    assert "ZeroDivisionError" in client.get(Failed).details["traceback"]


def test_an_engine_that_does_not_load_ends_every_request_and_the_worker(start):
    client = start("--broken-engine")
    client.send(encode(ListPacks("a")))
    items = client.rest()
    failures = [item for item in items if isinstance(item, Failed)]
    assert failures[0].id == "" and "No module named 'torch'" in failures[0].sentence
    assert {item.id for item in items if isinstance(item, Accepted)} <= {item.id for item in failures}
    assert client.exit_code() == 1


def test_shutdown_ends_an_idle_worker_with_success(worker):
    worker.send(Shutdown())
    assert worker.rest() == []
    assert worker.exit_code() == 0


def test_shutdown_cancels_what_runs_and_what_waits(worker):
    worker.begin(Generate("running", "/out", steps=LONG))
    worker.begin(Generate("waiting", "/out"))
    worker.send(Shutdown())
    endings = [item for item in worker.rest() if isinstance(item, Cancelled)]
    assert {item.id for item in endings} == {"running", "waiting"} and len(endings) == 2
    assert worker.exit_code() == 0


def test_shutdown_does_not_wait_for_a_request_that_cannot_notice(worker):
    worker.begin(Generate("a", "/out", pack="call_c_for_a_minute"))
    worker.get(Progress)
    worker.send(Shutdown())
    assert worker.rest() == [Cancelled("a")]
    assert worker.exit_code(within=GONE_WITHIN) == 0


def test_the_end_of_stdin_ends_the_worker(worker):
    worker.process.stdin.close()
    assert worker.exit_code(within=GONE_WITHIN) == 0


@pytest.mark.parametrize("pack", [None, "call_c_for_a_minute"])
def test_the_end_of_stdin_ends_a_busy_worker(worker, pack):
    worker.begin(Generate("a", "/out", pack=pack, steps=LONG))
    worker.get(Progress)
    worker.process.stdin.close()
    assert worker.exit_code(within=GONE_WITHIN) == 0
    assert Cancelled("a") in worker.rest()


def test_a_last_request_without_its_newline_is_still_heard(worker):
    worker.send(encode(Shutdown()).rstrip() + b"oops")
    worker.process.stdin.close()
    assert any(isinstance(item, Failed) and item.code is Code.BAD_REQUEST for item in worker.rest())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("pack", [None, "call_c_for_a_minute"])
def test_a_signal_ends_a_busy_worker_politely(worker, number, pack):
    worker.begin(Generate("a", "/out", pack=pack, steps=LONG))
    worker.get(Progress)
    worker.process.send_signal(number)
    assert Cancelled("a") in worker.rest()
    assert worker.exit_code(within=GONE_WITHIN) == 128 + number
    assert worker.stderr() == ""


def test_a_signal_ends_an_idle_worker(worker):
    worker.process.terminate()
    assert worker.exit_code(within=GONE_WITHIN) == 128 + signal.SIGTERM


@pytest.mark.parametrize("pack", [None, "call_c_for_a_minute"])
def test_a_worker_nobody_reads_from_any_more_ends(worker, pack):
    worker.begin(Generate("a", "/out", pack=pack, steps=LONG))
    worker.get(Progress)
    worker.stop_reading()
    with contextlib.suppress(BrokenPipeError):
        for number in range(4):
            worker.send(ListPacks(f"{number}"))
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
    line = encode(Generate("a", "/out", pack=pack, steps=LONG))
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
    worker.begin(Generate("a", str(tmp_path / "pid"), pack="start_a_child"))
    worker.get(Progress)
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.05)
    child = int((tmp_path / "pid").read_text())
    assert is_alive(child)
    worker.send(Shutdown())
    assert worker.exit_code(within=GONE_WITHIN) == 0
    wait_until_gone(child, 1)


def test_a_worker_started_without_stderr_still_speaks(start):
    client = start(command=("sh", "-c", f'exec "{sys.executable}" "{SCRIPTED_WORKER}" 2>&-'))
    client.send(Generate("a", "/out", pack="print_everywhere"))
    assert client.get(Generated)
    assert not any(b"from" in line for line in bytes(client.raw).splitlines())


def test_a_crash_in_c_closes_the_stream_after_whole_lines(worker):
    worker.begin(Generate("a", "/out", pack="abort"))
    assert [type(item) for item in worker.rest()] == [Found, Progress]
    assert worker.exit_code(within=GONE_WITHIN) == -signal.SIGABRT


def test_saying_hello_needs_no_heavy_package():
    code = "import sys, vcm.worker.process; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not {"numpy", "torch", "monai", "SimpleITK"} & set(loaded.stdout.split())


def test_the_fields_of_a_request_reach_the_engine_whole(worker):
    worker.send(Examine("a", (ConditionInput("ventricles", "/data/脳.nii", 4, 0.5), ConditionInput("skull", "s"))))
    prepared = worker.get(Examined).prepared
    assert [(entry.name, entry.path) for entry in prepared] == [("ventricles", "/data/脳.nii"), ("skull", "s")]


def test_an_error_about_a_file_whose_name_is_no_unicode_is_still_told(worker):
    worker.send(Generate("a", "/out", pack="name_a_strange_file"))
    failed = worker.get(Failed)
    assert failed.code is Code.FILE_UNREADABLE and failed.sentence == "There is no ?.nii here?."
