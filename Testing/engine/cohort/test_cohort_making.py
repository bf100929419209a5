"""Cohorts on disk: several processes, continuing, and what goes wrong meanwhile."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from chores import die, double, linger, refuse, refuse_or_note
from cohort_speed import main
from command_line import Apart, RoomFor, vcm, vcm_apart
from faults import told, without_its_end
from label_map_folder import write_folder
from vcm.cohort.files import read_cases
from vcm.cohort.making.heads import CohortMaker
from vcm.cohort.making.label_maps import LabelMaps
from vcm.cohort.making.making import make_cohort
from vcm.core.errors import Code, VcmError
from vcm.core.processes import in_processes
from vcm.outputs.claims import WORK
from vcm.outputs.record import RECORD


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("labelmaps") / "data")


@pytest.fixture(scope="module")
def maps(folder):
    return LabelMaps.open(folder)


@pytest.fixture(scope="module")
def cohort(maps, tmp_path_factory):
    """Six cases made in one go."""
    out = tmp_path_factory.mktemp("cohort") / "whole"
    list(make_cohort(CohortMaker(maps, 4), 6, out))
    return out


def files(out):
    return {path.relative_to(out): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def arguments(folder, out, count=6, *more):
    usual = ("--grid", "labelmaps", "--lesions", 0)
    return ("cohort", "make", "--labelmaps", folder, "--count", count, "--seed", 4, "--out", out, *usual, *more)


def test_several_processes_make_the_same_files_as_one(folder, cohort, tmp_path):
    ended = vcm(*arguments(folder, tmp_path / "out", 6, "--jobs", 2))
    assert ended.code == 0, ended
    assert files(tmp_path / "out") == files(cohort)


@pytest.mark.parametrize("device", ["cuda", "foo"])
def test_a_device_that_is_not_there_is_told(folder, tmp_path, device, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    ended = vcm(*arguments(folder, tmp_path / "out", 1, "--device", device))
    assert ended.code not in (0, 70) and "device" in ended.err and device in ended.err
    assert not (tmp_path / "out").exists()


def test_a_cohort_that_was_killed_is_continued_to_the_same_files(folder, cohort, tmp_path):
    out = tmp_path / "out"
    killed = Apart(tmp_path, *arguments(folder, out, 500))
    while not (out / "cases/00001").is_dir():
        time.sleep(0.01)
        assert killed.alive
    killed.send(signal.SIGKILL)
    assert killed.wait().code == -signal.SIGKILL
    assert all(entry.is_whole for entry in (read_cases(out) if (out / "cases.csv").is_file() else []))
    half = out / WORK / "half"
    half.mkdir(parents=True, exist_ok=True)
    (half / "0badcafe.nii.gz").write_bytes(b"half")
    assert vcm(*arguments(folder, out)).code == 0
    kept = {path: data for path, data in files(out).items() if path in files(cohort)}
    assert kept == files(cohort)
    assert [path.name for path in out.rglob(".*")] == [RECORD]


def test_a_full_disk_is_told_and_leaves_only_whole_cases(folder, cohort, tmp_path):
    out = tmp_path / "out"
    size = max(path.stat().st_size for path in cohort.rglob("*.nii.gz"))
    ended = vcm_apart(tmp_path, *arguments(folder, out), hardship=RoomFor(size - 1))
    told(ended, "disk", "image.nii.gz")
    assert all(entry.is_whole for entry in (read_cases(out) if (out / "cases.csv").is_file() else []))
    assert [path.name for path in out.rglob(".*")] == [RECORD]
    assert vcm(*arguments(folder, out)).code == 0
    assert files(out) == files(cohort)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_label_map_that_breaks_off_is_named(folder, tmp_path, jobs):
    broken = write_folder(tmp_path / "data")
    without_its_end(broken / "labelmaps/head_02.nii.gz")
    ended = vcm(*arguments(broken, tmp_path / "out", 6, "--jobs", jobs))
    told(ended, "head_02.nii.gz", "damaged or incomplete")


def test_a_listed_case_whose_file_is_gone_is_made_again(maps, cohort, tmp_path):
    list(make_cohort(CohortMaker(maps, 4), 6, tmp_path))
    (tmp_path / "cases/00003/skull.nii.gz").unlink()
    list(make_cohort(CohortMaker(maps, 4), 6, tmp_path))
    assert files(tmp_path) == files(cohort)


def test_a_cohort_of_other_heads_is_not_continued(folder, cohort):
    with pytest.raises(VcmError, match="case 00001 is of head_02, and would be of head_01 now"):
        list(make_cohort(CohortMaker(LabelMaps.open(folder, [1]), 4), 6, cohort))


def test_a_wrong_contrast_is_a_request_that_makes_no_sense(folder, tmp_path):
    told(vcm(*arguments(folder, tmp_path, 1, "--contrasts", "t1,ct")), "'ct'", code=2)


def test_the_speed_is_measured_and_nothing_is_left(folder, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("TMPDIR", os.fspath(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with pytest.raises(SystemExit, match="0"):
        main(["--labelmaps", str(folder), "--count", "4", "--grid", "labelmaps", "--lesions", "0"])
    assert capfd.readouterr().out.count("heads a second") == 2
    assert not list(tmp_path.iterdir())


def test_each_item_is_done_once():
    assert sorted(in_processes(double, range(9), 2)) == [2 * n for n in range(9)]
    assert list(in_processes(double, range(3), 1)) == [0, 2, 4]
    assert list(in_processes(double, [], 2)) == []


def test_an_error_in_a_process_is_told_as_it_was():
    with pytest.raises(VcmError, match="is refused") as caught:
        list(in_processes(refuse, range(5), 2))
    assert caught.value.code is Code.CONDITION and caught.value.remedy == "Give another."
    assert "found" in caught.value.details


def test_a_process_that_is_killed_is_told():
    with pytest.raises(VcmError, match=r"Process . of 2 was ended by signal 9"):
        list(in_processes(die, range(5), 2))


def test_after_an_error_what_is_begun_is_finished_and_no_more_is_begun(tmp_path):
    notes = [tmp_path / name for name in "abc"]
    with pytest.raises(VcmError, match="is refused"):
        list(in_processes(refuse_or_note, [notes[0], None, *notes[1:]], 2))
    assert [note.exists() for note in notes] == [True, False, False]


def test_processes_that_are_interrupted_stop_in_the_middle_of_their_work(tmp_path):
    notes, began = [tmp_path / name for name in "ab"], []

    def interrupt():
        while not all(note.exists() and note.read_text() for note in notes):
            time.sleep(0.05)
        began.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which is ignored in the background
    try:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            list(in_processes(linger, notes, 2))
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began[0] < 30 and not any(is_running(int(note.read_text())) for note in notes)


def test_processes_do_not_outlive_the_one_that_started_them(tmp_path):
    notes = [os.fspath(tmp_path / str(n)) for n in range(2)]
    code = f"import sys; sys.path[:0] = {sys.path!r}\nfrom chores import linger\n"
    code += "from vcm.core.processes import in_processes\nif __name__ == '__main__':\n"
    code += f"    list(in_processes(linger, {notes!r}, 2))\n"
    script = tmp_path / "script.py"
    script.write_text(code)
    parent = subprocess.Popen([sys.executable, script])
    while not all(Path(note).is_file() and Path(note).read_text() for note in notes):
        time.sleep(0.05)
        assert parent.poll() is None
    parent.kill()
    parent.wait()
    children = [int(Path(note).read_text()) for note in notes]
    deadline = time.monotonic() + 20
    while any(is_running(child) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(number):
    try:
        return "Z" not in Path(f"/proc/{number}/stat").read_text().rpartition(")")[2]
    except (FileNotFoundError, ProcessLookupError):
        return False
