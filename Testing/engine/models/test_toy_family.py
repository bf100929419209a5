"""A backbone and a control that nothing in the program knows of go through every door of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from small_cohort import write_cohort
from toy_site import GRID, write_backbone, write_site
from vcm.conditions.condition import Condition
from vcm.core.volume import Volume
from vcm.models.backbones.backbone import Residuals
from vcm.models.controls.control import Step
from vcm.models.loading import BACKBONES, CONTROLS, load_backbone, load_control
from vcm.models.process import PROCESSES, VariancePreserving
from vcm.packs.store import find_pack
from vcm.protocol import ConditionInput, Generate, Generated, Ready
from vcm.sampling.loop import sample_latents
from vcm.volumes.volume_files import read_volume, write_volume
from worker_client import WorkerClient

SETTINGS = """
architecture = "toy"
backbone = "toy"
conditions = ["ventricles"]
steps = 40
batch = 4
warmup = 2
learning_rate = 0.02
precision = "fp32"
sampling_steps = 2
log_every = 1
focus = 0.0
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the toy installed, its backbone's pack, a control trained on it from a cohort, and a mask."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / "site").mkdir()
    write_site(folder / "site")
    write_backbone(folder / "packs")
    write_cohort(folder / "cohort", 4, GRID)
    mask = np.zeros(GRID.shape, np.uint8)
    mask[3:9, 6:14, 10:20] = 1
    write_volume(folder / "mask.nii.gz", Volume(mask, GRID))
    (folder / "settings.toml").write_text(SETTINGS)
    run(folder, "train", "control", "--config", folder / "settings.toml", "--cases", folder / "cohort",
        "--out", folder / "run", "--device", "cpu")  # fmt: skip
    run(folder, "train", "export", "--run", folder / "run", "--out", folder / "packs" / "toy-ventricles")
    return folder


def environment(folder) -> dict[str, str]:
    return {
        **os.environ, "PYTHONPATH": str(folder / "site"), "VCM_PACKS": str(folder / "packs"), "OMP_NUM_THREADS": "1",
    }  # fmt: skip


def run(folder, *arguments) -> str:
    command = [sys.executable, "-m", "vcm", *map(str, arguments)]
    done = subprocess.run(
        command, env=environment(folder), cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_a_control_of_a_foreign_kind_is_trained_on_a_foreign_backbone_and_exported(place):
    rows = [line.split(",") for line in (place / "run" / "log.csv").read_text().splitlines()]
    loss = [float(row[rows[0].index("loss")]) for row in rows[1:]]
    assert np.mean(loss[-8:]) < 0.98 * np.mean(loss[:8])
    manifest = json.loads((place / "packs" / "toy-ventricles" / "manifest.json").read_text())
    assert manifest["architecture"] == "toy" and manifest["networks"] == {"variant": "toy", "width": 6}


def test_it_generates_and_the_condition_changes_the_image(place):
    run(place, "generate", "--pack", "toy", "--condition", f"ventricles={place / 'mask.nii.gz'}", "--age", 50,
        "--seed", 3, "--sampler", "euler", "--steps", 5, "--uncontrolled", "--out", place / "made")  # fmt: skip
    sample = read_volume(next((place / "made").glob("*sample-0*.nii.gz")))
    twin = read_volume(next((place / "made").glob("*uncontrolled-0*.nii.gz")))
    assert sample.grid.shape == GRID.shape and np.allclose(sample.grid.affine, GRID.affine)
    assert np.abs(sample.array - twin.array).max() > 1e-3
    report = json.loads((place / "made" / "report.json").read_text())
    assert report["synthetic"] is True


def test_it_is_evaluated(place):
    cohort, out = place / "cohort", place / "evaluated"
    run(place, "evaluate", "toy-ventricles", "--cases", cohort, "--out", out, "--steps", 2)
    assert (place / "evaluated" / "summary.json").is_file()


def test_the_worker_generates_with_it(place):
    client = WorkerClient(command=(sys.executable, "-m", "vcm.worker"), env=environment(place))
    try:
        client.get(Ready)
        condition = ConditionInput(name="ventricles", path=str(place / "mask.nii.gz"))
        client.send(
            Generate(id="1", out=str(place / "by-worker"), pack="toy", control="toy-ventricles",
                     conditions=(condition,), steps=3, sampler="ddim")
        )  # fmt: skip
        client.get(Generated, "1")
    finally:
        client.process.kill()


def test_without_the_package_it_is_refused_in_a_sentence(place):
    command = [sys.executable, "-m", "vcm", "generate", "--pack", "toy", "--out", str(place / "refused")]
    bare = {**environment(place), "PYTHONPATH": ""}
    done = subprocess.run(command, env=bare, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1 and "family of backbones 'toy'" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("class ToyBackbone(Backbone): ...", "NameError: name 'Backbone' is not defined"),
        ("class ToyBackbone", "SyntaxError: "),
        ("class OtherBackbone: ...", "has no attribute"),
    ],
)
def test_a_package_that_cannot_be_imported_is_named_with_the_reason(place, tmp_path, text, reason):
    write_site(tmp_path)
    (tmp_path / "toy_family.py").write_text(f"{text}\n")
    command = [sys.executable, "-m", "vcm", "generate", "--pack", "toy", "--out", str(tmp_path / "refused")]
    broken = {**environment(place), "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=broken, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "'toy" in done.stderr and "cannot be loaded from toy_family:" in done.stderr and reason in done.stderr


def test_a_strength_of_zero_is_the_backbone_alone_bit_for_bit(place, monkeypatch):
    monkeypatch.syspath_prepend(str(place / "site"))
    for loaded in (BACKBONES, CONTROLS, PROCESSES):  # what an installed package offers, asked for anew
        loaded._found.pop("toy", None)
    backbone = load_backbone(find_pack(place / "packs/toy"))
    control = load_control(find_pack(place / "packs/toy-ventricles"))
    mask = read_volume(place / "mask.nii.gz")
    noise, inputs = torch.randn(1, *backbone.latent_shape), torch.tensor([[0.3, 1.0]])
    alone = sample_latents(backbone, inputs, noise, steps=4)
    off, on = (
        sample_latents(backbone, inputs, noise, control, [Condition(control.conditions[0], mask, strength=s)], steps=4)
        for s in (0.0, 1.0)
    )
    assert torch.equal(off, alone) and not torch.equal(on, alone)


@pytest.mark.parametrize("kind", ["controlnet-lite", "t2i-adapter"])
def test_our_own_controls_that_need_residuals_steer_a_foreign_backbone(place, kind):
    """Its only place for residuals is the middle, and its three axes shrink differently."""
    out, pack = place / f"run-{kind}", place / "packs" / f"toy-{kind}"
    run(place, "train", "control", "--config", place / "settings.toml", "--control-kind", kind, "--steps", 8,
        "--cases", place / "cohort", "--out", out, "--device", "cpu")  # fmt: skip
    run(place, "train", "export", "--run", out, "--out", pack)
    run(place, "generate", "--pack", "toy", "--control", pack.name, "--condition",
        f"ventricles={place / 'mask.nii.gz'}", "--seed", 3, "--steps", 3, "--uncontrolled", "--sampler", "euler",
        "--out", out / "made")  # fmt: skip
    sample, twin = (read_volume(out / "made" / f"{one}-0.nii.gz").array for one in ("sample", "uncontrolled"))
    assert np.isfinite(sample).all() and np.abs(sample - twin).max() > 1e-4


def test_what_the_foreign_backbone_does_not_offer_is_refused_in_a_sentence(place):
    command = [sys.executable, "-m", "vcm", "train", "control", "--config", "settings.toml", "--control-kind",
               "controlnet", "--cases", "cohort", "--out", "refused-controlnet", "--device", "cpu"]  # fmt: skip
    done = subprocess.run(
        command, env=environment(place), cwd=place, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "family toy of the backbone toy cannot be copied" in done.stderr


def test_a_control_that_asks_for_another_latent_is_given_another_answer():
    asked = []

    def ask(latent, t, residuals):
        asked.append((float(latent.mean()), residuals is not None))
        return latent * 2

    latent = torch.full((1, 2, 1, 1, 1), 3.0)
    step = Step(VariancePreserving(), latent, torch.tensor([5.0]), ask)
    assert torch.equal(step.predict(), step.predict()) and asked == [(3.0, False)]
    assert float(step.predict(latent + 1).mean()) == 8 and float(step.predict().mean()) == 6
    step.predict(residuals=Residuals())
    step.predict(residuals=Residuals())
    assert asked == [(3.0, False), (4.0, False), (3.0, True), (3.0, True)]
