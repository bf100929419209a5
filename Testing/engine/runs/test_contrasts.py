"""One mask in several contrasts: the same noise and layout, each contrast in files of its own."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil

import nibabel
import numpy as np
import pytest
import tiny
import torch
from command_line import vcm
from vcm.core.errors import Code, VcmError
from vcm.core.volume import Volume
from vcm.models.backbones.latent_diffusion import LatentDiffusion
from vcm.models.controls.vcm_control import VcmControl
from vcm.reporting import contrast_montage
from vcm.runs import record
from vcm.runs.job import ConditionFile, GenerateJob
from vcm.runs.run import Listeners, run_generate
from vcm.sampling.generator import seeded_noise
from vcm.volumes.volume_files import read_volume, write_volume

CHOICES = {"T1w": 0.2, "T2w": 0.55, "FLAIR": 0.9}
NAMES = tuple(CHOICES)


@pytest.fixture
def packs(tmp_path, tiny_packs, monkeypatch):
    shutil.copytree(tiny_packs, tmp_path / "packs")
    tiny.name_contrasts(tmp_path / "packs", CHOICES)
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    return tmp_path / "packs"


@pytest.fixture
def mask(tmp_path):
    array = np.zeros(tiny.GRID.shape, np.uint8)
    array[5:9, 8:15, 12:17] = 1
    write_volume(tmp_path / "mask.nii.gz", Volume(array, tiny.GRID))
    return ConditionFile("ventricles", tmp_path / "mask.nii.gz")


@pytest.fixture
def job(tmp_path, packs):
    def make(*conditions, contrast="all", **options):
        attributes = {"class": contrast, **options.pop("attributes", {})}
        chosen = {"pack": "tiny", "steps": 2, "seed": 3, "out": tmp_path / "out", "montage": False, **options}
        return GenerateJob(conditions=conditions, attributes=attributes, **chosen)

    return make


@pytest.fixture
def classes_alone(monkeypatch):
    """A network whose clean latent is the raw number of the class, decoded as it is."""

    def predict(self, latent, t, inputs, residuals=None):
        alpha, sigma = self.process.levels(t)
        clean = torch.ones_like(latent) * inputs[:, :1, None, None, None]
        return (latent.float() - alpha * clean) / sigma

    def decode(self, latent, scale_factor=None):
        return torch.nn.functional.interpolate(latent[:, :1].float(), scale_factor=4)

    monkeypatch.setattr(LatentDiffusion, "predict", predict)
    monkeypatch.setattr(LatentDiffusion, "decode", decode)


def array_of(folder, name):
    return np.asarray(nibabel.load(folder / name).dataobj, np.float32)


def said_in(folder, name):
    return nibabel.load(folder / name).header["descrip"].item().decode()


def test_all_makes_a_volume_of_each_contrast_named_after_it_and_entered_in_the_report(job, mask, tmp_path):
    report = run_generate(job(mask, uncontrolled=True)).report
    out = tmp_path / "out"
    for kind in ("sample", "uncontrolled"):
        assert sorted(path.name for path in out.glob(f"{kind}-*")) == sorted(f"{kind}-0-{n}.nii.gz" for n in NAMES)
        for name in NAMES:
            assert said_in(out, f"{kind}-0-{name}.nii.gz").startswith(f"synthetic {name} by VCMSlicer")
    assert [(s["contrast"], s["seed"], s["file"]) for s in report["samples"]] == [
        (name, 3, f"sample-0-{name}.nii.gz") for name in NAMES
    ]
    assert all(s["alignment"]["classes"][0]["requested_ml"] > 0 for s in report["samples"])
    named = report["attributes"][0]
    assert (named["name"], named["value"], named["raw"], named["origin"]) == ("class", "all", None, "given")
    assert report["complete"] and {f for f in report["files"] if f.startswith("sample")} == {
        s["file"] for s in report["samples"]
    }
    assert report["sampling"]["noise_sha256"] == hashlib.sha256(seeded_noise(3, tiny.LATENT).numpy()).hexdigest()


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_no_contrast_is_taken_for_another(job, classes_alone, tmp_path, batch):
    report = run_generate(job(samples=2, batch=batch, steps=3)).report
    assert [(s["seed"], s["contrast"]) for s in report["samples"]] == [(seed, n) for seed in (3, 4) for n in NAMES]
    for index in range(2):
        for name, raw in CHOICES.items():
            image = array_of(tmp_path / "out", f"sample-{index}-{name}.nii.gz")
            assert image.min() == pytest.approx(raw, abs=2e-3) and image.max() == pytest.approx(raw, abs=2e-3)


@pytest.mark.parametrize("batch", [2, 3])
def test_the_twins_of_a_batch_of_contrasts_keep_theirs(job, mask, classes_alone, tmp_path, batch):
    run_generate(job(mask, uncontrolled=True, batch=batch))
    for name, raw in CHOICES.items():
        assert array_of(tmp_path / "out", f"uncontrolled-0-{name}.nii.gz") == pytest.approx(raw, abs=2e-3)


def test_a_network_that_does_not_look_at_the_class_gives_equal_images_from_one_noise(job, mask, monkeypatch, tmp_path):
    plain = LatentDiffusion.predict

    def blind(self, latent, t, inputs, residuals=None):
        return plain(self, latent, t, torch.cat([torch.zeros_like(inputs[:, :1]), inputs[:, 1:]], dim=1), residuals)

    monkeypatch.setattr(LatentDiffusion, "predict", blind)
    run_generate(job(mask, samples=2))
    out = tmp_path / "out"
    first, second = (array_of(out, f"sample-{index}-T1w.nii.gz") for index in range(2))
    assert not np.array_equal(first, second)
    for name in NAMES[1:]:
        assert np.array_equal(array_of(out, f"sample-0-{name}.nii.gz"), first)
        assert np.array_equal(array_of(out, f"sample-1-{name}.nii.gz"), second)


def test_each_contrast_is_bit_for_bit_the_image_that_is_made_of_it_alone(job, mask, tmp_path):
    others = {"age": 51.0}
    run_generate(job(mask, uncontrolled=True, attributes=others))
    images = []
    for name in NAMES:
        alone = run_generate(job(mask, contrast=name, uncontrolled=True, attributes=others, out=tmp_path / name))
        assert [s["contrast"] for s in alone.report["samples"]] == [name]
        for kind in ("sample", "uncontrolled"):
            images.append(array_of(tmp_path / name, f"{kind}-0.nii.gz"))
            assert np.array_equal(array_of(tmp_path / "out", f"{kind}-0-{name}.nii.gz"), images[-1])
    assert len({image.tobytes() for image in images}) == 6


def test_the_conditions_are_encoded_once_for_all_contrasts(job, mask, monkeypatch):
    encoded = []
    prepare = VcmControl.prepare
    monkeypatch.setattr(VcmControl, "prepare", lambda self, *args: encoded.append(1) or prepare(self, *args))
    run_generate(job(mask, samples=2))
    assert len(encoded) == 1


def test_an_unknown_contrast_is_refused_with_those_there_are_and_all(job):
    with pytest.raises(VcmError) as refused:
        run_generate(job(contrast="PDw"))
    assert refused.value.code is Code.ATTRIBUTE
    assert refused.value.sentence == "Class must be one of T1w, T2w, FLAIR, all, not 'PDw'."


def test_all_is_no_value_of_choices_that_name_no_contrast(job, packs):
    tiny.name_contrasts(packs, CHOICES, role=False)
    with pytest.raises(VcmError) as refused:
        run_generate(job())
    assert refused.value.sentence == "Class must be one of T1w, T2w, FLAIR, not 'all'."


def test_a_choice_that_is_called_all_is_that_choice(job, packs, tmp_path, classes_alone):
    tiny.name_contrasts(packs, {"T1w": 0.2, "All": 0.7})
    report = run_generate(job(contrast="all")).report
    assert [s["file"] for s in report["samples"]] == ["sample-0.nii.gz"]
    assert array_of(tmp_path / "out", "sample-0.nii.gz") == pytest.approx(0.7, abs=2e-3)


def test_all_beside_a_raw_number_is_refused(job):
    with pytest.raises(VcmError, match="given twice"):
        run_generate(job(raw_attributes={"class": 0.2}))


def test_names_of_contrasts_that_no_file_can_have_do_not_leave_the_folder(job, packs, tmp_path, classes_alone):
    tiny.name_contrasts(packs, {"../../T1w": 0.2, "T2w/fat": 0.5, "t2w fat": 0.9})
    report = run_generate(job()).report
    files = [f"sample-0-contrast{place}.nii.gz" for place in (1, 2, 3)]
    assert [s["file"] for s in report["samples"]] == files
    assert [s["contrast"] for s in report["samples"]] == ["../../T1w", "T2w/fat", "t2w fat"]
    assert [array_of(tmp_path / "out", name).mean() for name in files] == pytest.approx([0.2, 0.5, 0.9], abs=2e-3)


def test_a_run_cancelled_between_contrasts_leaves_whole_files_alone(job, mask, tmp_path):
    out, asked = tmp_path / "out", []

    def cancelled():
        asked.append(1)
        return (out / "segmentation-0-T1w.nii.gz").exists() or (out / "sample-0-T1w.nii.gz").exists()

    with pytest.raises(VcmError) as stopped:
        run_generate(job(mask, montage=True), Listeners(cancelled=cancelled))
    assert stopped.value.code is Code.CANCELLED
    report = json.loads((out / "report.json").read_text())
    assert report["complete"] is False and [s["contrast"] for s in report["samples"]] == ["T1w"]
    there = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    assert there == set(report["files"]) and "montage.png" not in there
    assert read_volume(out / "sample-0-T1w.nii.gz").grid.shape == tiny.GRID.shape

    complete = run_generate(job(mask, montage=True)).report
    assert complete["complete"] and [s["contrast"] for s in complete["samples"]] == list(NAMES)
    there = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    assert there == set(complete["files"]) and "montage.png" in there


def test_another_run_in_the_folder_replaces_all_contrasts_but_not_the_users_own_file(job, tmp_path):
    run_generate(job())
    own = tmp_path / "out" / "sample-0-mine.nii.gz"
    own.write_bytes(b"the user's")
    run_generate(job(contrast="T2w"))
    left = {path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")}
    assert left == {"sample-0.nii.gz", "report.json", "sample-0-mine.nii.gz"} and own.read_bytes() == b"the user's"


def test_the_users_own_file_of_a_contrasts_name_is_refused_before_anything_is_loaded(job, tmp_path):
    own = tmp_path / "out" / "sample-0-T2w.nii.gz"
    own.parent.mkdir()
    own.write_bytes(b"the user's")
    with pytest.raises(VcmError, match="sample-0-T2w"):
        run_generate(job(), None, lambda *_: pytest.fail("the model was loaded"))
    assert own.read_bytes() == b"the user's"


def test_the_montage_shows_the_contrasts_side_by_side_under_their_names(job, mask, tmp_path, monkeypatch):
    drawn, plain = [], contrast_montage.laid_out
    monkeypatch.setattr(contrast_montage, "laid_out", lambda *args: drawn.append(args) or plain(*args))
    monkeypatch.setattr(record, "save_montage", lambda *_args, **_options: pytest.fail("not the picture of one"))
    run_generate(job(mask, montage=True, samples=2))
    ((_, headed, scores, _, title, subtitle),) = drawn
    assert [heading for heading, _, _ in headed] == ["Condition", *NAMES]
    assert [line.name for line in scores] == [f"{name} ventricles" for name in NAMES]
    assert title == "Synthetic brain: T1w, T2w, FLAIR" and "all from the same noise" in subtitle
    assert (tmp_path / "out" / "montage.png").read_bytes().startswith(b"\x89PNG")


def test_previews_of_the_contrasts_do_not_replace_each_other(job, tmp_path):
    report = run_generate(job(preview_every=1)).report
    assert [f for f in report["files"] if f.startswith("preview")] == [f"preview-0-{name}.nii.gz" for name in NAMES]


def test_the_command_line_says_and_makes_all_contrasts(packs, mask, tmp_path):
    ended = vcm("generate", "--pack", "tiny", "--attribute", "class=all", "--steps", 2, "--seed", 1, "--condition",
                f"ventricles={mask.path}", "--out", tmp_path / "out")  # fmt: skip
    assert ended.code == 0, ended.err
    for name in NAMES:
        assert f"sample-0-{name}.nii.gz (seed 1)" in ended.out
    info = vcm("packs", "info", "tiny")
    assert "class (T1w, T2w, FLAIR, all)" in " ".join(info.out.split())


def test_a_row_of_a_table_may_ask_for_all_contrasts(packs, tmp_path):
    table = tmp_path / "cases.csv"
    table.write_text("case,class\nthree,all\none,T2w\n")
    ended = vcm("generate", "--pack", "tiny", "--cases", table, "--steps", 1, "--out", tmp_path / "batch")
    assert ended.code == 0, ended.err
    with (tmp_path / "batch" / "results.csv").open(newline="") as stream:
        rows = [(row["case"], row["class"], row["file"].rpartition("/")[2]) for row in csv.DictReader(stream)]
    assert rows == [("three", name, f"sample-0-{name}.nii.gz") for name in NAMES] + [("one", "T2w", "sample-0.nii.gz")]
    again = vcm("generate", "--pack", "tiny", "--cases", table, "--steps", 1, "--out", tmp_path / "batch")
    assert "2 of them finished before" in again.out + again.err


def test_the_mark_needs_choices_and_only_one_attribute_has_it(packs, job):
    tiny.name_contrasts(packs, {"T1w": 0.2, "T2w": 0.2})
    with pytest.raises(VcmError, match="each with a number of its own"):
        run_generate(job())
    tiny.name_contrasts(packs, CHOICES)
    path = packs / "tiny" / "manifest.json"
    content = json.loads(path.read_text())
    content["attributes"][1] |= {"choices": {"a": 0, "b": 1}, "role": "contrast"}
    path.write_text(json.dumps(content))
    with pytest.raises(VcmError, match="Both class and age"):
        run_generate(job())
