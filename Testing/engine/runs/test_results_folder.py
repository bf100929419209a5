"""What is the user's stays; what an earlier run left is replaced only by something new."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys

import pytest
from vcm.core.errors import Code, VcmError
from vcm.outputs.atomic_files import write_json, write_text
from vcm.outputs.claims import WORK
from vcm.outputs.record import RECORD
from vcm.runs.results_folder import REPORT, ResultsFolder


def put(folder, *names):
    """Files of the user's own."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(f"the old {name}")


def make(folder, *names, samples=1, text="old"):
    """Results, as a run writes them."""
    for name in names:
        write_text(folder / name, f"the {text} {name}")
    write_json(folder / REPORT, {"synthetic": True, "files": [*names, REPORT], "samples": [{}] * samples, "of": text})


def content(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file() and path.name != RECORD}


def refusal(folder, **options):
    before = content(folder) if folder.is_dir() else None
    with pytest.raises(VcmError) as caught:
        ResultsFolder.claim(folder, **options)
    assert before is None or content(folder) == before
    return caught.value


def test_a_claim_makes_and_changes_nothing(tmp_path):
    ResultsFolder.claim(tmp_path / "new" / "deep")
    assert list(tmp_path.iterdir()) == []
    put(tmp_path, "notes.txt")
    make(tmp_path, "sample-0.nii.gz")
    before = content(tmp_path)
    ResultsFolder.claim(tmp_path)
    assert content(tmp_path) == before


def test_opening_makes_the_folder_which_goes_again_if_nothing_was_written(tmp_path):
    with ResultsFolder.claim(tmp_path / "new" / "deep"):
        assert (tmp_path / "new" / "deep").is_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "out").write_text("precious")
    error = refusal(tmp_path / "out")
    assert error.code is Code.BAD_REQUEST
    assert str(tmp_path / "out") in error.sentence and "is a file" in error.sentence
    assert (tmp_path / "out").read_text() == "precious"


@pytest.mark.parametrize("place", ["file/below", "file/further/below", "n" * 300])
def test_a_place_where_no_folder_can_be_is_told(tmp_path, place):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(VcmError, match="cannot take the results") as caught, ResultsFolder.claim(tmp_path / place):
        pass
    assert caught.value.code is Code.NO_PERMISSION and str(tmp_path) in caught.value.sentence


@pytest.mark.parametrize(
    "name",
    [
        "sample-0.nii.gz",
        "uncontrolled-12.nii.gz",
        "preview-0.nii.gz",
        "segmentation-3.nii.gz",
        "condition-1.nii.gz",
        "montage.png",
        REPORT,
    ],
)
def test_a_file_of_the_users_own_with_a_results_name_is_refused_and_with_force_replaced(tmp_path, name):
    put(tmp_path, name)
    error = refusal(tmp_path)
    assert name in error.sentence and "--force" in error.remedy
    replace_all(ResultsFolder.claim(tmp_path, force=True))
    assert content(tmp_path) == {}


def replace_all(folder):
    with folder:
        folder.make_room()
        folder.replace_earlier()


@pytest.mark.parametrize("name", ["sample-a.nii.gz", "sample-0.nii", "my-sample-0.nii.gz", "report.json.bak", "x.png"])
def test_other_files_are_no_reason_to_refuse_and_are_left_alone(tmp_path, name):
    put(tmp_path, name)
    replace_all(ResultsFolder.claim(tmp_path, force=True))
    assert content(tmp_path) == {name: f"the old {name}"}


def test_a_file_that_was_not_written_here_is_the_users_even_among_results_that_name_it(tmp_path):
    make(tmp_path, "sample-0.nii.gz")
    put(tmp_path, "sample-1.nii.gz")
    write_json(tmp_path / REPORT, {"synthetic": True, "files": ["sample-0.nii.gz", "sample-1.nii.gz", REPORT]})
    assert "sample-1.nii.gz, and it was not written" in refusal(tmp_path).sentence


def test_a_result_that_was_changed_since_is_the_users(tmp_path):
    make(tmp_path, "sample-0.nii.gz", "montage.png")
    (tmp_path / "sample-0.nii.gz").write_text("painted over")
    assert "sample-0.nii.gz" in refusal(tmp_path).sentence
    (tmp_path / "sample-0.nii.gz").write_text("the old sample-0.nii.gz")
    ResultsFolder.claim(tmp_path)


def test_results_that_were_copied_elsewhere_are_the_users_there(tmp_path):
    make(tmp_path / "out", "sample-0.nii.gz")
    shutil.copytree(tmp_path / "out", tmp_path / "copy", ignore=shutil.ignore_patterns(RECORD))
    assert "report.json, sample-0.nii.gz" in refusal(tmp_path / "copy").sentence


@pytest.mark.parametrize("damage", [b"", b"[", b"[]", b"null\n{}", b'{"file": "sample-0.nii.gz"}', b"[" * 100_000])
def test_a_record_that_is_damaged_gives_nothing_away(tmp_path, damage):
    put(tmp_path, "sample-0.nii.gz")
    (tmp_path / RECORD).write_bytes(damage)
    assert "sample-0.nii.gz" in refusal(tmp_path).sentence
    make(tmp_path, "montage.png")
    assert "sample-0.nii.gz" in refusal(tmp_path).sentence


def test_a_folder_with_a_results_name_is_never_removed(tmp_path):
    (tmp_path / "sample-0.nii.gz").mkdir()
    (tmp_path / "sample-0.nii.gz" / "scan").write_text("precious")
    for force in (False, True):
        with pytest.raises(VcmError, match=r"sample-0\.nii\.gz"):
            ResultsFolder.claim(tmp_path, force=force)


@pytest.mark.parametrize("how", ["itself", "symbolic link", "hard link"])
def test_an_input_that_would_be_replaced_is_refused_even_by_force_and_by_another_way_to_it(tmp_path, how):
    make(tmp_path / "out", "sample-0.nii.gz")
    given = tmp_path / "out" / "sample-0.nii.gz"
    if how != "itself":
        given = tmp_path / "link.nii.gz"
        (given.symlink_to if how == "symbolic link" else given.hardlink_to)(tmp_path / "out" / "sample-0.nii.gz")
    error = refusal(tmp_path / "out", inputs=[given], force=True)
    assert str(given) in error.sentence and "replace it" in error.sentence


def test_an_input_beside_the_results_is_fine(tmp_path):
    make(tmp_path, "sample-0.nii.gz")
    put(tmp_path, "mask.nii.gz")
    ResultsFolder.claim(tmp_path, inputs=[tmp_path / "mask.nii.gz", tmp_path / "missing.nii.gz"])


@pytest.mark.parametrize("failure", [VcmError(Code.DISK_FULL, "full"), KeyboardInterrupt(), SystemExit(3)])
def test_a_run_that_fails_before_its_first_sample_leaves_the_earlier_results_as_they_were(tmp_path, failure):
    put(tmp_path, "notes.txt")
    make(tmp_path, "sample-0.nii.gz", "sample-1.nii.gz")
    before, record = content(tmp_path), (tmp_path / RECORD).read_text()
    folder = ResultsFolder.claim(tmp_path)
    with pytest.raises(type(failure)), folder, folder.as_it_was_unless_replaced():
        folder.make_room()
        assert not (tmp_path / "sample-1.nii.gz").exists()
        make(tmp_path, "preview-0.nii.gz", "sample-0.nii.gz", samples=0, text="new")
        raise failure
    assert content(tmp_path) == before
    assert sorted((tmp_path / RECORD).read_text().split("\n")) == sorted(record.split("\n"))


def test_a_run_that_never_wrote_leaves_the_earlier_results_as_they_were(tmp_path):
    make(tmp_path, "sample-0.nii.gz")
    before = content(tmp_path)
    folder = ResultsFolder.claim(tmp_path)
    with pytest.raises(KeyboardInterrupt), folder, folder.as_it_was_unless_replaced():
        raise KeyboardInterrupt
    assert content(tmp_path) == before


def test_a_failure_after_the_first_sample_keeps_what_is_new(tmp_path):
    make(tmp_path, "sample-0.nii.gz", "sample-1.nii.gz")
    folder = ResultsFolder.claim(tmp_path)
    with pytest.raises(KeyboardInterrupt), folder, folder.as_it_was_unless_replaced():
        folder.make_room()
        write_text(tmp_path / "sample-0.nii.gz", "new")
        folder.replace_earlier()
        raise KeyboardInterrupt
    assert content(tmp_path) == {"sample-0.nii.gz": "new"}


def test_a_first_run_that_fails_before_its_first_sample_leaves_no_result(tmp_path):
    put(tmp_path, "notes.txt")
    folder = ResultsFolder.claim(tmp_path)
    with pytest.raises(KeyboardInterrupt), folder, folder.as_it_was_unless_replaced():
        folder.make_room()
        make(tmp_path, "preview-0.nii.gz", samples=0)
        raise KeyboardInterrupt
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt"]


def test_a_link_in_the_place_of_a_result_is_the_users_and_what_it_leads_to_is_never_touched(tmp_path):
    (tmp_path / "precious.nii.gz").write_text("precious")
    make(tmp_path / "out")
    (tmp_path / "out" / "sample-0.nii.gz").symlink_to(tmp_path / "precious.nii.gz")
    assert "sample-0.nii.gz" in refusal(tmp_path / "out").sentence
    replace_all(ResultsFolder.claim(tmp_path / "out", force=True))
    assert (tmp_path / "precious.nii.gz").read_text() == "precious"
    assert content(tmp_path / "out") == {}


def killed_at(number, work):
    """Do `work` in a process of its own that ends without a word at its `number`-th change of the disk."""
    child = os.fork()
    if child == 0:
        count = 0

        def watched(event, arguments):
            nonlocal count
            changes = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")
            if changes or (event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")):
                count += 1
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watched)
        code = 0
        try:
            work()
        except BaseException:
            code = 1
        os._exit(code)
    return os.waitpid(child, 0)[1]


@pytest.mark.parametrize("samples", [0, 1])
def test_killed_at_any_change_of_the_disk_a_folder_holds_the_one_run_or_the_other_after_the_next(tmp_path, samples):
    def run():
        folder = ResultsFolder.claim(out)
        with folder, folder.as_it_was_unless_replaced():
            folder.make_room()
            make(out, samples=0, text="new")
            make(out, "sample-0.nii.gz", samples=samples, text="new")
            if samples:
                folder.replace_earlier()
            else:
                raise KeyboardInterrupt

    seen = set()
    for number in range(1, 100):
        out = tmp_path / str(number)
        make(out, "sample-0.nii.gz", "sample-1.nii.gz")
        before = content(out)
        status = killed_at(number, run)
        report = json.loads((out / REPORT).read_text()) if (out / REPORT).exists() else None
        if report and report["samples"]:
            assert {(out / name).read_text().split()[1] for name in report["files"] if name != REPORT} == {report["of"]}
        with ResultsFolder.claim(out):
            pass
        assert not (out / WORK).exists()
        found = content(out)
        seen.add("old" if found == before else "new")
        if found != before:
            assert samples and sorted(found) == [REPORT, "sample-0.nii.gz"]
            assert {text.split()[1] for name, text in found.items() if name != REPORT} == {"new"}
        if not os.WIFSIGNALED(status):
            break
    assert number > 10 and seen == ({"old", "new"} if samples else {"old"})
