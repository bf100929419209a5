"""Making the cases of a table: one path with the single run, nothing twice, nothing lost, and what it comes to."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from batch_cases import OPTIONS, check_whole, many, report_of, rows_of, write_masks, write_table
from command_line import RoomFor, vcm, vcm_apart
from faults import state_of, told, untouched
from vcm.core.errors import Code
from vcm.core.volume import Volume
from vcm.judging.mean_interval import mean_with_interval
from vcm.judging.segmentation import PackSegmenter
from vcm.outputs.atomic_files import write_json
from vcm.outputs.claims import WORK
from vcm.packs.store import find_pack, list_packs
from vcm.runs.batches import run as batch_run
from vcm.runs.batches import summary as batch_summary
from vcm.runs.batches.folder import BatchFolder
from vcm.volumes.volume_files import read_volume, write_volume

pytestmark = pytest.mark.usefixtures("with_tiny_packs")


@pytest.fixture
def batch(tmp_path):
    """Run `vcm generate --cases` on a table of these rows."""
    write_masks(tmp_path)

    def batch(*options, rows=None, run=vcm):
        if rows is not None:
            write_table(tmp_path, *rows)
        return run("generate", *OPTIONS, "--cases", tmp_path / "cases.csv", "--out", tmp_path / "out", *options)

    return batch


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def made(monkeypatch):
    """The names of the cases that were sampled, and the packs that were loaded."""
    made = []
    run = batch_run.run_generate

    def noted(job, *arguments):
        result = run(job, *arguments)
        made.append(job.out.name)
        return result

    monkeypatch.setattr(batch_run, "run_generate", noted)
    return made


def events(ended):
    return [json.loads(line) for line in ended.out.splitlines()]


def test_a_case_is_bit_for_bit_what_the_single_command_makes_of_the_same(batch, out, tmp_path):
    rows = [
        {"case": "a", "ventricles": "large.nii.gz", "age": 72, "sex": "F", "seed": 5, "samples": 2,
         "uncontrolled": "yes", "strength": 0.8, "window": "0:0.9"},
        {"case": "b", "ventricles": "small.nii.gz:1", "age.raw": 0.3, "seed": 6},
    ]  # fmt: skip
    ended = batch(rows=rows)
    assert ended.code == 0, ended.err
    single = ("--age=72", "--sex=F", "--seed=5", "--samples=2", "--uncontrolled", "--strength=ventricles=0.8")
    mask = f"--condition=ventricles={tmp_path}/large.nii.gz"
    assert vcm("generate", *OPTIONS, mask, *single, "--window=ventricles=0:0.9", "--out", tmp_path / "a").code == 0
    mask = f"--condition=ventricles={tmp_path}/small.nii.gz:1"
    assert vcm("generate", *OPTIONS, mask, "--attribute=age.raw=0.3", "--seed=6", "--out", tmp_path / "b").code == 0
    for case, files in (("a", ("sample-0", "sample-1", "uncontrolled-0", "uncontrolled-1")), ("b", ("sample-0",))):
        for file in files:
            one, other = (read_volume(home / case / f"{file}.nii.gz").array for home in (out / "cases", tmp_path))
            assert np.array_equal(one, other), (case, file)
        alone = json.loads((tmp_path / case / "report.json").read_text())
        for field in ("request_sha256", "packs", "conditions", "attributes", "samples"):
            assert report_of(out, case)[field] == alone[field], field


def test_no_picture_is_drawn_but_where_it_is_asked_for(batch, out):
    assert batch(rows=many(1)).code == 0 and "montage.png" not in report_of(out, "sub-000")["files"]
    assert batch("--montage", "--force", rows=many(1, seed=1)).code == 0
    assert (out / "cases/sub-000/montage.png").is_file()
    assert vcm("generate", *OPTIONS, "--no-montage", "--out", out / "single").code == 0
    assert not (out / "single/montage.png").exists()


def test_the_models_are_loaded_once_though_the_cases_differ_in_their_conditions(batch, monkeypatch, made):
    loaded = []
    for name in ("load_backbone", "load_control"):
        load = getattr(__import__("vcm.models.loading", fromlist=[name]), name)
        monkeypatch.setattr(
            f"vcm.models.loading.{name}", lambda pack, load=load: loaded.append(pack.name) or load(pack)
        )
    rows = [{"case": c, "ventricles": "large.nii.gz" if c in "bd" else ""} for c in "abcd"]
    assert batch(rows=rows).code == 0
    assert sorted(loaded) == ["tiny", "tiny-both"] and made == ["a", "c", "b", "d"]


def test_what_all_cases_need_is_read_once(batch, monkeypatch, with_tiny_packs):
    calls = []

    def counted(place, name):
        function = getattr(__import__(place, fromlist=[name]), name)
        monkeypatch.setattr(f"{place}.{name}", lambda *a, **k: calls.append(name) or function(*a, **k))

    counted("vcm.packs.store", "read_manifest")
    counted("vcm.runs.run", "read_volume_file")
    counted("vcm.judging.segmentation", "choose_segmenter")
    counted("vcm.sampling.generator", "fix_results")
    for manifest in with_tiny_packs.glob("*/manifest.json"):
        manifest.touch()
    assert batch(rows=many(6)).code == 0
    packs = len([entry for entry in list_packs() if entry.pack and not entry.pack.embedded])
    assert calls.count("read_volume_file") == 2, "two masks for six cases"
    assert calls.count("fix_results") == 1, "one Generator"
    assert packs <= calls.count("read_manifest") <= len(list_packs())


def test_the_packs_segmenter_is_loaded_once(batch, tmp_path, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(Path(__file__).parents[2] / "packs"))
    loaded, load = [], PackSegmenter.from_pack
    monkeypatch.setattr(PackSegmenter, "from_pack", lambda pack, **k: loaded.append(pack.name) or load(pack, **k))
    write_mask_of_micro(tmp_path / "micro.nii.gz")
    rows = [{"case": f"c{n}", "ventricles": "micro.nii.gz"} for n in range(4)]
    assert batch("--pack", "micro", rows=rows).code == 0
    assert loaded == ["micro", "micro"], "once to check the options, once for all cases"
    assert len({row["ventricles.dice"] for row in rows_of(tmp_path / "out" / "results.csv")}) == 4


def write_mask_of_micro(path):
    """Two blobs, off every middle, on the grid of the micro packs."""
    grid = find_pack("micro").backbone.grid
    mask = np.zeros(grid.shape, np.uint8)
    mask[15:19, 26:36, 17:22] = mask[22:25, 26:35, 17:22] = 1
    write_volume(path, Volume(mask, grid))


def test_what_is_finished_is_not_made_again_and_the_table_may_grow(batch, out, made):
    assert batch(rows=many(2)).code == 0
    before = state_of(out / "cases")
    ended = batch("--json", rows=many(3))
    assert ended.code == 0 and made == ["sub-000", "sub-001", "sub-002"]
    assert [e["case"] for e in events(ended) if e["event"] == "case"] == ["sub-002"]
    assert before.items() <= state_of(out / "cases").items()


@pytest.mark.parametrize(
    "change", ["cell", "option", "mask", "label", "lost file", "unfinished", "broken report", "earlier program"]
)
def test_a_case_is_made_again_when_what_is_there_is_not_what_is_asked_for(batch, out, tmp_path, made, change):
    rows, options = many(2), []
    assert batch(rows=rows).code == 0
    made.clear()
    report = out / "cases/sub-001/report.json"
    content = json.loads(report.read_text())
    if change == "cell":
        rows[1]["age"] = 70
    elif change == "option":
        options, rows[0]["steps"] = ["--steps", 2], 1
    elif change == "mask":
        (tmp_path / "small.nii.gz").write_bytes((tmp_path / "large.nii.gz").read_bytes())
    elif change == "label":
        rows[1]["ventricles"] += ":1"
    elif change == "lost file":
        (out / "cases/sub-001/sample-0.nii.gz").unlink()
    elif change == "unfinished":
        write_json(report, content | {"complete": False})
    elif change == "broken report":
        report.write_text(report.read_text()[:-9])
        options = ["--force"]
    else:
        del content["request_sha256"]
        write_json(report, content)
    assert batch(*options, rows=rows).code == 0
    assert made == ["sub-001"]
    check_whole(out, "sub-001")


def test_a_bad_case_is_noted_with_its_sentence_and_the_others_are_made(batch, out, tmp_path):
    rows = many(5)
    rows[1]["ventricles"] = "cut.nii.gz"
    rows[2]["age"] = 300
    rows[3]["seed"] = "x"
    ended = batch(rows=rows)
    told(ended, "3 of 5 cases were refused: sub-003, sub-001, sub-002", str(out / "refused"))
    assert ended.out.startswith("2 cases made, 3 refused")
    refused = {row["case"]: row for row in rows_of(out / "refused.csv")}
    notes = [out / "refused.csv", *(out / "refused").iterdir()]
    assert not [note for note in notes if str(tmp_path) in note.read_text() or tmp_path.name in note.read_text()]
    assert list(refused) == ["sub-001", "sub-002", "sub-003"]
    assert "cut.nii.gz" in refused["sub-001"]["why"] and refused["sub-001"]["code"] == "FILE_UNREADABLE"
    assert "Age must lie between" in refused["sub-002"]["why"] and "line 5" in refused["sub-003"]["why"]
    assert {row["case"] for row in rows_of(out / "results.csv")} == {"sub-000", "sub-004"}
    rows[1]["ventricles"], rows[2]["age"], rows[3]["seed"] = "small.nii.gz", 70, 4
    ended = batch(rows=rows)
    assert ended.code == 0 and ended.out.startswith("5 cases made, 0 refused")
    assert rows_of(out / "refused.csv") == [] and len(rows_of(out / "results.csv")) == 5


def test_a_case_that_was_good_and_is_bad_now_keeps_its_results_and_is_told_as_refused(batch, out):
    rows = many(1)
    assert batch(rows=rows).code == 0
    rows[0]["ventricles"] = "cut.nii.gz"
    with untouched(out / "cases"):
        assert batch(rows=rows).code == 1
    assert [row["case"] for row in rows_of(out / "refused.csv")] == ["sub-000"] and not rows_of(out / "results.csv")


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--sampler", "heun"], 2, "sampler must be"),
        (["--age", 300], 1, "Age must lie"),
        (["--segmenter", "me"], 2, "segmenter must be"),
        (["--device", "tpu"], 2, "device must be"),
        (["--memory", "lots"], 2, "memory plan must be"),
        (["--pack", "none"], 1, "no pack none"),
        (["--condition", "hair=large.nii.gz"], 1, "takes hair"),
        (["--strength", "hair=0.5"], 1, "takes hair"),
        (["--shard", "3/2"], 2, "K-th of N"),
        (["--jobs", 0], 2, "number of jobs"),
    ],
)
def test_what_would_be_wrong_with_every_case_ends_the_batch_and_not_each_case(batch, out, options, code, words):
    ended = batch(*options, rows=many(3))
    told(ended, words, code=code)
    assert not list(out.glob("refused/*")) and "refused sub" not in ended.err


@pytest.mark.parametrize("options", [["--shard", "1/2"], ["--jobs", 2], ["--summary"]])
def test_options_of_a_table_without_one_are_refused(out, options):
    told(vcm("generate", *OPTIONS, *options, "--out", out), options[0], "--cases", code=2)


def test_one_surprise_is_about_a_case_and_two_in_a_row_end_the_batch(batch, monkeypatch, out):
    run, bad = batch_run.run_generate, {"sub-001", "sub-003"}

    def surprising(job, *arguments):
        if job.out.name in bad:
            raise RuntimeError("device-side assert")
        return run(job, *arguments)

    monkeypatch.setattr(batch_run, "run_generate", surprising)
    told_of = batch("--json", rows=many(4))
    assert told_of.code == 1 and [row["case"] for row in rows_of(out / "refused.csv")] == ["sub-001", "sub-003"]
    bad.add("sub-002")
    ended = batch("--json", rows=many(6, seed=1))
    assert ended.code == 70 and "device-side assert" in events(ended)[-1]["error"]["sentence"]
    assert BatchFolder(out).report("sub-005") is None


def test_a_full_disk_ends_the_batch_and_what_was_finished_stays(batch, out, tmp_path):
    assert batch(rows=many(1)).code == 0
    before = state_of(out)
    room = RoomFor((out / "cases/sub-000/sample-0.nii.gz").stat().st_size - 2000)
    ended = batch(rows=many(3), run=lambda *a: vcm_apart(tmp_path, *a, hardship=room))
    told(ended, "cases/sub-001/sample-0.nii.gz", "disk is full")
    assert {path: content for path, content in state_of(out).items() if content is not None} == {
        path: content for path, content in before.items() if content is not None
    }
    assert batch(rows=many(3)).code == 0 and len(rows_of(out / "results.csv")) == 3


def test_shards_make_their_shares_and_the_last_of_them_sums_up(batch, out, made):
    ended = batch("--shard", "2/3", "--json", rows=many(7))
    assert ended.code == 0 and made == ["sub-001", "sub-004"] and not (out / "summary.json").exists()
    told(batch("--summary"), "5 of 7 cases are not made yet: sub-000, sub-002, sub-003, sub-005, sub-006")
    assert len(rows_of(out / "results.csv")) == 2
    assert batch("--shard", "3/3").out == "" and (out / "summary.json").exists()
    assert batch("--shard", "1/3").out.startswith("7 cases made, 0 refused")
    assert sorted(made) == [f"sub-{n:03d}" for n in range(7)]
    assert [row["case"] for row in rows_of(out / "results.csv")] == sorted(made)


def with_dice(folder, case, values):
    """Put Dice values into a case's report, one a sample, as a segmenter would have."""
    path = folder / "cases" / case / "report.json"
    report = json.loads(path.read_text())
    for sample, value in zip(report["samples"], values, strict=True):
        sample["alignment"]["classes"][0]["dice"] = value
    path.write_text(json.dumps(report))


def test_the_summary_counts_a_case_once_however_many_samples_it_has(batch, out):
    rows = many(4, samples=1)
    rows[0]["samples"] = 3
    assert batch(rows=rows).code == 0
    dice = {"sub-000": [0.2, 0.3, 0.4], "sub-001": [0.6], "sub-002": [0.9], "sub-003": [None]}
    for case, values in dice.items():
        with_dice(out, case, values)
    ended = batch("--summary")
    mean, low, high = mean_with_interval([0.3, 0.6, 0.9])
    assert ended.code == 0
    assert ended.out == f"4 cases made, 0 refused; ventricles Dice {mean:.2f} (range {low:.2f}–{high:.2f})\n"
    found = json.loads((out / "summary.json").read_text())
    assert found["cases"] == {"made": 4, "refused": 0, "missing": 0} and found["samples"] == 6
    assert found["measures"]["ventricles.dice"] == {
        "cases": 3, "mean": pytest.approx(mean), "interval_95": None
    }  # fmt: skip
    table = rows_of(out / "results.csv")
    assert [row["ventricles.dice"] for row in table] == ["0.2", "0.3", "0.4", "0.6", "0.9", ""]
    assert [row["file"] for row in table][:2] == [f"cases/sub-000/sample-{n}.nii.gz" for n in range(2)]
    assert all((out / row["file"]).is_file() for row in table)


def test_a_summary_during_which_a_case_is_finished_is_written_again(batch, out, monkeypatch):
    assert batch(rows=many(2)).code == 0
    write_json(out / "refused/sub-001.json", {"code": "CONDITION", "sentence": "bad", "remedy": ""})
    write, rounds = batch_summary.write_json, []

    def meanwhile(*arguments):
        rounds.append(len(rows_of(out / "results.csv")))
        (out / "refused/sub-001.json").unlink(missing_ok=True)
        write(*arguments)

    monkeypatch.setattr(batch_summary, "write_json", meanwhile)
    assert batch("--summary").out.startswith("2 cases made, 0 refused") and rounds == [1, 2]


def test_shards_that_sum_up_at_the_same_time_leave_one_whole_summary(batch, out):
    assert batch(rows=many(3)).code == 0
    files = [out / name for name in ("results.csv", "refused.csv", "summary.json")]
    expected, failures = [file.read_bytes() for file in files], []

    def sum_up():
        try:
            for _ in range(10):
                batch_summary.summarise(BatchFolder(out), [f"sub-{n:03d}" for n in range(3)])
                assert [file.read_bytes() for file in files] == expected
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=sum_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and not [path for path in out.iterdir() if path.name == WORK]


def test_people_are_told_a_line_a_case_and_how_long_it_will_take(batch):
    rows = many(3)
    rows[1]["ventricles"] = "cut.nii.gz"
    ended = batch(rows=rows)
    lines = ended.err.splitlines()
    assert "3 cases, 0 of them finished before" in lines
    assert any(line.startswith("1/3, ") and "s left: sub-000: sample-0.nii.gz" in line for line in lines)
    assert any(line.startswith("refused sub-001: ") for line in lines)
    assert any(line.startswith("3/3: sub-002") for line in lines) and lines.count("loading the model") == 1


def test_machines_are_told_a_line_of_json_for_each_thing_that_happens(batch):
    rows = many(2)
    rows[1]["ventricles"] = "cut.nii.gz"
    ended = batch("--json", rows=rows)
    *_, good, bad, summary, error = events(ended)
    assert ended.err == "" and ended.code == 1
    assert (good["event"], good["case"], good["refused"], good["done"], good["total"]) == (
        "case",
        "sub-000",
        False,
        1,
        2,
    )
    assert bad["refused"] is True and bad["code"] == Code.FILE_UNREADABLE.value and "cut.nii.gz" in bad["sentence"]
    assert summary["event"] == "summary" and summary["cases"] == {"made": 1, "refused": 1, "missing": 0}
    assert error["error"]["sentence"] == "1 of 2 cases were refused: sub-001."
