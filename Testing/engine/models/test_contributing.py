"""The examples of CONTRIBUTING.md, in a package of their own: each is installed, trained and used as it says there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_cohort import write_cohort
from tiny import GRID
from torch import nn
from vcm.core.volume import Volume
from vcm.packs.manifest_reading import write_manifest
from vcm.volumes.volume_files import read_volume, write_volume

GUIDE = Path(__file__).parents[3] / "CONTRIBUTING.md"
SETTINGS = """
architecture = "additive"
backbone = "mine"
conditions = ["ventricles"]
steps = 30
batch = 4
warmup = 2
learning_rate = 0.05
precision = "fp32"
"""


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The examples as an installed package, a pack of the backbone, and a control trained on it and exported."""
    folder = tmp_path_factory.mktemp("guide")
    home = folder / "my_models-1.0.dist-info"
    home.mkdir()
    (folder / "my_models.py").write_text("\n\n".join(blocks("python")), encoding="utf-8")
    (home / "METADATA").write_text("Metadata-Version: 2.1\nName: my-models\nVersion: 1.0\n")
    (entries,) = blocks("toml")
    points = re.sub(r'\[project\.entry-points\."(.*?)"\]', r"[\1]", entries).replace('"', "")
    (home / "entry_points.txt").write_text(points)
    backbone = folder / "packs" / "mine"
    backbone.mkdir(parents=True)
    torch.manual_seed(0)
    save_file(nn.Conv3d(1, 1, 3, padding=1).state_dict(), backbone / "denoiser.safetensors")
    save_file({"unused": torch.zeros(1)}, backbone / "autoencoder.safetensors")
    write_manifest(
        backbone,
        {
            "format": 1, "kind": "backbone", "family": "mine", "name": "mine", "title": "Mine", "version": "1",
            "licence": {"name": "Apache-2.0"}, "grid": GRID.as_dict(), "attributes": [],
            "files": {role: {"path": f"{role}.safetensors"} for role in ("autoencoder", "denoiser")},
            "latent": {"shape": [1, 4, 6, 8], "scale_factor": 1.0},
            "schedule": {"kind": "cosine", "timesteps": 1000, "prediction": "v"},
            "networks": {"autoencoder": {}, "denoiser": {}}, "trained": {"autoencoder": True, "denoiser": True},
        },
    )  # fmt: skip
    write_cohort(folder / "cohort", 4)
    mask = np.zeros(GRID.shape, np.uint8)
    mask[3:11, 6:14, 9:23] = 1
    write_volume(folder / "mask.nii.gz", Volume(mask, GRID))
    (folder / "settings.toml").write_text(SETTINGS)
    run(folder, "train", "control", "--config", "settings.toml", "--cases", "cohort", "--out", "run", "--device", "cpu")
    run(folder, "train", "export", "--run", "run", "--out", "packs/mine-ventricles")
    return folder


def run(folder, *arguments):
    environment = {**os.environ, "VCM_PACKS": str(folder / "packs"), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    ended = subprocess.run(
        [sys.executable, "-m", "vcm", *map(str, arguments)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended


def generate(folder, out, *options):
    run(folder, "generate", "--pack", "mine", "--control", "mine-ventricles", "--condition", "ventricles=mask.nii.gz",
        "--seed", "3", "--steps", "6", "--uncontrolled", "--device", "cpu", "--out", out, *options)  # fmt: skip
    return [read_volume(folder / out / f"{name}-0.nii.gz").array for name in ("sample", "uncontrolled")]


def test_the_backbone_is_steered_by_the_control(place):
    sample, twin = generate(place, "usual")
    assert sample.shape == GRID.shape and np.isfinite(sample).all()
    changed = np.abs(sample - twin)
    assert changed[4:8, 8:12, 12:20].mean() > 10 * max(changed[:, :, :4].mean(), 1e-6)


def test_the_sampler_is_found_by_its_name_and_goes_another_way(place):
    usual, _ = generate(place, "usual-again")
    other, _ = generate(place, "other", "--sampler", "ddim-snr")
    assert np.isfinite(other).all() and np.abs(other - usual).max() > 1e-3


def test_the_preparer_gives_the_control_a_border(place):
    pack = place / "packs" / "mine-ventricles"
    manifest = json.loads((pack / "manifest.json").read_text())
    manifest["conditions"][0]["preparer"] = "border"
    manifest["name"] = "mine-border"
    run(place, "packs", "list")
    other = place / "packs" / "mine-border"
    other.mkdir()
    for name in ("control.safetensors",):
        (other / name).write_bytes((pack / name).read_bytes())
    write_manifest(other, manifest)
    whole, twin = generate(place, "whole")
    border, _ = generate(place, "border", "--control", "mine-border")
    inside = np.s_[6:8, 9:11, 14:18]
    assert np.abs(whole - twin)[inside].mean() > 2 * np.abs(border - twin)[inside].mean()
    assert np.abs(border - twin).max() > 1e-3


def refused(place, *arguments):
    """What a training of a control is answered that ends in a sentence."""
    environment = {**os.environ, "VCM_PACKS": str(place / "packs"), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(place)}
    ended = subprocess.run(
        [sys.executable, "-m", "vcm", "train", "control", *arguments,
         "--cases", "cohort", "--out", "refused", "--device", "cpu"],
        cwd=place, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode in (1, 2) and "Traceback" not in ended.stderr, ended.stderr
    return ended.stderr


def test_a_control_that_needs_residuals_is_refused_on_a_backbone_that_takes_none(place):
    said = refused(place, "--backbone", "mine", "--control-kind", "controlnet")
    assert "controlnet adds to the layers within its backbone, and mine takes nothing there" in said


def test_an_option_that_the_control_does_not_have_is_refused_by_name(place):
    (place / "unknown.toml").write_text(SETTINGS + "network = {colour = 3}\n")
    assert "no part colour" in refused(place, "--config", "unknown.toml")
