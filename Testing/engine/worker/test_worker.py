"""The worker as a process: what it answers and what it survives."""

import json
import subprocess
import sys

import pytest
from vcm import protocol
from vcm.core.errors import Code
from vcm.protocol.lines import MAX_LINE_BYTES
from vcm.worker.jobs import MAX_WAITING
from worker_client import SCRIPTED_WORKER

LONG = 5000


def test_a_worker_says_hello_before_it_loads_and_ready_after(start_worker):
    client = start_worker()
    hello, ready = client.next(), client.next()
    assert isinstance(hello, protocol.Hello) and hello.pid == client.process.pid
    assert ready == protocol.Ready("the processor, 3 cores")


def test_a_request_sent_before_ready_is_worked_on_after_it(start_worker):
    client = start_worker()
    client.send(protocol.ListPacks("early"))
    kinds = [type(item) for item in client.until(protocol.Packs, "early")[1]]
    assert kinds.index(protocol.Accepted) < kinds.index(protocol.Ready)


@pytest.mark.parametrize(
    ("request_", "ending"),
    [
        (protocol.Generate("a", "/out"), protocol.Generated),
        (protocol.Examine("a", ()), protocol.Examined),
        (protocol.Segment("a", "t1.nii", "/out/labels.nii"), protocol.Segmented),
        (protocol.Register("a", "t1.nii", "/out"), protocol.Registered),
        (protocol.ListPacks("a"), protocol.Packs),
        (protocol.Preflight("a"), protocol.Machine),
        (protocol.Warm("a"), protocol.Warmed),
    ],
    ids=lambda value: getattr(value, "type", ""),
)
def test_every_request_is_accepted_and_has_its_own_ending(worker, request_, ending):
    worker.send(request_)
    assert worker.next() == protocol.Accepted("a", 0)
    assert worker.get(ending).id == "a"


def test_findings_and_progress_arrive_in_order_before_the_ending(worker):
    worker.send(protocol.Generate("a", "/out", steps=3, seed=11))
    ending, before = worker.until(protocol.Generated)
    assert [type(item) for item in before] == [
        protocol.Accepted,
        protocol.Found,
        protocol.Progress,
        protocol.Progress,
        protocol.Progress,
    ]
    assert [(item.step, item.total) for item in before[2:]] == [(1, 3), (2, 3), (3, 3)]
    assert ending.samples[0].seed == 11


def test_two_requests_run_one_after_the_other_in_their_order(worker):
    worker.send(
        protocol.encode(protocol.Generate("first", "/a", steps=20))
        + protocol.encode(protocol.Generate("second", "/b", steps=2))
    )
    _, before = worker.until(protocol.Generated, "second")
    ids = [item.id for item in before if isinstance(item, (protocol.Progress, protocol.Generated))]
    assert ids == ["first"] * 21 + ["second"] * 2
    assert [item.ahead for item in before if isinstance(item, protocol.Accepted)] == [0, 1]


def test_paths_of_any_script_come_through(worker):
    path = "C:\\Users\\Lékař\\脳🧠\\mask ”1“.nii.gz\n"
    worker.send(
        json.dumps(json.loads(protocol.encode(protocol.Generate("größe", path))), ensure_ascii=False).encode() + b"\n"
    )
    assert worker.get(protocol.Generated, "größe").out == path


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
        (protocol.encode(protocol.Ready("me")), "takes none"),
        (b"x" * (MAX_LINE_BYTES + 10) + b"\n", "longer than"),
        (b"[" * 100_000 + b"\n", "not JSON"),
    ],
    ids=["words", "cut", "binary", "type", "version", "field", "no id", "wrong way", "huge", "nested"],
)
def test_a_bad_request_is_answered_and_the_next_good_one_is_served(worker, line, said):
    worker.send(line)
    failed = worker.next()
    assert isinstance(failed, protocol.Failed) and failed.code is Code.BAD_REQUEST
    assert said in failed.sentence
    assert failed.id == ("x" if b'"id":"x"}' in line or b'"out":3' in line else "")
    worker.send(protocol.ListPacks("good"))
    assert worker.get(protocol.Packs).id == "good"


def test_a_bad_request_does_not_end_the_good_one_whose_id_it_uses(worker):
    worker.begin(protocol.Generate("a", "/out", steps=30))
    worker.send(b'{"type":"generate","version":1,"id":"a","out":3}\n' + protocol.encode(protocol.ListPacks("a")))
    ending, before = worker.until(protocol.Generated)
    refusals = [item for item in before if isinstance(item, protocol.Failed)]
    assert [item.id for item in refusals] == ["", ""]
    assert "'a' has not ended yet" in refusals[1].sentence
    assert ending.id == "a"


def test_previews_without_a_folder_for_them_are_refused_before_they_wait(worker):
    worker.begin(protocol.Generate("running", "/out", steps=30))
    worker.send(protocol.Generate("a", "/out", preview_every=2))
    refused, before = worker.until(protocol.Failed)
    assert (refused.id, refused.code) == ("a", Code.BAD_REQUEST) and "no folder for them" in refused.sentence
    assert not [item for item in before if isinstance(item, (protocol.Generated, protocol.Accepted))]


HOSTILE_LINES = [
    rb'{"type":"generate","version":1,"id":"\u0000","out":"/out"}',
    rb'{"type":"generate","version":1,"id":"\ud800","out":"/out"}',
    rb'{"type":"cancel","version":1,"id":"\udfff"}',
    rb'{"type":"\ud800","version":1,"id":"\u0000"}',
    rb'{"type":"list-packs","version":"\ud800","id":"\u0000"}',
    rb'{"type":"list-packs","version":1,"id":"x","\ud800":"\u0000"}',
    b'{"type":"list-packs","version":1,"id":' + b"9" * 5000 + b"}",
    b'{"type":"list-packs","version":' + b"9" * 4000 + b',"id":"x"}',
    b'{"type":"list-packs","version":1,"id":1e999}',
    b'{"type":"list-packs","version":' + b"[" * 900 + b"]" * 900 + b',"id":"x"}',
    b'{"a":' * 50_000,
    b'{"type":"list-packs","version":1,"id":"\xff\xfe"}',
    b"\xed\xa0\x80",
    b'"' + b"y" * (MAX_LINE_BYTES + 10),
]


@pytest.mark.parametrize("line", HOSTILE_LINES, ids=range(len(HOSTILE_LINES)))
def test_no_line_costs_the_running_request_or_the_worker(worker, line):
    worker.begin(protocol.Generate("a", "/out", steps=30))
    worker.send(line + b"\n" + protocol.encode(protocol.ListPacks("after")))
    _, before = worker.until(protocol.Generated, "a")
    assert worker.get(protocol.Packs, "after")
    refusals = [item for item in before if isinstance(item, protocol.Failed)]
    assert [refusal.code for refusal in refusals] == [Code.BAD_REQUEST]
    assert all(refusal.id in ("", "x") and refusal.sentence.isprintable() for refusal in refusals)
    assert not [item for item in before if isinstance(item, protocol.Garbage)]


def test_what_a_worker_says_holds_no_commands_for_a_terminal_and_its_paths_are_exact():
    evil = "a\x1b[2J\n\u202eb"
    failed = protocol.decode(protocol.encode_answer(protocol.Failed(evil, Code.GEOMETRY, evil, evil, {"file": evil})))
    assert (failed.id, failed.details) == (evil, {"file": evil})
    assert failed.sentence == failed.remedy == "a\\x1b[2J\\n\\u202eb"
    entry = protocol.PackEntry(evil, "ready", evil, title=evil, folder=evil, manifest={"title": evil, "n": 3})
    packs = protocol.decode(protocol.encode_answer(protocol.Packs("a", evil, (entry,))))
    assert packs.packs[0].title == packs.packs[0].manifest["title"] == "a\\x1b[2J\\n\\u202eb"
    assert packs.packs[0].manifest["n"] == 3 and packs.folder == packs.packs[0].folder == evil


def test_a_folder_whose_name_is_no_unicode_spoils_no_answer():
    packs = protocol.Packs("a", "/b\udcff", (protocol.PackEntry("x\udcff", "broken", "no", folder="/b\udcff/x\0"),))
    assert protocol.decode(protocol.encode_answer(packs)).packs[0].folder == "/b\\udcff/x\\x00"


def test_an_id_can_be_used_again_once_its_request_has_ended(worker):
    for _ in range(20):
        worker.send(protocol.ListPacks("a"))
        assert [type(worker.next()), type(worker.next())] == [protocol.Accepted, protocol.Packs]


def test_more_requests_than_can_wait_are_refused(worker):
    worker.begin(protocol.Generate("running", "/out", steps=LONG))
    worker.get(protocol.Progress)  # until it runs, it waits too
    for number in range(MAX_WAITING + 1):
        worker.send(protocol.ListPacks(f"{number}"))
    refused = worker.get(protocol.Failed)
    assert refused.id == f"{MAX_WAITING}" and "requests are waiting already" in refused.sentence
    worker.send(protocol.Cancel("running"))
    assert worker.get(protocol.Packs, f"{MAX_WAITING - 1}")


def test_nothing_that_prints_reaches_the_client(worker):
    worker.send(protocol.Generate("a", "/out", pack="print_everywhere"))
    worker.get(protocol.Generated)
    worker.send(protocol.Shutdown())
    assert not [item for item in worker.rest() if isinstance(item, protocol.Garbage)]
    assert all(line.startswith(b'{"type":"') for line in bytes(worker.raw).splitlines())
    printed = worker.stderr()
    for source in ("from Python", "from a C library", "from libc's buffer", "from a child process"):
        assert source in printed


def test_nothing_that_reads_takes_a_request_away(worker):
    worker.send(
        protocol.encode(protocol.Generate("a", "/out", pack="read_stdin")) + protocol.encode(protocol.ListPacks("b"))
    )
    assert worker.get(protocol.Generated).id == "a"
    assert worker.get(protocol.Packs).id == "b"


def test_cancel_ends_a_running_request_halfway_and_the_worker_lives_on(worker):
    worker.begin(protocol.Generate("a", "/out", steps=LONG))
    while worker.get(protocol.Progress).step < 3:
        pass
    worker.send(protocol.Cancel("a"))
    _, before = worker.until(protocol.Cancelled, "a")
    assert max((item.step for item in before if isinstance(item, protocol.Progress)), default=0) < LONG
    worker.send(protocol.Generate("b", "/out"))
    assert worker.get(protocol.Generated).id == "b"


def test_cancel_takes_a_waiting_request_out_at_once(worker):
    worker.begin(protocol.Generate("running", "/out", steps=60))
    worker.begin(protocol.Generate("waiting", "/out"))
    worker.send(protocol.Cancel("waiting"))
    _, before = worker.until(protocol.Generated, "running")
    assert protocol.Cancelled("waiting") in before
    worker.send(protocol.Shutdown())
    assert not [item for item in worker.rest() if getattr(item, "id", "") == "waiting"]


def test_cancelling_what_has_ended_or_never_was_is_passed_over_in_silence(worker):
    worker.send(protocol.encode(protocol.ListPacks("a")) + protocol.encode(protocol.Cancel("never")))
    worker.get(protocol.Packs)
    worker.send(protocol.encode(protocol.Cancel("a")) + protocol.encode(protocol.ListPacks("b")))
    assert [type(worker.next()), type(worker.next())] == [protocol.Accepted, protocol.Packs]


def test_an_error_in_words_arrives_as_it_was_raised(worker):
    worker.send(protocol.Generate("a", "/out", pack="fail_in_words"))
    failed = worker.get(protocol.Failed)
    assert (failed.code, failed.sentence) == (Code.GEOMETRY, "The mask größe.nii lies 80 mm away.")
    assert failed.details == {"lost": 12, "path": "/a/b"}


@pytest.mark.parametrize("shortage", ["run_out_of_memory", "run_out_of_gpu_memory"])
def test_running_out_of_memory_is_told_and_lets_go_of_what_is_warm(worker, shortage):
    worker.send(
        protocol.encode(protocol.Generate("a", "/out", pack=shortage)) + protocol.encode(protocol.ListPacks("b"))
    )
    failed = worker.get(protocol.Failed)
    assert failed.code is Code.OUT_OF_MEMORY and failed.remedy
    assert worker.get(protocol.Packs).folder == "released 1 times"


@pytest.mark.parametrize(
    ("deed", "named"),
    [("divide_by_zero", "ZeroDivisionError"), ("exit_python", "SystemExit"), ("not_a_number", "seed")],
)
def test_an_unforeseen_failure_is_told_without_a_traceback_and_survived(worker, deed, named):
    worker.send(protocol.Generate("a", "/out", pack=deed))
    failed = worker.get(protocol.Failed)
    assert failed.id == "a" and failed.code is Code.INTERNAL
    assert named in failed.sentence and failed.remedy
    assert "Traceback" not in json.dumps(failed.details) and failed.details["where"]
    worker.send(protocol.ListPacks("b"))
    assert worker.get(protocol.Packs)
    worker.send(protocol.Shutdown())
    assert "Traceback" not in worker.stderr()


def test_debug_adds_the_traceback(start_worker):
    client = start_worker("--debug")
    client.send(protocol.Generate("a", "/out", pack="divide_by_zero"))
    assert "ZeroDivisionError" in client.get(protocol.Failed).details["traceback"]


def test_an_engine_that_does_not_load_ends_every_request_and_the_worker(start_worker):
    client = start_worker("--broken-engine")
    client.send(protocol.encode(protocol.ListPacks("a")))
    items = client.rest()
    failures = [item for item in items if isinstance(item, protocol.Failed)]
    assert failures[0].id == "" and "No module named 'torch'" in failures[0].sentence
    assert {item.id for item in items if isinstance(item, protocol.Accepted)} <= {item.id for item in failures}
    assert client.exit_code() == 1


def test_a_worker_started_without_stderr_still_speaks(start_worker):
    client = start_worker(command=("sh", "-c", f'exec "{sys.executable}" "{SCRIPTED_WORKER}" 2>&-'))
    client.send(protocol.Generate("a", "/out", pack="print_everywhere"))
    assert client.get(protocol.Generated)
    assert not any(b"from" in line for line in bytes(client.raw).splitlines())


def test_saying_hello_needs_no_heavy_package():
    code = "import sys, vcm.worker.process; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not {"numpy", "torch", "monai", "SimpleITK"} & set(loaded.stdout.split())


def test_the_fields_of_a_request_reach_the_engine_whole(worker):
    worker.send(
        protocol.Examine(
            "a", (protocol.ConditionInput("ventricles", "/data/脳.nii", 4, 0.5), protocol.ConditionInput("skull", "s"))
        )
    )
    prepared = worker.get(protocol.Examined).prepared
    assert [(entry.name, entry.path) for entry in prepared] == [("ventricles", "/data/脳.nii"), ("skull", "s")]


def test_an_error_about_a_file_whose_name_is_no_unicode_is_still_told(worker):
    worker.send(protocol.Generate("a", "/out", pack="name_a_strange_file"))
    failed = worker.get(protocol.Failed)
    assert failed.code is Code.FILE_UNREADABLE and failed.sentence == "There is no \\udcff.nii here\\x00."
