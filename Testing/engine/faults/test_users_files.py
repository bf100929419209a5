"""What every command and request that writes does to files of the user's: nothing, whatever their names."""

from __future__ import annotations

import csv
import json
import os
import shutil

import numpy as np
import pytest
import tiny
from command_line import Apart, vcm, vcm_apart
from faults import MASK, RUN, image_file, names, state_of, told, untouched
from vcm.core.errors import VcmError
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.outputs.claims import WORK
from vcm.outputs.record import RECORD
from vcm.packs.store import find_pack
from vcm.protocol import ConditionInput, Examine, Generate, Segment
from vcm.volumes.volume_files import read_volume, write_volume
from vcm.worker.contract import Call
from vcm.worker.engine import LocalEngine

pytestmark = pytest.mark.usefixtures("with_tiny_packs")


@pytest.fixture
def mask(tmp_path):
    """A mask that is named as its condition is."""
    image_file(tmp_path / "ventricles.nii.gz", MASK)
    (tmp_path / RECORD).unlink()
    return tmp_path / "ventricles.nii.gz"


@pytest.fixture
def engine():
    engine = LocalEngine()
    engine.start()
    return engine


def call():
    return Call("r", lambda message: None, lambda: False)


def refused(work, *words):
    with pytest.raises(VcmError) as caught:
        work()
    for word in words:
        assert str(word) in caught.value.sentence
    return caught.value


@pytest.mark.parametrize("way", ["itself", "another file", "symbolic link", "hard link"])
def test_a_segmentation_never_replaces_the_scan_or_any_other_file(engine, tmp_path, way):
    scan, out = tmp_path / "scan.nii.gz", tmp_path / "scan.nii.gz"
    image_file(scan, np.where(MASK, 0.2, 0.7).astype(np.float32))
    if way != "itself":
        out = tmp_path / "other.nii.gz"
        {"another file": lambda: shutil.copy(scan, out), "symbolic link": lambda: out.symlink_to(scan)}.get(
            way, lambda: out.hardlink_to(scan)
        )()
    with untouched(tmp_path):
        refused(lambda: engine.segment(Segment("r", str(scan), str(out), None), call()), out)


def test_what_the_model_sees_never_replaces_a_mask_of_that_name(engine, mask, tmp_path):
    inputs = (ConditionInput("ventricles", str(mask)),)
    request = Examine("r", inputs, "tiny", prepared_dir=str(tmp_path))
    with untouched(tmp_path):
        refused(lambda: engine.examine(request, call()), mask, "input")
    shutil.move(mask, tmp_path / "painted.nii.gz")
    (tmp_path / "ventricles.nii.gz").write_text("precious")
    request = Examine(
        "r", (ConditionInput("ventricles", str(tmp_path / "painted.nii.gz")),), "tiny", None, str(tmp_path)
    )
    with untouched(tmp_path):
        refused(lambda: engine.examine(request, call()), "ventricles.nii.gz")
    (tmp_path / "ventricles.nii.gz").unlink()
    for _ in range(2):  # its own it may replace
        assert engine.examine(request, call()).prepared[0].path == str(tmp_path / "ventricles.nii.gz")


def test_previews_never_replace_a_file_of_that_name(engine, mask, tmp_path):
    (tmp_path / "previews").mkdir()
    (tmp_path / "previews" / "preview-0-1.nii").write_text("precious")
    request = Generate(
        "r", str(tmp_path / "out"), (ConditionInput("ventricles", str(mask)),), pack="tiny", seed=1, steps=2,
        preview_every=1, preview_dir=str(tmp_path / "previews"),
    )  # fmt: skip
    with untouched(tmp_path):
        refused(lambda: engine.generate(request, call()), "preview-0-1.nii")


@pytest.mark.parametrize("name", ["results.csv", "refused.csv", "summary.json"])
def test_tables_of_a_batch_never_replace_the_users(tmp_path, name):
    (tmp_path / "cases.csv").write_text("case,age\na,60\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("precious")
    command = ("generate", "--pack", "tiny", "--steps", 1, "--cases", tmp_path / "cases.csv", "--out", tmp_path / "out")
    with untouched(tmp_path):
        told(vcm(*command), f"{tmp_path}/out/{name}", "--force", code=2)
    assert vcm(*command, "--force").code == 0 and (tmp_path / "out" / name).read_text() != "precious"


@pytest.mark.parametrize("options", [(), ("--force",)])
def test_the_table_of_a_batch_is_never_replaced_not_even_by_force(tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results.csv").write_text("case,age\na,60\n")
    with untouched(tmp_path):
        ended = vcm("generate", "--pack", "tiny", "--steps", 1, "--cases", "results.csv", "--out", ".", *options)
        told(ended, "results.csv", code=2)


def test_a_table_of_scans_is_never_replaced_by_the_table_of_what_was_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "refused.csv").write_text("image,segmentation\na.nii.gz,b.nii.gz\n")
    with untouched(tmp_path):
        told(vcm("cohort", "from-folder", "refused.csv", "--out", "."), "refused.csv", code=2)


def test_a_comparison_never_replaces_a_picture(tmp_path):
    row = {"structure": "brain", "measure": "dice", "controlled": {"mean": 0.8, "low": 0.7, "high": 0.9, "n": 3}}
    (tmp_path / "ten").mkdir()
    (tmp_path / "ten" / "summary.json").write_text(json.dumps({"rows": [row]}))
    (tmp_path / "thesis.png").write_text("precious")
    with untouched(tmp_path):
        told(vcm("evaluate", "compare", f"a={tmp_path}/ten", "--out", tmp_path / "thesis.png"), "thesis.png", code=2)
    for _ in range(2):
        assert vcm("evaluate", "compare", f"a={tmp_path}/ten", "--out", tmp_path / "new.png").code == 0


def test_a_sample_given_as_a_condition_is_not_replaced_by_the_next_run(tmp_path):
    out = tmp_path / "out"
    assert vcm(*RUN, "--out", out).code == 0
    with untouched(tmp_path):
        command = (*RUN, f"--condition=skull={out}/sample-0.nii.gz", "--out", out, "--force")
        told(vcm(*command), "sample-0.nii.gz", "input", code=2)


def test_a_second_run_in_a_folder_is_refused_and_names_the_first(tmp_path):
    out = tmp_path / "out"
    (tmp_path / "first").mkdir()
    first = Apart(tmp_path / "first", *RUN, "--samples", 300, "--out", out)
    while not (out / "report.json").exists():
        assert first.alive
    ended = vcm_apart(tmp_path, *RUN[:-1], 9, "--out", out)
    told(ended, str(out), "another process: vcm generate, process ", "Wait until it has ended", code=2)
    first.send(9)
    first.wait()
    assert (out / WORK / "lock").exists()  # of a dead process: it holds nothing
    assert vcm_apart(tmp_path, *RUN[:-1], 9, "--out", out).code == 0
    assert names(out) == ["montage.png", "report.json", "sample-0.nii.gz"]


def started(tmp_path, count, command):
    """The same command so many times at once; how each ended."""
    processes = []
    for number in range(count):
        (tmp_path / f"p{number}").mkdir()
        processes.append(Apart(tmp_path / f"p{number}", *command(number)))
    ends = [process.wait(240) for process in processes]
    for ended in ends:
        if ended.code:
            told(ended, code=ended.code)
            assert ended.code in (1, 2), ended
    return ends


@pytest.mark.parametrize("count", [2, 4, 8])
def test_of_many_runs_in_one_folder_one_is_left_whole(tmp_path, count):
    out = tmp_path / "out"
    ends = started(tmp_path, count, lambda n: (*RUN[:-1], 10 + n, "--samples", 3, "--out", out))
    assert any(ended.code == 0 for ended in ends)
    for ended in ends:
        assert ended.code == 0 or "another process" in ended.err
    report = json.loads((out / "report.json").read_text())
    assert report["complete"] and set(report["files"]) == set(names(out)) and len(report["samples"]) == 3
    seed = report["samples"][0]["seed"]
    assert vcm(*RUN[:-1], seed, "--samples", 3, "--out", tmp_path / "alone").code == 0
    for sample in report["samples"]:
        there, alone = (read_volume(folder / sample["file"]) for folder in (out, tmp_path / "alone"))
        assert np.array_equal(there.array, alone.array), f"{sample['file']} is of another run than the report"


@pytest.mark.parametrize("count", [2, 4])
def test_many_processes_on_one_table_make_every_case_once(tmp_path, count):
    out, table = tmp_path / "out", tmp_path / "cases.csv"
    table.write_text("case,age\n" + "".join(f"c{n},{50 + n}\n" for n in range(5)))
    command = ("generate", "--pack", "tiny", "--steps", 4, "--cases", table, "--out", out)
    ends = started(tmp_path, count, lambda n: command)
    assert all(ended.code == 0 for ended in ends), ends
    with (out / "results.csv").open(newline="") as stream:
        assert [row["case"] for row in csv.DictReader(stream)] == [f"c{n}" for n in range(5)]
    assert not list(out.rglob(WORK))
    before = state_of(out)
    assert vcm(*command).code == 0 and state_of(out) == before


@pytest.mark.parametrize("count", [2, 4, 8])
def test_many_processes_on_one_store_of_packs_leave_a_whole_pack_or_none(tmp_path, monkeypatch, count):
    from sample_packs import CONFIG, make_checkpoints

    monkeypatch.setenv("VCM_PACKS", os.fspath(tmp_path / "packs"))
    files = make_checkpoints(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    made = (
        "--autoencoder",
        files["autoencoder"],
        "--denoiser",
        files["denoiser"],
        "--config",
        tmp_path / "config.json",
    )
    started(
        tmp_path, count,
        lambda n: ("packs", "remove", "mine", "--yes") if n % 4 == 3 else ("packs", "import", "mine", *made, "--force"),
    )  # fmt: skip
    home = tmp_path / "packs"
    assert names(home) in ([], ["mine"])
    if names(home):
        assert vcm("packs", "verify", "mine").code == 0
    assert vcm("packs", "import", "mine", *made, "--force").code == 0 and find_pack("mine")


@pytest.mark.parametrize("count", [2, 4])
def test_many_processes_on_one_cohort_make_it_or_are_refused(tmp_path, count):
    from label_map_folder import write_folder

    maps = write_folder(tmp_path / "maps")
    command = (
        "cohort",
        "make",
        "--labelmaps",
        maps,
        "--count",
        3,
        "--seed",
        4,
        "--grid",
        "labelmaps",
        "--lesions",
        0,
        "--out",
    )
    ends = started(tmp_path, count, lambda n: (*command, tmp_path / "out"))
    assert any(ended.code == 0 for ended in ends)
    assert vcm(*command, tmp_path / "alone").code == 0
    there, alone = state_of(tmp_path / "out"), state_of(tmp_path / "alone")
    assert there.keys() == alone.keys()
    assert all(there[path] == alone[path] for path in there if path.suffix in (".gz", ".csv"))


def test_an_export_over_a_pack_that_cannot_be_finished_leaves_the_pack(tmp_path, monkeypatch):
    """The new weights used to lie under the old manifest."""
    from vcm.packs.installation import pack_folder

    shutil.copytree(find_pack("tiny").folder, tmp_path / "tiny")
    (tmp_path / "tiny" / "notes.txt").write_text("mine")
    with untouched(tmp_path), pytest.raises(KeyboardInterrupt), pack_folder(tmp_path / "tiny") as folder:
        write_volume(folder / "x.nii.gz", Volume(MASK, Grid(MASK.shape, tiny.GRID.affine)))
        raise KeyboardInterrupt
    (tmp_path / "tiny" / "manifest.json").write_text("{}")
    with untouched(tmp_path):
        refused(lambda: over(tmp_path / "tiny", force=False), "manifest.json")
    over(tmp_path / "tiny", force=True)
    assert (tmp_path / "tiny" / "notes.txt").read_text() == "mine" and find_pack(tmp_path / "tiny")


def over(folder, force):
    from vcm.packs.installation import pack_folder

    source = find_pack("tiny").folder
    with pack_folder(folder, force=force) as inside:
        for file in source.iterdir():
            if file.is_file():
                shutil.copy(file, inside)
