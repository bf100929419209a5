"""What is the user's stays; what an earlier run left is replaced only by something new."""

from __future__ import annotations

import json

import pytest
from vcm.errors import Code, VcmError
from vcm.runs.results_folder import REPORT, ResultsFolder


def put(folder, *names, **contents):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(f"the old {name}")
    if "report" in contents:
        (folder / REPORT).write_text(
            json.dumps({"synthetic": True, "complete": True, "files": [*contents["report"], REPORT]})
        )


def content(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def refusal(folder, **options):
    before = content(folder) if folder.is_dir() else None
    with pytest.raises(VcmError) as caught:
        ResultsFolder.claim(folder, **options)
    assert before is None or content(folder) == before
    return caught.value


def test_a_claim_makes_and_changes_nothing(tmp_path):
    ResultsFolder.claim(tmp_path / "new" / "deep")
    assert list(tmp_path.iterdir()) == []
    put(tmp_path, "sample-0.nii.gz", "notes.txt", report=["sample-0.nii.gz"])
    before = content(tmp_path)
    ResultsFolder.claim(tmp_path)
    assert content(tmp_path) == before


def test_opening_makes_the_folder_and_leaves_it_empty(tmp_path):
    ResultsFolder.claim(tmp_path / "new" / "deep").open()
    assert list((tmp_path / "new" / "deep").iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "out").write_text("precious")
    error = refusal(tmp_path / "out")
    assert error.code is Code.BAD_REQUEST
    assert str(tmp_path / "out") in error.sentence and "is a file" in error.sentence
    assert (tmp_path / "out").read_text() == "precious"


@pytest.mark.parametrize("place", ["file/below", "file/further/below", "n" * 300])
def test_a_place_where_no_folder_can_be_is_told(tmp_path, place):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(VcmError, match="cannot take the results") as caught:
        ResultsFolder.claim(tmp_path / place).open()
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
    folder = ResultsFolder.claim(tmp_path, force=True)
    folder.make_room()
    folder.replace_earlier()
    assert content(tmp_path) == {}


@pytest.mark.parametrize("name", ["sample-a.nii.gz", "sample-0.nii", "my-sample-0.nii.gz", "report.json.bak", "x.png"])
def test_other_files_are_no_reason_to_refuse_and_are_left_alone(tmp_path, name):
    put(tmp_path, name)
    folder = ResultsFolder.claim(tmp_path, force=True)
    folder.make_room()
    folder.replace_earlier()
    assert content(tmp_path) == {name: f"the old {name}"}


def test_a_file_that_the_report_does_not_name_is_the_users_even_among_results(tmp_path):
    put(tmp_path, "sample-0.nii.gz", "sample-1.nii.gz", report=["sample-0.nii.gz"])
    assert "holds sample-1.nii.gz, which" in refusal(tmp_path).sentence


@pytest.mark.parametrize("report", ["", "[", "[]", "null", '{"files": ["sample-0.nii.gz"]}', "[" * 100_000])
def test_a_report_that_is_none_of_ours_gives_nothing_away(tmp_path, report):
    put(tmp_path, "sample-0.nii.gz")
    (tmp_path / REPORT).write_text(report)
    assert "sample-0.nii.gz" in refusal(tmp_path).sentence


def test_a_folder_with_a_results_name_is_never_removed(tmp_path):
    (tmp_path / "sample-0.nii.gz").mkdir()
    (tmp_path / "sample-0.nii.gz" / "scan").write_text("precious")
    for force in (False, True):
        with pytest.raises(VcmError, match=r"sample-0\.nii\.gz"):
            ResultsFolder.claim(tmp_path, force=force)


def test_an_input_that_would_be_replaced_is_refused_even_by_force_and_by_another_way_to_it(tmp_path):
    put(tmp_path / "out", "sample-0.nii.gz", report=["sample-0.nii.gz"])
    (tmp_path / "link.nii.gz").symlink_to(tmp_path / "out" / "sample-0.nii.gz")
    for given in (tmp_path / "out" / "sample-0.nii.gz", tmp_path / "link.nii.gz"):
        error = refusal(tmp_path / "out", inputs=[given], force=True)
        assert str(given) in error.sentence and "replace it" in error.sentence


def test_an_input_beside_the_results_is_fine(tmp_path):
    put(tmp_path, "sample-0.nii.gz", "mask.nii.gz", report=["sample-0.nii.gz"])
    ResultsFolder.claim(tmp_path, inputs=[tmp_path / "mask.nii.gz", tmp_path / "missing.nii.gz"])


@pytest.mark.parametrize("failure", [VcmError(Code.DISK_FULL, "full"), KeyboardInterrupt(), SystemExit(3)])
def test_a_run_that_fails_before_its_first_sample_leaves_the_earlier_results_as_they_were(tmp_path, failure):
    put(tmp_path, "sample-0.nii.gz", "sample-1.nii.gz", "notes.txt", report=["sample-0.nii.gz", "sample-1.nii.gz"])
    before = content(tmp_path)
    folder = ResultsFolder.claim(tmp_path)
    with pytest.raises(type(failure)), folder.as_it_was_unless_replaced():
        folder.make_room()
        assert not (tmp_path / "sample-1.nii.gz").exists()
        put(tmp_path, "preview-0.nii.gz", report=["preview-0.nii.gz"])
        (tmp_path / "sample-0.nii.gz").write_text("new")
        raise failure
    assert content(tmp_path) == before


def test_a_run_that_never_wrote_leaves_the_earlier_results_as_they_were(tmp_path):
    put(tmp_path, "sample-0.nii.gz", report=["sample-0.nii.gz"])
    before = content(tmp_path)
    with pytest.raises(KeyboardInterrupt), ResultsFolder.claim(tmp_path).as_it_was_unless_replaced():
        raise KeyboardInterrupt
    assert content(tmp_path) == before


def test_a_failure_after_the_first_sample_keeps_what_is_new(tmp_path):
    put(tmp_path, "sample-0.nii.gz", "sample-1.nii.gz", report=["sample-0.nii.gz", "sample-1.nii.gz"])
    folder = ResultsFolder.claim(tmp_path)
    with pytest.raises(KeyboardInterrupt), folder.as_it_was_unless_replaced():
        folder.make_room()
        (tmp_path / "sample-0.nii.gz").write_text("new")
        folder.replace_earlier()
        raise KeyboardInterrupt
    assert content(tmp_path) == {"sample-0.nii.gz": "new"}


def test_a_first_run_that_fails_before_its_first_sample_leaves_no_result(tmp_path):
    put(tmp_path, "notes.txt")
    folder = ResultsFolder.claim(tmp_path)
    with pytest.raises(KeyboardInterrupt), folder.as_it_was_unless_replaced():
        folder.make_room()
        put(tmp_path, "preview-0.nii.gz", report=["preview-0.nii.gz"])
        raise KeyboardInterrupt
    assert sorted(content(tmp_path)) == ["notes.txt"]


def test_the_sample_that_a_killed_run_had_not_entered_yet_is_known_to_be_its_own(tmp_path):
    put(tmp_path, "sample-0.nii.gz", "sample-1.nii.gz", "uncontrolled-1.nii.gz", "segmentation-1.nii.gz")
    report = {
        "synthetic": True,
        "complete": False,
        "samples": [{}],
        "conditions": [],
        "files": ["sample-0.nii.gz", REPORT],
    }
    (tmp_path / REPORT).write_text(json.dumps(report))
    ResultsFolder.claim(tmp_path)
    put(tmp_path, "sample-2.nii.gz")
    assert "holds sample-2.nii.gz, which" in refusal(tmp_path).sentence
    (tmp_path / REPORT).write_text(json.dumps(report | {"complete": True}))
    assert (
        "holds sample-1.nii.gz, sample-2.nii.gz, segmentation-1.nii.gz, uncontrolled-1.nii.gz"
        in refusal(tmp_path).sentence
    )


def test_the_conditions_that_a_killed_run_had_not_entered_yet_are_known_to_be_its_own(tmp_path):
    put(tmp_path, "condition-0.nii.gz", "condition-1.nii.gz")
    report = {"synthetic": True, "complete": False, "samples": [], "conditions": [{}, {}], "files": [REPORT]}
    (tmp_path / REPORT).write_text(json.dumps(report))
    ResultsFolder.claim(tmp_path)
    put(tmp_path, "condition-2.nii.gz")
    assert "holds condition-2.nii.gz, which" in refusal(tmp_path).sentence


def test_what_a_killed_run_left_half_written_goes_with_the_next_results(tmp_path):
    put(tmp_path, ".0a1b2c3d.sample-0.nii.gz", ".0a1b2c3d.holiday.png", ".hidden")
    folder = ResultsFolder.claim(tmp_path)
    folder.make_room()
    folder.replace_earlier()
    assert sorted(content(tmp_path)) == [".0a1b2c3d.holiday.png", ".hidden"]


def test_a_link_in_the_place_of_a_result_is_replaced_and_not_what_it_leads_to(tmp_path):
    (tmp_path / "precious.nii.gz").write_text("precious")
    put(tmp_path / "out", report=["sample-0.nii.gz"])
    (tmp_path / "out" / "sample-0.nii.gz").symlink_to(tmp_path / "precious.nii.gz")
    folder = ResultsFolder.claim(tmp_path / "out")
    folder.make_room()
    folder.replace_earlier()
    assert (tmp_path / "precious.nii.gz").read_text() == "precious"
    assert list((tmp_path / "out").iterdir()) == []
