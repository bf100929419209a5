"""A whole run, from files to files."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil

import evaluation_packs
import numpy as np
import pytest
import SimpleITK as sitk
import tiny
from faults import names
from vcm.conditions.attributes import resolve
from vcm.conditions.condition import Condition, ConditionSpec
from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.judging.segmentation import PackSegmenter
from vcm.machine.runtime import choose_runtime
from vcm.models.loading import load_backbone, load_control
from vcm.packs.store import find_pack
from vcm.reporting.report import condition_hash
from vcm.runs import record
from vcm.runs.job import ConditionFile, GenerateJob
from vcm.runs.run import Listeners, load_generator, run_generate
from vcm.sampling.generator import Generator, seeded_noise
from vcm.sampling.request import GenerateRequest
from vcm.volumes.volume_files import read_volume, write_volume

MASK = np.zeros(tiny.GRID.shape, np.uint8)
MASK[5:9, 8:15, 12:17] = 1
DRAWN = ["condition-0.nii.gz", "montage.png", "report.json", "sample-0.nii.gz"]

pytestmark = pytest.mark.usefixtures("with_tiny_packs")


@pytest.fixture
def mask(tmp_path):
    """A mask in a folder that names a person."""
    path = tmp_path / "Jane Doe" / "painted.nii.gz"
    write_volume(path, Volume(MASK, tiny.GRID))
    return ConditionFile("ventricles", path)


@pytest.fixture
def job(tmp_path):
    def make(*conditions, **options):
        chosen = {"pack": "tiny", "steps": 2, "seed": 3, "out": tmp_path / "out", **options}
        return GenerateJob(conditions=conditions, **chosen)

    return make


@pytest.fixture(scope="module")
def generator(tiny_packs):
    """The oracle: the same packs, loaded by hand."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VCM_PACKS", str(tiny_packs))
        return Generator(
            load_backbone(find_pack("tiny")), load_control(find_pack("tiny-both")), choose_runtime("cpu"), "slabs"
        )


def voxels(image):
    """An image of ITK's as array[i, j, k]."""
    return sitk.GetArrayFromImage(image).T


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refusal(job, **listeners):
    def never(*_):
        raise AssertionError("the model was loaded")

    with pytest.raises(VcmError) as caught:
        run_generate(job, Listeners(**listeners), never)
    return caught.value


def test_the_files_hold_exactly_what_the_generator_makes_on_the_packs_grid(job, mask, generator):
    result = run_generate(job(mask, samples=2, uncontrolled=True))
    condition = Condition(ConditionSpec.from_dict(tiny.CONDITIONS[0]), Volume(MASK, tiny.GRID))
    values = resolve(generator.backbone.attributes, conditions=[condition])
    expected = generator.generate(GenerateRequest(values, (condition,), seed=3, samples=2, steps=2, uncontrolled=True))
    out = job().out
    assert names(out) == [
        "condition-0.nii.gz", "montage.png", "report.json", "sample-0.nii.gz", "sample-1.nii.gz",
        "uncontrolled-0.nii.gz", "uncontrolled-1.nii.gz",
    ]  # fmt: skip
    assert sorted(path.name for path in result.files) == names(out)
    for sample in expected:
        for kind, image in (("sample", sample.volume), ("uncontrolled", sample.uncontrolled)):
            found = read_volume(out / f"{kind}-{sample.index}.nii.gz")
            assert found.array.dtype == np.float32
            assert np.array_equal(found.array, image.array)
            assert np.array_equal(found.grid.affine, tiny.GRID.affine)


def test_the_report_tells_what_made_the_samples(job, mask):
    result = run_generate(job(mask, attributes={"age": 72}, raw_attributes={"brain_volume": 0.3}, samples=2))
    report = json.loads((job().out / "report.json").read_text())
    assert report == result.report and report["complete"] is True and report["synthetic"] is True
    assert sorted(report["files"]) == names(job().out)
    assert (report["packs"]["backbone"]["name"], report["packs"]["control"]["name"]) == ("tiny", "tiny-both")
    assert [(s["file"], s["seed"]) for s in report["samples"]] == [("sample-0.nii.gz", 3), ("sample-1.nii.gz", 4)]
    noise = b"".join(seeded_noise(seed, tiny.LATENT).numpy().tobytes() for seed in (3, 4))
    assert report["sampling"]["noise_sha256"] == hashlib.sha256(noise).hexdigest()
    assert (report["sampling"]["sampler"], report["sampling"]["steps"], report["sampling"]["seed"]) == ("dpm++", 2, 3)
    attributes = {entry["name"]: entry for entry in report["attributes"]}
    assert attributes["age"]["raw"] == pytest.approx((72 - 44) / 38) and attributes["age"]["origin"] == "given"
    assert attributes["brain_volume"]["origin"] == "given raw" and attributes["sex"]["origin"] == "default"


def test_the_figures_can_be_computed_again_from_the_label_maps_beside_the_samples(job, mask, tmp_path, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(evaluation_packs.write_packs(tmp_path / "packs")))
    segmented = []
    segment = PackSegmenter.segment
    monkeypatch.setattr(PackSegmenter, "segment", lambda self, image: segmented.append(image) or segment(self, image))
    report = run_generate(job(mask, samples=2, uncontrolled=True)).report
    assert len(segmented) == 4, "each image is segmented once"
    assert sorted(report["files"]) == names(job().out)
    (condition,) = report["conditions"]
    (wanted,) = condition["classes"]
    asked = sitk.ReadImage(str(job().out / condition["file"]))
    assert np.array_equal(voxels(asked), MASK) and wanted["value"] == 1
    assert {label["value"]: label["name"] for label in report["segmenter_labels"]}[4] == "ventricles"
    ml = float(np.prod(asked.GetSpacing())) / 1000
    for sample in report["samples"]:
        found = sitk.ReadImage(str(job().out / sample["segmentation"]))
        assert np.allclose(found.GetOrigin(), asked.GetOrigin()) and found.GetDirection() == asked.GetDirection()
        obtained = np.isin(voxels(found), wanted["segmenter"])
        (score,) = sample["alignment"]["classes"]
        assert 0 < obtained.sum() < obtained.size, "a segmentation of everything or nothing would prove nothing"
        assert score["obtained_ml"] == pytest.approx(obtained.sum() * ml, abs=1e-4)
        assert score["dice"] == pytest.approx(
            2 * (obtained & (MASK > 0)).sum() / (obtained.sum() + MASK.sum()), abs=1e-5
        )


def test_an_image_condition_is_not_kept_beside_the_samples(job, mask, tmp_path):
    rng = np.random.default_rng(2)
    write_volume(tmp_path / "skull.nii.gz", Volume(rng.random(tiny.GRID.shape, np.float32), tiny.GRID))
    report = run_generate(job(ConditionFile("skull", tmp_path / "skull.nii.gz"), mask)).report
    files = {entry["name"]: entry["file"] for entry in report["conditions"]}
    assert files == {"skull": None, "ventricles": "condition-1.nii.gz"}
    assert "condition-0.nii.gz" not in names(job().out)


def test_an_attribute_that_was_not_given_follows_the_mask_and_the_report_says_so(job, mask):
    report = run_generate(job(mask)).report
    volume = next(entry for entry in report["attributes"] if entry["name"] == "ventricular_volume")
    ml = MASK.sum() * 0.064
    assert volume["value"] == pytest.approx(ml) and volume["raw"] == pytest.approx((ml - 1) / 100)
    assert volume["origin"] == "measured on ventricles: 9.0 ml"


def test_no_folder_and_no_file_of_the_users_stands_in_the_report(job, mask, tmp_path):
    weights = Volume(np.linspace(-0.5, 1.5, 12288, dtype=np.float32).reshape(tiny.GRID.shape), tiny.GRID)
    write_volume(tmp_path / "Jane Doe" / "weights.nii.gz", weights)
    region = ConditionFile(mask.name, mask.path, region=tmp_path / "Jane Doe" / "weights.nii.gz", strength=0.7, end=0.9)
    report = run_generate(job(region)).report
    text = (job().out / "report.json").read_text()
    assert "Jane" not in text and "painted" not in text and "weights.nii.gz" not in text
    (condition,) = report["conditions"]
    assert (condition["strength"], condition["window"]) == (0.7, [0.0, 0.9]) and condition["region_sha256"]
    assert condition["sha256"] == condition_hash(
        Condition(ConditionSpec.from_dict(tiny.CONDITIONS[0]), Volume(MASK, tiny.GRID))
    )


def test_a_seed_that_was_not_given_is_drawn_and_told(job):
    first = run_generate(job(seed=None))
    drawn = first.report["sampling"]["seed"]
    image = read_volume(job().out / "sample-0.nii.gz").array
    assert run_generate(job(seed=None)).report["sampling"]["seed"] != drawn
    run_generate(job(seed=drawn))
    assert np.array_equal(read_volume(job().out / "sample-0.nii.gz").array, image)


def test_noise_from_a_file_is_what_is_sampled_from(job, tmp_path):
    np.save(tmp_path / "noise.npy", seeded_noise(11, tiny.LATENT).numpy())
    run_generate(job(noise=tmp_path / "noise.npy", seed=99))
    image = read_volume(job().out / "sample-0.nii.gz").array
    run_generate(job(seed=11))
    assert np.array_equal(read_volume(job().out / "sample-0.nii.gz").array, image)


def test_everything_is_examined_before_anything_is_loaded_or_written(job, mask, tmp_path):
    write_volume(tmp_path / "blank.nii.gz", Volume(np.zeros(tiny.GRID.shape, np.uint8), tiny.GRID))
    blank = ConditionFile("ventricles", tmp_path / "blank.nii.gz")
    np.save(tmp_path / "flat.npy", np.zeros(5))
    for code, wrong in (
        (Code.CONDITION, job(blank)),
        (Code.CONDITION, job(mask, mask)),
        (Code.FILE_MISSING, job(ConditionFile("ventricles", tmp_path / "gone.nii.gz"))),
        (Code.FILE_MISSING, job(ConditionFile("ventricles", mask.path, region=tmp_path / "gone.nii.gz"))),
        (Code.BAD_REQUEST, job(ConditionFile("ventricles", mask.path, strength=-1))),
        (Code.ATTRIBUTE, job(mask, attributes={"age": 200})),
        (Code.FILE_MISSING, job(mask, noise=tmp_path / "gone.npy")),
        (Code.BAD_REQUEST, job(mask, noise=tmp_path / "flat.npy")),
        (Code.BAD_REQUEST, job(mask, sampler="heun")),
        (Code.PACK_MISSING, job(mask, pack="tinny")),
        (Code.CONDITION, job(ConditionFile("ventricels", mask.path))),
    ):
        assert refusal(wrong).code is code
        assert names(tmp_path) == ["Jane Doe", "blank.nii.gz", "flat.npy"]
    with pytest.raises(VcmError, match="The seed must be between"):
        job(mask, seed=-1)


def test_the_errors_of_all_conditions_are_heard_and_the_first_ends_the_run(job, tmp_path):
    write_volume(tmp_path / "blank.nii.gz", Volume(np.zeros(tiny.GRID.shape, np.uint8), tiny.GRID))
    heard = []
    conditions = (ConditionFile(name, tmp_path / "blank.nii.gz") for name in ("ventricles", "skull"))
    error = refusal(job(*conditions), finding=heard.append)
    assert [(f.subject, f.code) for f in heard] == [("ventricles", "EMPTY"), ("skull", "CONSTANT")]
    assert error.sentence == heard[0].sentence
    assert [f["sentence"] for f in error.details["findings"]] == [f.sentence for f in heard]


def test_a_warning_is_heard_before_the_first_step_and_kept_in_the_report(job, tmp_path):
    shift = np.eye(4)
    shift[0, 3] = 24  # towards the right by six voxels: one of the mask's four layers leaves the grid
    write_volume(tmp_path / "off.nii.gz", Volume(MASK, Grid(tiny.GRID.shape, shift @ tiny.GRID.affine)))
    events = []
    listeners = Listeners(progress=lambda p: events.append(p.stage), finding=lambda f: events.append(f.code))
    report = run_generate(job(ConditionFile("ventricles", tmp_path / "off.nii.gz")), listeners).report
    assert events.index("VOXELS_LOST") < events.index("sampling")
    (finding,) = [f for f in report["conditions"][0]["findings"] if f["code"] == "VOXELS_LOST"]
    assert "35 of 140 voxels" in finding["sentence"] and "The ventricles file" in finding["sentence"]


def test_what_is_done_is_said_in_words(job, mask, tmp_path, tiny_packs, monkeypatch):
    shutil.copytree(tiny_packs, tmp_path / "packs")
    for name in ("tiny", "tiny-both"):
        manifest = tmp_path / "packs" / name / "manifest.json"
        content = json.loads(manifest.read_text())
        content["trained"] = dict.fromkeys(content["trained"], False)
        manifest.write_text(json.dumps(content))
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    said = []
    run_generate(job(mask), Listeners(words=said.append))
    text = "\n".join(said)
    assert "The denoiser of tiny is untrained" in text and "The control of tiny-both is untrained" in text
    assert "running on CPU" in text and "decode in slabs" in text and "not measured" in text


@pytest.mark.parametrize(("contrast", "says"), [(None, "synthetic image by"), ("FLAIR", "synthetic FLAIR by")])
def test_images_are_named_after_the_contrast_of_the_backbone(
    job, mask, tmp_path, tiny_packs, monkeypatch, contrast, says
):
    shutil.copytree(tiny_packs, tmp_path / "packs")
    path = tmp_path / "packs" / "tiny" / "manifest.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **({"contrast": contrast} if contrast else {})}))
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    titles = []
    monkeypatch.setattr(record, "save_montage", lambda file, **options: titles.append(options["title"]))
    report = run_generate(job(mask, uncontrolled=True, montage=True)).report
    for name in ("sample-0.nii.gz", "uncontrolled-0.nii.gz"):
        header = gzip.decompress((tmp_path / "out" / name).read_bytes())[148:228]
        assert header.startswith(says.encode())
        assert b"T1w" not in header
    assert titles == ["Synthetic FLAIR brain" if contrast else "Synthetic brain"]
    assert report["packs"]["backbone"]["contrast"] == (contrast or "") and "contrast" not in report["packs"]["control"]


def test_a_twin_without_a_condition_is_not_made_and_that_is_said(job):
    said = []
    run_generate(job(uncontrolled=True), Listeners(words=said.append))
    assert any("have no twin" in words for words in said)
    assert names(job().out) == DRAWN[1:]


def test_previews_that_nobody_takes_are_written_beside_the_results_and_named_in_the_report(job, mask):
    seen = []
    run_generate(job(mask, steps=5, preview_every=2), Listeners(preview=lambda *preview: seen.append(preview)))
    assert "preview-0.nii.gz" not in names(job().out) and [step for _, step, _ in seen] == [2, 4]
    result = run_generate(job(mask, steps=5, preview_every=2))
    assert np.array_equal(read_volume(job().out / "preview-0.nii.gz").array, seen[-1][2].array)
    assert "preview-0.nii.gz" in result.report["files"]
    run_generate(job(mask))
    assert "preview-0.nii.gz" not in names(job().out)


def test_an_earlier_run_is_replaced_whole_and_the_users_own_files_stay(job, mask):
    run_generate(job(mask, samples=2, uncontrolled=True))
    (job().out / "notes.txt").write_text("mine")
    result = run_generate(job(seed=8))
    assert names(job().out) == ["montage.png", "notes.txt", "report.json", "sample-0.nii.gz"]
    assert result.report["samples"][0]["seed"] == 8
    assert (job().out / "notes.txt").read_text() == "mine"


def test_a_run_that_is_cancelled_before_its_first_sample_leaves_the_earlier_results(job, mask):
    run_generate(job(mask, samples=2))
    before = bytes_of(job().out)
    for options in ({}, {"preview_every": 1}):
        steps = []
        listeners = Listeners(progress=steps.append, cancelled=lambda steps=steps: len(steps) == 2)
        with pytest.raises(VcmError) as caught:
            run_generate(job(mask, steps=4, **options), listeners)
        assert caught.value.code is Code.CANCELLED
        assert bytes_of(job().out) == before


def test_a_run_that_is_cancelled_later_keeps_its_finished_samples_and_a_true_report(job, mask):
    run_generate(job(mask, samples=3))
    steps = []
    listeners = Listeners(progress=steps.append, cancelled=lambda: len(steps) == 4)
    with pytest.raises(VcmError):
        run_generate(job(mask, samples=3, seed=20), listeners)
    report = json.loads((job().out / "report.json").read_text())
    assert report["complete"] is False and [s["seed"] for s in report["samples"]] == [20]
    assert sorted(report["files"]) == names(job().out) == DRAWN


def test_a_sample_is_on_disk_before_it_is_measured(job, mask, monkeypatch):
    def fail(*_, **__):
        report = json.loads((job().out / "report.json").read_text())
        assert report["samples"][0]["file"] == "sample-0.nii.gz" and report["samples"][0]["alignment"] is None
        raise VcmError(Code.INTERNAL, "The segmenter broke.")

    monkeypatch.setattr("vcm.runs.record.align", fail)
    with pytest.raises(VcmError, match="segmenter broke"):
        run_generate(job(mask))
    assert names(job().out) == ["condition-0.nii.gz", "report.json", "sample-0.nii.gz"]


def test_memory_that_shrinks_while_a_run_goes_on_does_not_end_it(job, mask):
    planned = []

    def load(*arguments):
        generator = load_generator(*arguments)
        plan = generator.plan

        def once_or_twice(batch=1):
            planned.append(batch)
            assert len(planned) <= 2, "the memory is planned before anything is sampled"
            return plan(batch)

        generator.plan = once_or_twice
        return generator

    run_generate(job(mask, samples=2), load=load)
    assert planned


def test_a_sample_whose_twin_cannot_be_written_is_taken_back_and_the_one_before_stays(job, mask, monkeypatch):
    def full(path, volume, **words):
        if path.name == "uncontrolled-1.nii.gz":
            raise VcmError(Code.DISK_FULL, f"{path} could not be written.")
        write_volume(path, volume, **words)

    monkeypatch.setattr("vcm.runs.record.write_volume", full)
    with pytest.raises(VcmError, match="uncontrolled-1"):
        run_generate(job(mask, samples=3, uncontrolled=True))
    report = json.loads((job().out / "report.json").read_text())
    assert names(job().out) == sorted([*DRAWN, "uncontrolled-0.nii.gz"])
    assert sorted(report["files"]) == names(job().out) and len(report["samples"]) == 1
    noise = seeded_noise(3, tiny.LATENT).numpy().tobytes()
    assert report["sampling"]["noise_sha256"] == hashlib.sha256(noise).hexdigest()
