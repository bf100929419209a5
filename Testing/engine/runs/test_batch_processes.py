"""Batches in processes that are really started: by torchrun and by --jobs; killed, stopped, out of room."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import psutil
import pytest
from batch_campaign import TORCHRUN, run_campaign
from batch_cases import OPTIONS, check_whole, finish, first_event, many, rows_of, start, write_masks, write_table
from command_line import RoomFor, vcm
from vcm.outputs.claims import entries_of
from worker_client import is_alive

pytestmark = pytest.mark.usefixtures("with_tiny_packs")

LONG = ("--steps", 150)
"""Cases that take long enough to be killed in the middle of one."""


@pytest.fixture
def launch(tmp_path):
    """Start `vcm generate --cases` on a table of these rows; whatever is left of it is ended after the test."""
    write_masks(tmp_path)
    started = []

    def launch(rows, *options, launcher=()):
        table = write_table(tmp_path, *rows)
        started.append(start("--cases", table, "--out", tmp_path / "out", *options, launcher=launcher))
        return started[-1]

    yield launch
    for process in started:
        for each in [process, *descendants(process.pid)]:
            if is_alive(each.pid):
                os.kill(each.pid, signal.SIGKILL)
        process.communicate()


def descendants(pid):
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def workers(process):
    """The processes that make cases: those that have started a command of their own and hold the model."""
    found = [child for child in descendants(process.pid) if "resource_tracker" not in " ".join(child.cmdline())]
    return sorted(found, key=lambda child: child.memory_info().rss)[-2:]


def made_in(events):
    return [event["case"] for event in events if event.get("event") == "case" and not event["refused"]]


def check_complete(out, rows, bad=()):
    good = [row["case"] for row in rows if row["case"] not in bad]
    for case in good:
        check_whole(out, case)
    assert [row["case"] for row in rows_of(out / "results.csv")] == good
    assert [row["case"] for row in rows_of(out / "refused.csv")] == list(bad)
    counts = json.loads((out / "summary.json").read_text())["cases"]
    assert counts == {"made": len(good), "refused": len(bad), "missing": 0}


@pytest.mark.slow
def test_ranks_of_torchrun_make_every_case_once_and_a_killed_one_is_made_good_by_the_next_start(launch, tmp_path):
    rows, out = many(14), tmp_path / "out"
    rows[4]["ventricles"] = "cut.nii.gz"
    first = launch(rows, *LONG, launcher=TORCHRUN)
    events = [first_event(first, "case"), first_event(first, "case")]
    os.kill(workers(first)[0].pid, signal.SIGKILL)
    code, rest, _ = finish(first)
    assert code == 1
    before = made_in([*events, *rest])
    assert 0 < len(before) < 13 and len(set(before)) == len(before)
    second = launch(rows, *LONG, launcher=TORCHRUN)
    code, events, err = finish(second)
    assert code == 1 and "exitcode: 1" in err.replace("  :", ":")
    assert any("sub-004" in e["error"]["sentence"] for e in events if "error" in e)
    after = made_in(events)
    assert len(set(after)) == len(after) and not set(before) & set(after)
    # A case may have been finished by the killed rank without its having been able to say so.
    assert 12 <= len(before) + len(after) <= 13
    shards = {event["shard"] for event in events if event.get("event") == "case"}
    assert shards == {"shard 1 of 2", "shard 2 of 2"}
    check_complete(out, rows, bad=["sub-004"])


@pytest.mark.slow
def test_jobs_make_every_case_once_and_a_killed_one_is_told_and_made_good(launch, tmp_path):
    rows, out = many(9), tmp_path / "out"
    first = launch(rows, "--jobs", 2, *LONG)
    events = [first_event(first, "case")]
    killed, survivor = workers(first)
    os.kill(killed.pid, signal.SIGKILL)
    code, rest, err = finish(first)
    assert code == 70 and err == "" and not is_alive(survivor.pid)
    assert "was ended by signal 9" in rest[-1]["error"]["sentence"]
    before = made_in([*events, *rest])
    assert len(before) >= 4, "the other process goes on to the end of its share"
    code, events, err = finish(launch(rows, "--jobs", 2, *LONG))
    assert (code, err) == (0, "") and events[-1]["event"] == "summary"
    after = made_in(events)
    assert not set(before) & set(after) and 8 <= len(before) + len(after) <= 9
    check_complete(out, rows)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.slow
def test_jobs_that_are_stopped_end_together_and_leave_finished_cases_whole(launch, tmp_path, number):
    rows, out = many(40), tmp_path / "out"
    process = launch(rows, "--jobs", 2, *LONG)
    seen = [first_event(process, "case")["case"] for _ in range(2)]
    children = workers(process)
    if number is signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: every process gets it
    else:
        os.kill(process.pid, number)
    code, events, err = finish(process, 120)
    assert code == 130 and events[-1]["error"]["code"] == "CANCELLED" and "Traceback" not in err
    assert not any(is_alive(child.pid) for child in children)
    for case in [*seen, *made_in(events)]:
        check_whole(out, case)
    # Where a case was begun, either nothing is left of it or all of it is there.
    for home in (out / "cases").iterdir():
        assert not entries_of(home) or check_whole(out, home.name) is None


@pytest.mark.slow
def test_jobs_on_a_full_disk_end_with_the_sentence(launch, tmp_path, monkeypatch):
    size = write_one(tmp_path) - 2000
    monkeypatch.setattr("batch_cases.subprocess.Popen", limited(size))
    code, events, err = finish(launch(many(6), "--jobs", 2))
    assert code == 1 and err == "" and "disk is full" in events[-1]["error"]["sentence"] and made_in(events) == []
    assert not list((tmp_path / "out").glob("refused/*"))
    check_whole(tmp_path / "out", "sub-000")


def write_one(tmp_path):
    """The size of a Sample, by making the first case."""
    table = write_table(tmp_path, *many(1))
    assert vcm("generate", *OPTIONS, "--cases", table, "--out", tmp_path / "out").code == 0
    return (tmp_path / "out/cases/sub-000/sample-0.nii.gz").stat().st_size


def limited(size):
    popen = subprocess.Popen
    return lambda *arguments, **options: popen(*arguments, preexec_fn=RoomFor(size), **options)


@pytest.mark.slow
def test_jobs_whose_parent_is_killed_do_not_go_on_for_long_and_blame_no_case(launch, tmp_path):
    process = launch(many(40), "--jobs", 2, *LONG)
    first_event(process, "case")
    children = workers(process)
    os.kill(process.pid, signal.SIGKILL)
    end = time.monotonic() + 120
    while any(is_alive(child.pid) for child in children) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(is_alive(child.pid) for child in children)
    assert not list((tmp_path / "out").glob("refused/*"))


@pytest.mark.slow
def test_array_shards_then_torchrun_make_every_case_once_though_a_process_of_each_is_killed(tmp_path):
    assert run_campaign(tmp_path, 24).kills == 2
