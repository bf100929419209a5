"""Whole runs with a layout: what the control is given, what lies beside the sample, and what is left as it was."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import tiny
import tiny_layout
import torch
from command_line import vcm
from small_cohort import SEGMENTER
from vcm.anatomy.structures import SEMANTICS
from vcm.core.errors import Code, VcmError
from vcm.core.volume import Volume
from vcm.models.layout.layout import Layout
from vcm.packs.store import find_pack
from vcm.protocol import Generate
from vcm.runs import completing
from vcm.runs.batches import summary
from vcm.runs.job import ConditionFile, GenerateJob
from vcm.runs.run import Listeners, run_generate
from vcm.runs.warm_models import WarmModels
from vcm.volumes.volume_files import read_volume, read_volume_file, write_volume
from vcm.worker.translation import generated

MASK = np.zeros(tiny.GRID.shape, np.uint8)
MASK[3:7, 8:15, 12:17] = 1


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packs") / "packs"
    tiny_layout.write_packs(folder)
    _add_segmenter(folder / "tiny")
    return folder


@pytest.fixture(autouse=True)
def with_packs(packs, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(packs))


@pytest.fixture
def mask(tmp_path):
    path = tmp_path / "mask.nii.gz"
    write_volume(path, Volume(MASK, tiny.GRID))
    return path


@pytest.fixture
def run(tmp_path, mask):
    """A run whose conditions are in `files`, by default the mask; its folder and its report."""

    def make(name="out", files=None, **options):
        conditions = tuple(ConditionFile(*entry) for entry in (files or {"ventricles": mask}).items())
        given = {"pack": "tiny", "steps": 2, "seed": 3, "montage": False, **options}
        done = run_generate(GenerateJob(tmp_path / name, conditions, **given), Listeners())
        return tmp_path / name, done.report

    return make


def _add_segmenter(home):
    import torch
    from monai.networks.nets import UNet
    from safetensors.torch import save_file
    from vcm.anatomy.structures import SEGMENTER_CLASSES
    from vcm.packs.manifest_reading import write_manifest

    torch.manual_seed(3)
    network = {**SEGMENTER, "out_channels": 11}
    save_file(UNet(**network).state_dict(), home / "segmenter.safetensors")
    manifest = json.loads((home / "manifest.json").read_text())
    manifest["files"]["segmenter"] = {"path": "segmenter.safetensors"}
    manifest["networks"]["segmenter"] = network
    manifest["segmenter_classes"] = [{"value": n, "name": name} for n, (name, _) in SEGMENTER_CLASSES.items()]
    manifest["trained"]["segmenter"] = True
    write_manifest(home, manifest)


def voxels(path):
    return np.asarray(nibabel.load(path).dataobj)


def test_the_completed_head_lies_beside_the_sample_with_what_was_drawn_in_its_place(run):
    folder, report = run()
    labels = voxels(folder / "layout-0.nii.gz")
    assert labels.dtype == np.uint8
    assert np.array_equal(labels == 4, MASK)
    assert not (labels == 10).any(), "the semantics show no lesions"
    names = read_volume_file(folder / "layout-0.nii.gz").segment_names
    assert names[4] == "lateral ventricles" and names[9] == "third and fourth ventricle" and len(names) == 10
    assert read_volume_file(folder / "segmentation-0.nii.gz").segment_names == names
    assert np.allclose(nibabel.load(folder / "layout-0.nii.gz").affine, tiny.GRID.affine)
    assert "synthetic" in str(nibabel.load(folder / "layout-0.nii.gz").header["descrip"])
    assert report["packs"]["control"]["name"] == "tiny-semantics"
    assert report["layout"]["name"] == "tiny-layout"
    assert report["layout"]["labels"][3] == {"value": 4, "name": "lateral ventricles"}
    assert set(report["files"]) == {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_the_report_measures_against_what_was_drawn_and_beside_it_against_the_whole_head(run):
    folder, report = run()
    sample = report["samples"][0]
    assert [entry["name"] for entry in report["conditions"]] == ["ventricles"]
    assert [entry["name"] for entry in sample["alignment"]["classes"]] == ["ventricles"]
    found, truth = voxels(folder / "segmentation-0.nii.gz"), voxels(folder / "layout-0.nii.gz")
    whole = {entry["name"]: entry for entry in sample["layout"]["alignment"]["classes"]}
    assert len(whole) == 9, "there is no lesion in it"
    for value, name in ((1, "white matter"), (4, "lateral ventricles")):
        both = np.sum((found == value) & (truth == value)) * 2
        expected = both / (np.sum(found == value) + np.sum(truth == value))
        assert whole[name]["dice"] == pytest.approx(expected, abs=1e-6)


def test_the_control_is_given_the_completed_map(run, monkeypatch):
    seen = []
    usual = completing.Completer.completed

    def watched(self, request, index, on_step):
        own, head = usual(self, request, index, on_step)
        seen.append((own, head))
        return own, head

    monkeypatch.setattr(completing.Completer, "completed", watched)
    run()
    ((own, head),) = seen
    (condition,) = own.conditions
    assert condition.spec.name == "semantics"
    for value, (_, labels) in SEMANTICS.items():
        assert np.array_equal(condition.volume.array == value, np.isin(head.volume.array, labels))


def test_masks_that_were_not_drawn_are_completed_and_the_drawn_one_stays(run, monkeypatch, mask):
    seen = []
    usual = completing.taken_of
    monkeypatch.setattr(completing, "taken_of", lambda *given: seen.append(usual(*given)) or seen[-1])
    run(control="anatomy")
    brain, ventricles = seen[0]
    assert (brain.spec.name, ventricles.spec.name) == ("brain", "ventricles")
    assert np.array_equal(ventricles.volume.array, MASK)
    assert brain.volume.array.any()
    assert brain.volume.array[MASK > 0].all()


def test_the_control_gets_a_label_map_drawn_in_part_filled_around_what_is_in_it(run, monkeypatch, tmp_path):
    painted = MASK * 4
    painted[10:13, 2:5, 20:22] = 5
    write_volume(tmp_path / "part.nii.gz", Volume(painted, tiny.GRID))
    seen = []
    usual = completing.taken_of
    monkeypatch.setattr(completing, "taken_of", lambda *given: seen.append(usual(*given)) or seen[-1])
    folder, _ = run(files={"semantics": tmp_path / "part.nii.gz"})
    ((condition,),) = seen
    head = voxels(folder / "layout-0.nii.gz")
    for value, (_, labels) in SEMANTICS.items():
        drawn = painted == value if value in (4, 5) else np.isin(head, labels)
        assert np.array_equal(condition.volume.array == value, drawn), value
    assert (condition.volume.array == 2).any()


def test_what_is_used_again_is_the_same_head(run):
    """The map that came out, given as the condition of the control that it fed: nothing is left to complete."""
    first, _ = run("first")
    again, _ = run("again", {"semantics": first / "layout-0.nii.gz"}, seed=77)
    for value, (_, labels) in SEMANTICS.items():
        expected = np.isin(voxels(first / "layout-0.nii.gz"), labels)
        assert np.array_equal(voxels(again / "condition-0.nii.gz") == value, expected), value
    assert not (again / "layout-0.nii.gz").exists()


def test_an_edited_head_keeps_the_edit(run, tmp_path):
    first, _ = run("first")
    edited = voxels(first / "layout-0.nii.gz").copy()
    edited[9:12, 4:9, 20:26] = 4
    write_volume(tmp_path / "edited.nii.gz", Volume(edited, tiny.GRID))
    again, _ = run("again", {"semantics": tmp_path / "edited.nii.gz"})
    found = voxels(again / "condition-0.nii.gz")
    assert (found[9:12, 4:9, 20:26] == 4).all()
    assert np.array_equal(found == 4, np.isin(edited, (4, 9)))


def test_each_sample_has_a_head_of_its_own_that_follows_from_its_seed(run):
    several, report = run("several", samples=3)
    alone, _ = run("alone", seed=5)
    heads = [voxels(several / f"layout-{n}.nii.gz") for n in range(3)]
    assert (heads[0] != heads[1]).any()
    assert np.array_equal(heads[2], voxels(alone / "layout-0.nii.gz"))
    assert np.array_equal(voxels(several / "sample-2.nii.gz"), voxels(alone / "sample-0.nii.gz"))
    assert [entry["seed"] for entry in report["samples"]] == [3, 4, 5]
    assert report["complete"]


def test_the_twin_without_control_is_that_of_a_run_without_layout(run):
    known = {"ventricular_volume": 20}  # else it is measured on the head
    with_layout, _ = run("with", uncontrolled=True, attributes=known)
    without, _ = run("without", uncontrolled=True, attributes=known, layout="off")
    twin, other = (voxels(folder / "uncontrolled-0.nii.gz") for folder in (with_layout, without))
    assert np.allclose(twin, other, atol=1e-5)
    assert not np.allclose(voxels(with_layout / "sample-0.nii.gz"), voxels(without / "sample-0.nii.gz"), atol=1e-3)


def test_off_and_no_layout_leave_everything_as_it_was(run, packs, monkeypatch):
    """Byte for byte, but for the times that the report notes."""
    off, _ = run("off", layout="off")
    (packs / "tiny-layout").rename(packs / ".hidden")
    try:
        absent, _ = run("absent")
    finally:
        (packs / ".hidden").rename(packs / "tiny-layout")

    def content(folder):
        report = json.loads((folder / "report.json").read_text())
        report["timing_s"] = report["sampling"]["plan"] = None  # which tell of the machine
        kept = {path.name: voxels(path).tobytes() for path in folder.glob("*.nii.gz")}
        return report, kept

    assert content(off) == content(absent)
    assert "layout" not in json.dumps(content(off)[0])
    assert not (off / "layout-0.nii.gz").exists()


def test_what_lies_on_another_grid_is_brought_onto_the_models_before_it_is_completed(run, tmp_path):
    """Right is right: a mask on a finer grid that runs the other way, on one side alone."""
    fine = np.zeros((40, 50, 70), np.uint8)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (-30.0, -50.0, -40.0)
    fine[20:30, 12:30, 20:34] = 1  # x from 10 to 28 mm: the patient's right
    image = nibabel.Nifti1Image(fine, affine)
    nibabel.save(image, tmp_path / "fine.nii.gz")
    folder, _ = run(files={"ventricles": tmp_path / "fine.nii.gz"})
    found = np.argwhere(voxels(folder / "layout-0.nii.gz") == 4)
    world = nibabel.affines.apply_affine(tiny.GRID.affine, found)
    assert world[:, 0].min() > 5
    assert np.allclose(world.mean(0), nibabel.affines.apply_affine(affine, np.argwhere(fine)).mean(0), atol=2.0)
    assert np.array_equal(voxels(folder / "layout-0.nii.gz") == 4, voxels(folder / "condition-0.nii.gz"))


def test_a_layout_that_is_named_forms_a_head_from_nothing_and_the_sample_is_measured_by_it(tmp_path):
    """As a layout that was not named never does: then nothing is asked for."""
    job = GenerateJob(tmp_path / "out", pack="tiny", steps=2, seed=3, layout="tiny-layout", uncontrolled=True)
    report = run_generate(job).report
    (sample,) = report["samples"]
    assert report["packs"]["control"]["name"] == "tiny-semantics"
    assert report["conditions"] == []
    assert sample["alignment"] is None
    assert len(sample["layout"]["alignment"]["classes"]) == len(
        set(np.unique(voxels(tmp_path / "out" / "layout-0.nii.gz"))) - {0}
    )
    assert (tmp_path / "out" / "uncontrolled-0.nii.gz").exists()
    plain = run_generate(GenerateJob(tmp_path / "plain", pack="tiny", steps=2, seed=3)).report
    assert "layout" not in plain


def test_an_unknown_subject_leaves_the_head_to_chance_and_a_known_one_does_not(run):
    plain, old = run("plain")[0], run("old", attributes={"age": 80})[0]
    assert (voxels(plain / "layout-0.nii.gz") != voxels(old / "layout-0.nii.gz")).any()


def test_attributes_that_the_head_tells_are_measured_on_it(run, packs):
    path = packs / "tiny" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["attributes"][3] |= {"low": 0, "high": 5000, "unit": "ml", "structures": [1, 2, 3, 4, 5, 6, 8, 9, 10]}
    before = path.read_text()
    path.write_text(json.dumps(manifest))
    try:
        folder, report = run()
    finally:
        path.write_text(before)
    told = {entry["name"]: entry for entry in report["samples"][0]["layout"]["attributes"]}["brain_volume"]
    truth = np.isin(voxels(folder / "layout-0.nii.gz"), (1, 2, 3, 4, 5, 6, 8, 9)).sum() * tiny.GRID.voxel_ml
    assert told["value"] == pytest.approx(truth, rel=1e-6)
    assert report["attributes"][3]["origin"] == "default"


def test_a_class_that_was_not_drawn_is_no_finding(run, tmp_path):
    write_volume(tmp_path / "part.nii.gz", Volume(MASK * 4, tiny.GRID))
    files = {"semantics": tmp_path / "part.nii.gz"}
    absent = run("off", files, layout="off")[1]["conditions"][0]["findings"]
    assert "CLASS_ABSENT" in {finding["code"] for finding in absent}
    assert run("on", files)[1]["conditions"][0]["findings"] == []


def test_the_worker_names_the_head_and_its_labels(run):
    folder, report = run()
    (sample,) = generated(Generate("a", str(folder)), report).samples
    assert sample.layout_path == str(folder / "layout-0.nii.gz")
    assert sample.layout_labels[3].name == "lateral ventricles"
    assert len(sample.layout_alignment.classes) == 9
    (plain,) = generated(Generate("a", str(folder)), run("off", layout="off")[1]).samples
    assert (plain.layout_path, plain.layout_alignment, plain.layout_labels) == (None, None, ())


def test_an_attribute_is_measured_on_the_completed_map_and_not_on_the_painted_part_of_it(run, mask, tmp_path):
    painted = tmp_path / "painted.nii.gz"
    write_volume(painted, Volume(4 * MASK, tiny.GRID))
    _folder, report = run(files={"semantics": painted})
    measured = {entry["name"]: entry for entry in report["samples"][0]["layout"]["attributes"]}
    given = {entry["name"]: entry for entry in report["attributes"]}
    for name, entry in measured.items():
        assert entry["value"] != given[name]["value"], name
    labels = voxels(run("again", files={"semantics": painted})[0] / "layout-0.nii.gz")
    specs = {spec.name: spec for spec in find_pack("tiny").backbone.attributes}
    spec = specs["ventricular_volume"]  # by the tiny pack's own numbers it is the volume of the label 2
    whole = spec.to_raw((labels == 2).sum() * tiny.GRID.voxel_ml)
    assert measured["ventricular_volume"]["raw"] == pytest.approx(whole, abs=1e-6)


def test_a_map_of_another_control_is_shown_by_its_structures_and_not_by_its_numbers(packs, tmp_path, mask, monkeypatch):
    from vcm.cohort.case_conditions import CONDITION_SPECS

    other = tmp_path / "packs"
    tiny_layout.write_packs(other)
    two = [{"value": 1, "name": "grey matter", "segmenter": [2]}, {"value": 2, "name": "ventricles", "segmenter": [4]}]
    tiny_layout.write_control(
        other, "tiny-few", [{"name": "semantics", **CONDITION_SPECS["semantics"], "classes": two}]
    )
    monkeypatch.setenv("VCM_PACKS", str(other))
    painted = tmp_path / "painted.nii.gz"
    write_volume(painted, Volume(2 * MASK, tiny.GRID))
    job = GenerateJob(
        tmp_path / "out", (ConditionFile("semantics", painted),), pack="tiny", control="few", steps=2, seed=3,
        montage=False, control_may_give_way=True,
    )  # fmt: skip
    seen = []
    usual = completing.taken_of
    monkeypatch.setattr(completing, "taken_of", lambda *given: seen.append(usual(*given)) or seen[-1])
    report = run_generate(job).report
    ((condition,),) = seen
    assert report["packs"]["control"]["name"] == "tiny-semantics" and len(condition.spec.classes) == 8
    ventricles = next(entry.value for entry in condition.spec.classes if "ventricles" in entry.name)
    assert np.array_equal(voxels(tmp_path / "out" / "layout-0.nii.gz") == 4, MASK)
    assert (condition.volume.array[MASK > 0] == ventricles).all()


def test_it_stops_between_two_steps_of_completing(tmp_path, mask):
    told = []
    job = GenerateJob(tmp_path / "out", (ConditionFile("ventricles", mask),), pack="tiny", steps=2, samples=2, seed=1)
    with pytest.raises(VcmError) as stopped:
        run_generate(job, Listeners(progress=told.append, cancelled=lambda: bool(told) and told[-1].step == 2))
    assert stopped.value.code is Code.CANCELLED
    assert told[-1].stage == "completing the head" and (told[-1].step, told[-1].total > 2) == (2, True)
    assert 0 < told[-1].fraction < 0.1


def test_the_layout_stays_warm_between_two_runs(monkeypatch):
    models, made = WarmModels(), []
    usual = Layout.load
    monkeypatch.setattr(Layout, "load", lambda pack: made.append(pack.name) or usual(pack))
    first = models.layout(find_pack("tiny-layout"), torch.device("cpu"))
    assert models.layout(find_pack("tiny-layout"), torch.device("cpu")) is first and made == ["tiny-layout"]
    models.release()
    assert models.layout(find_pack("tiny-layout"), torch.device("cpu")) is not first


def test_a_run_that_is_not_completed_has_a_finding_that_says_why(run, mask):
    _folder, report = run(files={"ventricles": mask}, control="ventricles")
    (condition,) = report["conditions"]
    assert "layout" not in report or report["layout"] is None
    assert condition["findings"] == []


def test_progress_rises_to_the_end_over_all_samples(tmp_path, mask):
    told = []
    job = GenerateJob(tmp_path / "out", (ConditionFile("ventricles", mask),), pack="tiny", steps=2, samples=2, seed=1)
    run_generate(job, Listeners(progress=told.append))
    fractions = [at.fraction for at in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1)
    assert {"completing the head", "sampling", "decoding"} <= {at.stage for at in told}


def test_the_command_line_completes_by_default_and_says_so(tmp_path, mask):
    words = ("generate", "--pack=tiny", f"--condition=ventricles={mask}", "--steps=2", "--seed=1", "--no-montage")
    done = vcm(*words, f"--out={tmp_path / 'on'}")
    assert done.code == 0
    assert "The layout tiny-layout completes the head" in " ".join(done.err.split())
    assert "layout-0.nii.gz" in done.out
    assert "layout-0.nii.gz" not in vcm(*words, "--layout=off", f"--out={tmp_path / 'off'}").out


def test_packs_info_says_what_a_layout_is():
    shown = vcm("packs", "info", "tiny-layout").out
    assert "16 × 24 × 32 voxels" in shown
    assert "10 lesion" in shown
    assert "tiny-layout" in vcm("packs", "info", "tiny").out
    assert find_pack("tiny-layout").layout.backbones == ("tiny",)


def test_read_volume_gives_back_what_was_written(run):
    """By our own reader too, which evaluations use."""
    folder, _ = run()
    assert read_volume(folder / "layout-0.nii.gz").grid.same_as(tiny.GRID)


def test_the_table_of_a_batch_gives_the_values_that_were_measured_on_each_head(run, tmp_path, mask):
    _folder, report = run(samples=2)
    rows = list(summary._sample_rows("a", report))
    of_heads = [
        {entry["name"]: entry["value"] for entry in sample["layout"]["attributes"]} for sample in report["samples"]
    ]
    assert of_heads[0]["ventricular_volume"] != of_heads[1]["ventricular_volume"]
    for row, known in zip(rows, of_heads, strict=True):
        assert row["ventricular_volume"] == known["ventricular_volume"]
    assert rows[0]["age"] == report["attributes"][1]["value"]


def test_a_label_map_with_every_class_leaves_nothing_to_complete(run, tmp_path):
    array = np.zeros(tiny.GRID.shape, np.uint8)
    array[2:14, 3:21, 4:28] = 1 + np.arange(12 * 18 * 24).reshape(12, 18, 24) % 8
    write_volume(tmp_path / "map.nii.gz", Volume(array, tiny.GRID))
    folder, report = run("whole", {"semantics": tmp_path / "map.nii.gz"})
    assert not list(folder.glob("layout*")) and not report.get("layout")
    array[array == 8] = 1
    write_volume(tmp_path / "part.nii.gz", Volume(array, tiny.GRID))
    assert list(run("part", {"semantics": tmp_path / "part.nii.gz"})[0].glob("layout*"))
