"""A control's own `scale_factor`, as the released recipe has it: with it, a control is trained, validated and used just
as on a backbone whose own scale factor is that number."""

import json

import numpy as np
import pytest
import tiny
import torch
from image_conditions import control_of, lopsided, skull
from small_cohort import write_cohort
from test_training_control import new_network, trainer
from test_training_export import DarkIsVentricle
from vcm.cohort.learning_cases import CohortCase, condition_specs
from vcm.conditions.attributes import resolve
from vcm.machine.runtime import choose_runtime
from vcm.models.loading import load_control
from vcm.packs.manifest_reading import write_manifest
from vcm.packs.store import find_pack
from vcm.sampling.generator import Generator
from vcm.sampling.request import GenerateRequest
from vcm.training.control.run import open_control_run
from vcm.training.control.settings import ControlSettings
from vcm.training.control.validation import ControlValidator
from vcm.training.export.export import export_run
from vcm.training.trainer.team import Team

RELEASED, BACKBONE = 0.8963, 0.6


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"))


def backbone_of(scale):
    backbone = tiny.backbone(prediction="v").requires_grad_(False)
    backbone.scale_factor = scale
    return backbone


def silent(control):
    """The control without any effect on the prediction: what remains is the scale, and its images."""
    with torch.no_grad():
        for parameter in control.network.heads.parameters():
            parameter.zero_()
    return control


def test_it_is_trained_on_latents_of_its_own_scale(tmp_path, monkeypatch):
    def losses(scale, **settings):
        backbone, folder = backbone_of(scale), tmp_path / f"{scale}-{len(settings)}"
        cohort = write_cohort(folder / "cohort")  # with a cache of its own
        with monkeypatch.context() as patch:
            patch.setattr(tiny, "backbone", lambda **_: backbone)
            learner = trainer(cohort, folder / "run", network=new_network(), **settings)
        return [learner.take_step()["loss"] for _ in range(3)]

    expected, found = losses(RELEASED), losses(BACKBONE, scale_factor=RELEASED)
    assert found == pytest.approx(expected, rel=2e-3)  # the cache keeps fp16
    assert losses(BACKBONE)[0] != pytest.approx(expected[0], rel=2e-2)


def validated(cases, scale, control, own=None):
    specs = condition_specs(["ventricles", "skull"])
    learned = [CohortCase(cases[0], tiny.GRID)]
    control.scale_factor = own
    return ControlValidator(backbone_of(scale), DarkIsVentricle(), specs, learned, 2).validate(control)[0]


@pytest.mark.parametrize("as_latents", [(), ("skull",)])
def test_its_validation_matches_and_decodes_in_that_scale_and_the_twin_in_the_backbones(cases, as_latents):
    control = silent(control_of(*as_latents))
    mine = validated(cases, BACKBONE, control, RELEASED)
    expected = validated(cases, RELEASED, control)
    plain = validated(cases, BACKBONE, control)
    assert np.allclose(mine.sample.array, expected.sample.array, atol=0.03)  # bf16
    assert np.abs(mine.sample.array - plain.sample.array).max() > 0.1
    assert np.array_equal(mine.twin.array, plain.twin.array)


@pytest.mark.parametrize("as_latents", [(), ("skull",)])
def test_a_sample_is_matched_and_decoded_in_that_scale_and_the_twin_in_the_backbones(as_latents):
    def images(scale, own=None):
        control = silent(control_of(*as_latents))
        control.scale_factor = own
        request = GenerateRequest(
            resolve(tiny.backbone().attributes), (skull(lopsided()),), steps=2, seed=4, uncontrolled=True
        )
        (sample,) = Generator(backbone_of(scale), control, choose_runtime("cpu")).generate(request)
        return sample.volume.array, sample.uncontrolled.array

    (mine, twin), (expected, _), (plain, own_twin) = images(BACKBONE, RELEASED), images(RELEASED), images(BACKBONE)
    assert np.allclose(mine, expected, atol=1e-4)
    assert np.abs(mine - plain).max() > 0.1
    assert np.array_equal(twin, own_twin)


def test_a_pack_of_it_says_so_and_is_loaded_with_it(tmp_path, monkeypatch):
    """From the settings to the pack's manifest to the control that is used."""
    tiny.write_packs(tmp_path / "packs")
    home = tmp_path / "packs" / "tiny"
    manifest = json.loads((home / "manifest.json").read_text())
    manifest["latent"]["scale_factor"] = BACKBONE
    write_manifest(home, manifest)
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    cases = [CohortCase(case, tiny.GRID) for case in write_cohort(tmp_path / "cohort")]
    settings = ControlSettings(
        backbone="tiny", conditions=("skull",), steps=1, batch=2, precision="fp32", sampling_steps=1,
        scale_factor=RELEASED,
    )  # fmt: skip
    run = open_control_run(
        settings, cases, tmp_path / "run", latents=tmp_path / "latents", team=Team("cpu"), unseen=cases[:1]
    )
    backbone, scales = run.task.backbone, []
    decode = backbone.decode
    backbone.decode = lambda latent, scale=None: (scales.append(scale), decode(latent, scale))[1]
    run.trainer.train()
    assert set(scales) == {RELEASED, None}  # the controlled samples of its validation, and their twins
    export_run(tmp_path / "run", tmp_path / "packs" / "own")
    pack = find_pack("own")
    assert pack.control.scale_factor == load_control(pack).scale_factor == RELEASED
