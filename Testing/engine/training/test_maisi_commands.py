"""NVIDIA's generator from files to a trained control to an image, by the commands and the worker alone."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from command_line import vcm
from maisi_files import SHAPE, write_files
from small_cohort import write_cohort
from vcm.cohort.files import read_cases, write_table
from vcm.core.volume import Volume
from vcm.models.loading import scales_whole_scans
from vcm.packs.manifest import IntensityScale
from vcm.packs.store import find_pack
from vcm.protocol import ListPacks
from vcm.teach.case_check import FEWEST, check_cases
from vcm.teach.conditions import Taught
from vcm.volumes.volume_files import write_volume
from vcm.worker.survey import survey_packs

SETTINGS = """
backbone = "tiny-brain"
conditions = ["ventricles"]
steps = 3
batch = 1
warmup = 1
learning_rate = 0.02
ema = 0.3
precision = "fp32"
log_every = 1
"""
NETWORK = {"vcm": 'variant = "paper"\nnetwork = { encoder = { channels = [4, 8], norm_num_groups = 4 } }\n'}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The pack `tiny-brain`, a cohort of FLAIR heads on its grid, and a mask."""
    folder = tmp_path_factory.mktemp("maisi")
    files = write_files(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VCM_PACKS", str(folder / "packs"))
        done("packs", "import", "tiny-brain", "--family", "maisi", "--autoencoder", files["autoencoder"],
             "--denoiser", files["denoiser"], "--config", files["config"])  # fmt: skip
        grid = find_pack("tiny-brain").backbone.grid
    cases = write_cohort(folder / "cohort", 2, grid)
    told = {"contrast": 11.0, "guidance": 0.0}
    write_table({case.name: replace(case, attributes=told) for case in cases}, folder / "cohort")
    mask = np.zeros(SHAPE, np.uint8)
    mask[5:9, 6:30, 9:40] = 1
    write_volume(folder / "mask.nii.gz", Volume(mask, grid))
    (folder / "settings.toml").write_text(SETTINGS)
    return folder


@pytest.fixture(autouse=True)
def home(place, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(place / "packs"))


def done(*arguments):
    ended = vcm(*arguments)
    assert ended.code == 0, ended.err
    return ended


@pytest.mark.parametrize("kind", ["vcm", "controlnet-maisi", "ldm-fine-tuned"])
def test_a_control_is_planned_trained_exported_and_generates(place, tmp_path, kind):
    (tmp_path / "settings.toml").write_text(SETTINGS + NETWORK.get(kind, ""))
    usual = ("train", "control", "--config", tmp_path / "settings.toml", "--control-kind", kind,
             "--cases", place / "cohort", "--device", "cpu")  # fmt: skip
    plan = done(*usual, "--plan", "--out", tmp_path / "no").out
    assert "Memory: about" in plan and "TFLOP an item" in plan
    done(*usual, "--out", tmp_path / "run")
    name = f"tiny-brain-{kind}"
    done("train", "export", "--run", tmp_path / "run", "--out", place / "packs" / name)
    assert json.loads((place / "packs" / name / "manifest.json").read_text())["architecture"] == kind
    made = {}
    for strength in (0, 1):
        out = tmp_path / str(strength)
        done("generate", "--pack", "tiny-brain", "--control", name, "--condition",
             f"ventricles={place / 'mask.nii.gz'}", "--strength", f"ventricles={strength}", "--attribute",
             "contrast=SWI", "--sampler", "euler", "--steps", 2, "--seed", 4, "--out", out)  # fmt: skip
        made[strength] = np.asarray(nib.load(out / "sample-0.nii.gz").dataobj)
    done("generate", "--pack", "tiny-brain", "--attribute", "contrast=SWI", "--sampler", "euler", "--steps", 2,
         "--seed", 4, "--out", tmp_path / "alone")  # fmt: skip
    alone = np.asarray(nib.load(tmp_path / "alone" / "sample-0.nii.gz").dataobj)
    assert np.array_equal(made[0], alone) and not np.array_equal(made[1], alone)


def test_the_worker_and_the_report_name_the_contrasts_and_the_chosen_one(place, tmp_path):
    packs = survey_packs(ListPacks("1")).packs
    pack = next(entry for entry in packs if entry.name == "tiny-brain")
    contrast = next(entry for entry in pack.manifest["attributes"] if entry["name"] == "contrast")
    assert list(contrast["choices"])[:4] == ["T1w", "T2w", "FLAIR", "SWI"] and contrast["default"] == 9
    report = done("generate", "--pack", "tiny-brain", "--attribute", "contrast=flair", "--steps", 1, "--seed", 1,
                  "--out", tmp_path / "made", "--json").json  # fmt: skip
    told = {entry["name"]: entry for entry in report["attributes"]}
    assert (told["contrast"]["value"], told["contrast"]["raw"]) == ("FLAIR", 11)
    assert told["guidance"]["value"] == pytest.approx(2) and told["guidance"]["origin"] == "default"


def test_all_contrasts_are_made_from_one_noise_each_as_alone(place, tmp_path):
    usual = ("generate", "--pack", "tiny-brain", "--steps", 1, "--seed", 1, "--attribute", "guidance=3")
    report = done(*usual, "--attribute", "contrast=all", "--out", tmp_path / "all", "--json").json
    names = [sample["contrast"] for sample in report["samples"]]
    assert names[:4] == ["T1w", "T2w", "FLAIR", "SWI"] and len(names) == 10
    assert "sample-0-FLAIR-skull-stripped.nii.gz" in report["files"]
    done(*usual, "--attribute", "contrast=flair", "--out", tmp_path / "alone")
    alone = np.asarray(nib.load(tmp_path / "alone" / "sample-0.nii.gz").dataobj)
    made = [np.asarray(nib.load(tmp_path / "all" / sample["file"]).dataobj) for sample in report["samples"]]
    assert [np.array_equal(image, alone) for image in made] == [name == "FLAIR" for name in names]


def test_scans_are_scaled_as_for_the_published_networks_and_then_evaluated(place, tmp_path):
    """The brightest voxels of MR stay above 1, from the cohort to the evaluation."""
    for folder in ("scans", "found"):
        (tmp_path / folder).mkdir()
    manifest = find_pack("tiny-brain").backbone
    for made in write_cohort(tmp_path / "made", FEWEST, manifest.grid):
        head = made.read("image")
        array = 700 * head.array + 50
        array[10:12, 20:24, 30:34] = 1800
        write_volume(tmp_path / "scans" / f"{made.name}.nii.gz", Volume(array, head.grid))
        write_volume(tmp_path / "found" / f"{made.name}.nii.gz", made.read("labels"))
    assert not scales_whole_scans(replace(manifest, intensity=IntensityScale(-1000.0, 1000.0, "HU")))
    cohort = tmp_path / "own"
    done("cohort", "from-folder", tmp_path / "scans", "--segmentations", tmp_path / "found", "--labels", "segmenter",
         "--pack", "tiny-brain", "--registration", "none", "--out", cohort)  # fmt: skip
    for case in read_cases(cohort):
        array = case.read("image").array
        assert array.min() == 0 and array.max() > 2
    taught = Taught(("ventricles",))
    assert not check_cases(cohort, taught, manifest, taught.specs(manifest)).found
    (tmp_path / "settings.toml").write_text(SETTINGS + NETWORK["vcm"])
    done("train", "control", "--config", tmp_path / "settings.toml", "--cases", cohort, "--device", "cpu",
         "--out", tmp_path / "run")  # fmt: skip
    done("train", "export", "--run", tmp_path / "run", "--out", place / "packs" / "tiny-brain-own")
    done("evaluate", "tiny-brain-own", "--cases", cohort, "--steps", 1, "--out", tmp_path / "measured")
    measured = json.loads((tmp_path / "measured" / "summary.json").read_text())
    assert (measured["cases"], measured["left_out"]) == (FEWEST, {})
