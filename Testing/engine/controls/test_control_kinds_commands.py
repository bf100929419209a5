"""Every kind of control from a cohort to a pack to an image, by the commands alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny
from command_line import vcm
from small_cohort import write_cohort
from tiny_controls import KINDS
from vcm.core.volume import Volume
from vcm.volumes.volume_files import read_volume, write_volume

SETTINGS = """
backbone = "tiny"
conditions = ["ventricles", "skull"]
steps = 6
batch = 2
warmup = 1
learning_rate = 0.03
ema = 0.3
precision = "fp32"
dropout = "uniform"
log_every = 1
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    tiny.write_packs(folder / "packs")
    write_cohort(folder / "cohort", 3)
    (folder / "settings.toml").write_text(SETTINGS)
    mask = np.zeros(tiny.GRID.shape, np.uint8)
    mask[5:8, 6:11, 9:17] = 1
    write_volume(folder / "mask.nii.gz", Volume(mask, tiny.GRID))
    return folder


def done(*arguments):
    ended = vcm(*arguments)
    assert ended.code == 0, ended.err
    return ended


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_trained_exported_and_generates(place, kind, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(place / "packs"))
    name, run = f"tiny-{kind}", place / f"run-{kind}"
    done("train", "control", "--config", place / "settings.toml", "--control-kind", kind, "--cases", place / "cohort",
         "--out", run, "--device", "cpu")  # fmt: skip
    done("train", "export", "--run", run, "--out", place / "packs" / name)
    written = json.loads((place / "packs" / name / "manifest.json").read_text())
    assert written["architecture"] == kind and written["subsets"] is True
    usual = (
        "generate", "--pack", "tiny", "--seed", 3, "--steps", 3, "--no-montage", "--device", "cpu",
        "--attribute", "ventricular_volume.raw=0.3", "--attribute", "brain_volume.raw=0.6",
    )  # fmt: skip
    steered = (*usual, "--control", name, "--condition", f"ventricles={place / 'mask.nii.gz'}")
    done(*steered, "--out", run / "made")
    done(*steered, "--strength", "ventricles=0", "--out", run / "off")
    done(*usual, "--out", run / "alone")
    sample, off, alone = (read_volume(run / one / "sample-0.nii.gz") for one in ("made", "off", "alone"))
    assert np.allclose(sample.grid.affine, tiny.GRID.affine) and np.isfinite(sample.array).all()
    assert np.array_equal(off.array, alone.array)
    assert np.abs(sample.array - alone.array).max() > 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_the_plan_of_a_training_counts_it(place, kind, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(place / "packs"))
    ended = done("train", "control", "--config", place / "settings.toml", "--control-kind", kind, "--plan",
                 "--cases", place / "cohort", "--out", place / f"planned-{kind}", "--device", "cpu")  # fmt: skip
    assert "Memory: about" in ended.out and not (place / f"planned-{kind}").exists()


def test_an_unknown_kind_is_refused_with_the_kinds_there_are(place, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(place / "packs"))
    ended = vcm("train", "control", "--config", place / "settings.toml", "--control-kind", "control-net",
                "--cases", place / "cohort", "--out", place / "unknown", "--device", "cpu")  # fmt: skip
    assert ended.code != 0 and "controlnet" in ended.err and "Traceback" not in ended.err
