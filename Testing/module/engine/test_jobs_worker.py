"""Whatever the worker does or fails to do, the client's state, sentence and remedy say so, and the next job works."""

import contextlib
import os
import re
import sys
import time
from pathlib import Path

import pytest
import qt
from logicSetup import FAKE_WORKER, Gaps, let, waitUntil
from vcm.core.errors import VcmError
from vcm.protocol import (
    Cancelled,
    ConditionInput,
    Examine,
    Examined,
    Generate,
    Generated,
    ListPacks,
    Machine,
    Packs,
    Preflight,
    Preview,
    Progress,
    Segment,
    Segmented,
)
from VCMSlicerLib.engine.jobState import (
    IMPORT_FAILED,
    NO_ENVIRONMENT,
    WORKER_CRASHED,
    WORKER_ENDED,
    WORKER_HUNG,
    WORKER_NOT_STARTED,
    WORKER_SILENT,
    WORKER_VERSION,
    Failure,
    JobState,
)
from VCMSlicerLib.engine.processTree import endTree, treeOf
from VCMSlicerLib.engine.watchdog import Patience
from VCMSlicerLib.engine.workerClient import WorkerClient
from VCMSlicerLib.engine.workerProcess import WorkerCommand

IMPATIENCE = Patience(cancel=1.0, hello=1.5, ready=1.5, quiet=0.5, pong=1.0)


@pytest.fixture
def makeClient():
    made = []

    def make(*arguments, program=sys.executable, patience=None):
        command = WorkerCommand(program, (str(FAKE_WORKER), *arguments))
        made.append(Recorded(lambda: command, patience))
        return made[-1]

    yield make
    for client in made:
        client.shutdown()


class Recorded(WorkerClient):
    """A client that remembers its states and messages."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.states, self.messages, self.endings = [], [], []
        self.onChanged(self.states.append)
        self.onMessage(self.messages.append)

    def finish(self, folder, **fields):
        self.begin(folder, **fields)
        if self.state.busy:
            loop = qt.QEventLoop()
            remove = self.onChanged(lambda state: None if state.busy else loop.quit())
            qt.QTimer.singleShot(60_000, loop.quit)
            loop.exec_()
            remove()
        assert not self.state.busy
        return self

    def begin(self, folder, **fields):
        self.run(Generate(self.newId(), str(folder), **fields), self.endings.append)

    @property
    def pid(self):
        return self.workerPid


def isAlive(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def test_a_job_goes_from_idle_through_starting_and_running_to_done(makeClient, tmp_path):
    client = makeClient()
    assert client.state is JobState.IDLE
    client.finish(tmp_path)
    assert client.states == [JobState.STARTING, JobState.RUNNING, JobState.DONE]
    assert client.failure is None and client.fraction == 1.0 and client.device.startswith("a processor")
    assert isinstance(client.endings[0], Generated) and Path(client.endings[0].samples[0].path).exists()


def test_a_warm_worker_is_used_again_and_answers_at_once(makeClient, tmp_path):
    client = makeClient("--steps", "1", "--delay", "0").finish(tmp_path / "first")
    pid, begin = client.pid, time.perf_counter()
    client.finish(tmp_path / "second")
    assert client.pid == pid and client.state is JobState.DONE
    assert time.perf_counter() - begin < 0.3
    assert client.states[-2:] == [JobState.RUNNING, JobState.DONE]


def test_fraction_and_seconds_left_follow_the_steps(makeClient, tmp_path):
    client = makeClient("--steps", "8", "--delay", "0.05")
    seen = []
    client.onMessage(lambda m: isinstance(m, Progress) and seen.append((client.fraction, client.secondsLeft)))
    client.finish(tmp_path)
    fractions = [fraction for fraction, _left in seen]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    lefts = [left for _fraction, left in seen if left is not None]
    assert lefts[0] == pytest.approx(0.35, abs=0.02) and lefts == sorted(lefts, reverse=True)
    assert client.secondsLeft is None


def test_previews_arrive_while_it_runs(makeClient, tmp_path):
    client = makeClient("--steps", "4")
    client.finish(tmp_path / "out", preview_every=2, preview_dir=str(tmp_path / "previews"))
    previews = [m for m in client.messages if isinstance(m, Preview)]
    assert [preview.step for preview in previews] == [2, 4] and all(Path(p.path).exists() for p in previews)


def test_packs_and_the_machine_can_be_asked_for_beside_a_job(makeClient, tmp_path):
    client, answers = makeClient("--steps", "10"), []
    client.ask(ListPacks("l"), answers.append)
    assert client.state is JobState.IDLE
    client.begin(tmp_path)
    client.ask(Preflight("p"), answers.append)
    waitUntil(lambda: not client.state.busy and len(answers) == 2)
    assert [type(answer) for answer in answers] == [Packs, Machine]
    assert client.states == [JobState.STARTING, JobState.RUNNING, JobState.DONE]


def test_examine_and_segment_are_jobs_too(makeClient, tmp_path):
    client, answers = makeClient(), []
    inputs = (ConditionInput("ventricles", str(tmp_path / "v.nii")),)
    client.run(Examine("e", inputs, prepared_dir=str(tmp_path)), answers.append)
    waitUntil(lambda: not client.state.busy)
    client.run(Segment("s", "t1w.nii", str(tmp_path / "labels.nii")), answers.append)
    waitUntil(lambda: not client.state.busy)
    assert [type(answer) for answer in answers] == [Examined, Segmented]


def test_a_second_job_while_one_runs_is_refused_in_words(makeClient, tmp_path):
    client = makeClient("--steps", "20")
    client.begin(tmp_path)
    with pytest.raises(VcmError, match="Another job is running"):
        client.begin(tmp_path)
    waitUntil(lambda: not client.state.busy)
    assert client.state is JobState.DONE


# Failures


@pytest.mark.parametrize(
    "fault, code, words",
    [
        ("fail", "GEOMETRY", "80 mm outside"),
        ("out-of-memory", "OUT_OF_MEMORY", "ran out of memory"),
        ("unforeseen", "INTERNAL", "ZeroDivisionError"),
    ],
)
def test_a_failure_the_worker_tells_of_leaves_it_warm(makeClient, tmp_path, fault, code, words):
    client = makeClient("--fault", fault).finish(tmp_path)
    assert client.state is JobState.FAILED
    assert client.failure.code == code and words in client.failure.sentence and client.failure.remedy
    assert client.warmed and client.endings == [client.failure]


@pytest.mark.parametrize(
    "fault, code, words",
    [
        ("crash", WORKER_CRASHED, "crashed"),
        ("exit", WORKER_ENDED, "exit code 0"),
        ("half", WORKER_ENDED, "exit code 0"),
        ("no-start", WORKER_NOT_STARTED, "exit code 3"),
        ("broken-engine", WORKER_NOT_STARTED, "no module torch"),
    ],
)
def test_a_worker_that_ends_is_told_and_the_next_job_starts_another(makeClient, tmp_path, fault, code, words):
    client = makeClient("--fault", fault).finish(tmp_path)
    assert client.state is JobState.FAILED and not client.warmed
    assert client.failure.code == code and words in client.failure.sentence and client.failure.remedy
    client._connection._command = lambda: WorkerCommand(sys.executable, (str(FAKE_WORKER),))
    assert client.finish(tmp_path).state is JobState.DONE


def test_a_worker_that_ends_in_the_middle_with_an_error_tells_its_exit_code(tmp_path):
    program = tmp_path / "ends.py"
    program.write_text(
        "import sys\nsys.path.insert(0, sys.argv[1])\nfrom vcm.protocol import Hello, Ready, encode\n"
        "for message in (Hello('0', '3', 1), Ready('nothing')):\n    sys.stdout.buffer.write(encode(message))\n"
        "sys.stdout.flush()\nsys.stdin.readline()\nprint('a disk fell off', file=sys.stderr)\nsys.exit(7)\n",
        encoding="utf-8",
    )
    command = WorkerCommand(sys.executable, (str(program), str(FAKE_WORKER.parents[1] / "VCMSlicer")))
    client = Recorded(lambda: command, None).finish(tmp_path)
    assert client.failure.code == WORKER_ENDED and "exit code 7" in client.failure.sentence
    assert "a disk fell off" in client.failure.log and client.failure.remedy


def test_what_a_worker_says_before_it_fails_to_start_is_in_the_log(makeClient, tmp_path):
    client = makeClient("--fault", "no-start").finish(tmp_path)
    assert "there is no module torch" in client.failure.log


def test_a_program_that_is_not_there_fails_to_start(makeClient, tmp_path):
    client = makeClient(program=str(tmp_path / "no python")).finish(tmp_path)
    assert client.state is JobState.FAILED and client.failure.code == WORKER_NOT_STARTED
    assert "no python cannot be started" in client.failure.sentence and client.failure.remedy


def test_without_an_environment_the_failure_says_so(tmp_path):
    failure = Failure(NO_ENVIRONMENT, "The AI libraries are not set up.", "Set up the environment.")
    client = Recorded(lambda: failure)
    client.finish(tmp_path)
    assert client.state is JobState.FAILED and client.failure == failure and client.endings == [failure]


@pytest.mark.parametrize("wire", ["garbage", "cut", "huge"])
def test_noise_between_the_lines_spoils_nothing(makeClient, tmp_path, wire):
    client = makeClient("--fault", wire, "--steps", "2").finish(tmp_path)
    assert client.state is JobState.DONE and len(client.endings) == 1
    if wire == "garbage":
        assert "Lädt Modell" in client.log


def test_stderr_cut_within_a_character_is_read_whole(makeClient, tmp_path):
    client = makeClient("--fault", "chatter").finish(tmp_path)
    assert client.state is JobState.DONE
    lines = client.log.splitlines()
    assert sum(line.endswith("größer werdend…") for line in lines) > 1000 and "\ufffd" not in client.log


def test_a_flood_of_messages_does_not_hold_up_the_panel(makeClient, tmp_path):
    client = makeClient("--fault", "flood")
    gaps = Gaps()
    client.finish(tmp_path)
    assert client.state is JobState.DONE and sum(isinstance(m, Progress) for m in client.messages) > 5000
    work, clock = gaps.worst()
    assert work < 0.05 and clock < 0.5


def test_messages_for_another_request_are_passed_over(makeClient, tmp_path):
    client = makeClient("--fault", "not-mine").finish(tmp_path)
    assert client.state is JobState.DONE


def test_another_version_of_the_protocol_is_told_and_the_worker_ended(makeClient, tmp_path):
    client = makeClient("--fault", "other-version").finish(tmp_path)
    assert client.failure.code == WORKER_VERSION and "version 99" in client.failure.sentence
    assert not client.warmed


@pytest.mark.parametrize("fault, words", [("silent", "has not said a word"), ("never-ready", "loading its engine")])
def test_a_worker_that_never_starts_is_given_up(makeClient, tmp_path, fault, words):
    client = makeClient("--fault", fault, patience=IMPATIENCE).finish(tmp_path)
    assert client.failure.code == WORKER_SILENT and words in client.failure.sentence and client.failure.remedy


def test_a_frozen_worker_is_found_out_and_ended(makeClient, tmp_path):
    client = makeClient("--fault", "hang", patience=IMPATIENCE)
    client.begin(tmp_path)
    waitUntil(lambda: client.warmed)
    pid = client.pid
    waitUntil(lambda: not client.state.busy)
    assert client.failure.code == WORKER_HUNG and "has not answered" in client.failure.sentence
    waitUntil(lambda: not isAlive(pid), 5)


def test_a_worker_that_is_only_slow_is_not_taken_for_frozen(makeClient, tmp_path):
    client = makeClient("--steps", "1", "--delay", "4", patience=IMPATIENCE).finish(tmp_path)
    assert client.state is JobState.DONE
    assert not any(str(getattr(m, "id", "")).startswith("ping") for m in client.messages)


def test_a_worker_killed_from_outside_is_told_and_replaced(makeClient, tmp_path):
    client = makeClient("--steps", "200")
    client.begin(tmp_path)
    waitUntil(lambda: client.fraction > 0)
    os.kill(client.pid, 9)
    waitUntil(lambda: not client.state.busy)
    assert client.failure.code == WORKER_CRASHED and "memory" in client.failure.sentence
    assert client.finish(tmp_path, steps=2).state is JobState.DONE


def test_a_warm_worker_that_dies_while_idle_is_replaced_without_a_word(makeClient, tmp_path):
    client = makeClient("--steps", "2").finish(tmp_path)
    os.kill(client.pid, 9)
    waitUntil(lambda: not client.warmed)
    assert client.state is JobState.DONE and client.failure is None
    assert client.finish(tmp_path).state is JobState.DONE


# Cancelling


def test_a_cancelled_job_ends_at_idle_and_leaves_the_worker_warm(makeClient, tmp_path):
    client = makeClient("--steps", "200")
    client.begin(tmp_path)
    waitUntil(lambda: client.fraction > 0)
    pid = client.pid
    client.cancel()
    assert client.state is JobState.CANCELLING
    waitUntil(lambda: not client.state.busy, 2)
    assert client.state is JobState.IDLE and client.failure is None
    assert isinstance(client.endings[0], Cancelled)
    assert client.finish(tmp_path, steps=2).state is JobState.DONE and client.pid == pid


def test_a_job_cancelled_while_the_worker_starts_ends_at_once(makeClient, tmp_path):
    client = makeClient("--fault", "never-ready")
    client.begin(tmp_path)
    client.cancel()
    assert client.state is JobState.IDLE and isinstance(client.endings[0], Cancelled)
    assert client.warmed is False


def test_a_worker_that_starts_for_a_job_that_was_cancelled_is_left_in_peace(makeClient, tmp_path):
    client = makeClient("--steps", "1", patience=IMPATIENCE)
    client.begin(tmp_path)
    client.cancel()
    waitUntil(lambda: client.warmed)
    let(0.4)
    assert not client._connection._watchdog.watching
    assert client.finish(tmp_path).state is JobState.DONE


def test_a_deaf_worker_is_ended_two_seconds_after_cancel(makeClient, tmp_path):
    client = makeClient("--fault", "deaf")
    client.begin(tmp_path)
    waitUntil(lambda: any(isinstance(m, Progress) and m.step > 2 for m in client.messages))
    pid, begin = client.pid, time.monotonic()
    client.cancel()
    waitUntil(lambda: not client.state.busy)
    assert 1.9 < time.monotonic() - begin < 3 and client.state is JobState.IDLE and client.failure is None
    waitUntil(lambda: not isAlive(pid), 3)
    client._connection._command = lambda: WorkerCommand(sys.executable, (str(FAKE_WORKER),))
    assert client.finish(tmp_path, steps=2).state is JobState.DONE


def test_ending_by_force_takes_the_workers_children_along(makeClient, tmp_path):
    client = makeClient("--fault", "child", patience=IMPATIENCE)
    client.begin(tmp_path)
    waitUntil(lambda: "child " in client.log)
    child, pid = int(re.search(r"child (\d+)", client.log)[1]), client.pid
    assert isAlive(child)
    client.cancel()
    waitUntil(lambda: not client.state.busy)
    waitUntil(lambda: not isAlive(child) and not isAlive(pid), 5)


def test_a_launcher_in_between_is_ended_with_its_child(tmp_path):
    launcher = tmp_path / "launcher.py"
    launcher.write_text(
        "import subprocess, sys\nsys.exit(subprocess.call([sys.executable, *sys.argv[1:]]))\n", encoding="utf-8"
    )
    command = WorkerCommand(sys.executable, (str(launcher), str(FAKE_WORKER), "--fault", "deaf"))
    client = Recorded(lambda: command, IMPATIENCE)
    client.begin(tmp_path)
    waitUntil(lambda: client.fraction > 0 or any(isinstance(m, Progress) for m in client.messages))
    launcherPid, worker = int(client._connection._process._process.processId()), client.pid
    assert launcherPid != worker and set(treeOf([launcherPid])) >= {launcherPid, worker}
    client.cancel()
    waitUntil(lambda: not client.state.busy)
    waitUntil(lambda: not isAlive(launcherPid) and not isAlive(worker), 5)


def test_cancelling_twice_or_when_nothing_runs_does_nothing(makeClient, tmp_path):
    client = makeClient("--steps", "100")
    client.cancel()
    assert client.state is JobState.IDLE
    client.begin(tmp_path)
    waitUntil(lambda: client.fraction > 0)
    client.cancel()
    client.cancel()
    waitUntil(lambda: not client.state.busy)
    assert len(client.endings) == 1


def test_the_tree_of_this_process_never_ends_itself():
    endTree(os.getpid(), 0, -1)
    assert os.getpid() in treeOf([os.getpid()])


# Importing and the rest


def test_the_importer_has_the_last_word(makeClient, tmp_path):
    client, calls = makeClient("--steps", "1"), []
    client.setImporter(lambda generated, request, finished: calls.append((generated, request, finished)))
    client.begin(tmp_path, seed=7)
    waitUntil(lambda: calls)
    assert client.state is JobState.IMPORTING and calls[0][1].seed == 7
    client.cancel()
    assert client.state is JobState.IMPORTING
    calls[0][2]()
    assert client.state is JobState.DONE
    calls[0][2]()
    assert client.states.count(JobState.DONE) == 1


def test_an_importer_that_fails_leaves_the_files_and_says_where(makeClient, tmp_path):
    client = makeClient("--steps", "1")

    def fail(*_arguments):
        raise RuntimeError("no memory for the volume")

    client.setImporter(fail)
    client.finish(tmp_path)
    assert client.failure.code == IMPORT_FAILED and "no memory" in client.failure.sentence
    assert str(tmp_path) in client.failure.remedy and (tmp_path / "sample-0.nii.gz").exists()


def test_an_observer_that_fails_is_told_and_hinders_no_one(makeClient, tmp_path, noUncaughtExceptions):
    client = makeClient("--steps", "1")
    client.onMessage(lambda m: 1 / 0 if isinstance(m, Progress) else None)
    after = []
    client.onMessage(after.append)
    client.finish(tmp_path)
    assert client.state is JobState.DONE and len(after) == len(client.messages)
    errors = noUncaughtExceptions.take()
    assert errors and all(isinstance(error, ZeroDivisionError) for error in errors)


def test_an_observer_can_be_taken_out(makeClient, tmp_path):
    client, heard = makeClient("--steps", "1"), []
    client.onChanged(heard.append)()
    client.finish(tmp_path)
    assert not heard


def test_shutdown_lets_the_worker_end_by_itself(makeClient, tmp_path):
    client = makeClient("--steps", "1").finish(tmp_path)
    pid = client.pid
    client.shutdown(5)
    assert not isAlive(pid) and not client.warmed


def test_shutdown_in_the_middle_of_a_job_takes_it_down(makeClient, tmp_path):
    client = makeClient("--fault", "deaf")
    client.begin(tmp_path)
    waitUntil(lambda: client.warmed)
    pid = client.pid
    client.shutdown(0.2)
    assert client.state is JobState.IDLE and isinstance(client.endings[0], Cancelled)
    waitUntil(lambda: not isAlive(pid), 5)


def test_a_client_that_waits_does_not_keep_the_watchdog_busy(makeClient, tmp_path):
    client = makeClient("--steps", "1").finish(tmp_path)
    let(0.6)
    assert not client._connection._watchdog.watching
