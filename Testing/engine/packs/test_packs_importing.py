"""Published checkpoints become packs, or end in a sentence that names the file and what does not fit."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sample_packs import AFFINE, CONFIG, changed, make_checkpoints
from vcm.conditions.condition import Kind
from vcm.core.errors import Code, VcmError
from vcm.packs.importing import import_control, import_published
from vcm.packs.published_config import check_backbone_fits, check_control_fits, read_config
from vcm.packs.store import controls_for, find_pack, list_packs, open_weights
from vcm.packs.tensors.checkpoints import read_checkpoint


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return make_checkpoints(tmp_path_factory.mktemp("published"))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    return tmp_path / "packs"


def nothing_installed(home):
    return not home.exists() or not any(home.iterdir())


def test_a_backbone_and_its_control_become_two_packs_that_know_each_other(published):
    backbone, control = import_published("tiny", **published, config=CONFIG)
    assert [backbone.name, control.name] == ["tiny", "tiny-tissue-skull"]
    assert [pack.name for pack in controls_for(backbone)] == ["tiny-tissue-skull"]
    manifest = backbone.backbone
    assert manifest.grid.shape == (16, 24, 32)
    assert manifest.grid.affine.tolist() == AFFINE
    assert manifest.latent.shape == (3, 4, 6, 8)
    assert manifest.latent.scale_factor == control.control.scale_factor == 0.75
    assert (manifest.contrast, manifest.body_part) == ("T1w", "BRAIN")
    assert (manifest.process.timesteps, manifest.process.kind) == (800, "linear")
    assert [spec.name for spec in manifest.attributes] == ["sex", "age", "ventricular_volume", "brain_volume"]
    assert control.control.networks["variant"] == "released"
    assert [(spec.name, spec.kind, spec.channels) for spec in control.control.conditions] == [
        ("tissue", Kind.LABELS, 2),
        ("skull", Kind.IMAGE, 1),
    ]
    assert [(c.value, c.name) for c in control.control.conditions[0].classes] == [
        (1, "white matter"),
        (2, "grey matter"),
    ]


def test_the_weights_arrive_unchanged(published):
    backbone, control = import_published("tiny", **published, config=CONFIG)
    before = read_checkpoint(published["denoiser"])
    after = open_weights(backbone, "denoiser")
    assert len(after) == len(before)
    assert torch.equal(after["conv_in.conv.weight"], before["conv_in.conv.weight"])
    assert torch.equal(
        open_weights(control, "control")["encoders.shared.conv_in.conv.weight"],
        read_checkpoint(published["control"])["modality_encoder.conv_in.conv.weight"],
    )


def test_imported_networks_can_be_loaded_and_run(published):
    from vcm.models.controls.control import Step
    from vcm.models.loading import load_backbone, load_control

    packs = import_published("tiny", **published, config=CONFIG)
    backbone, control = load_backbone(packs[0]), load_control(packs[1])
    generator = torch.Generator().manual_seed(3)
    latent = torch.randn(1, 3, 4, 6, 8, generator=generator)
    attributes = torch.tensor([[0.0, 0.3, 0.6, 0.9]])
    given = {"tissue": torch.ones(1, 2, 16, 24, 32), "skull": torch.zeros(1, 1, 16, 24, 32)}
    everything = frozenset(given)
    with torch.no_grad():
        state = control.prepare(given, [everything])
        step = Step(backbone.process, latent, torch.tensor([500]), lambda z, t, _: backbone.predict(z, t, attributes))
        eps = control.guide(step, state, everything)
        assert eps.shape == latent.shape
        assert backbone.decode(latent).shape == (1, 1, 16, 24, 32)


def test_a_control_alone_joins_an_installed_backbone(published):
    backbone = import_published("tiny", **{**published, "control": None}, config=CONFIG)[0]
    pack = import_control("mine", published["control"], backbone, config=CONFIG)
    assert [control.name for control in controls_for(backbone)] == ["mine"]
    assert pack.control.backbone.name == "tiny"


def test_a_pack_is_replaced_only_when_forced(published):
    options = {**published, "control": None, "config": CONFIG}
    import_published("tiny", **options)
    with pytest.raises(VcmError, match="There is a pack tiny already"):
        import_published("tiny", **options)
    import_published("tiny", **options, force=True)


def test_swapped_files_are_named_and_nothing_is_installed(published, home):
    with pytest.raises(VcmError) as caught:
        import_published("tiny", autoencoder=published["denoiser"], denoiser=published["autoencoder"], config=CONFIG)
    assert str(published["denoiser"]) in caught.value.sentence
    assert nothing_installed(home)


def test_a_bad_control_leaves_no_backbone_behind(published, home):
    with pytest.raises(VcmError) as caught:
        import_published("tiny", **{**published, "control": published["autoencoder"]}, config=CONFIG)
    assert str(published["autoencoder"]) in caught.value.sentence
    assert nothing_installed(home)


def test_a_control_whose_name_is_taken_is_refused_before_any_work(published, home):
    import_published("tiny", **published, config=CONFIG)
    find_pack("tiny").folder.rename(home / "aside")
    with pytest.raises(VcmError, match="There is a pack tiny-tissue-skull already"):
        import_published("tiny", **published, config=CONFIG)
    assert "tiny" not in {entry.name for entry in list_packs()}


def test_without_the_configuration_a_small_checkpoint_is_refused_with_a_hint(published):
    with pytest.raises(VcmError) as caught:
        import_published("tiny", **published)
    assert "--config" in caught.value.remedy


def test_the_full_size_configuration_is_the_default():
    config = read_config()
    assert config.grid.shape == (160, 224, 160)
    assert config.grid.orientation == "LAS"
    assert config.latent_shape == (20, 28, 20)
    assert config.scale_factor == 1.0
    assert config.control_scale_factor == pytest.approx(0.8962649106979370)
    assert config.schedule == {
        "timesteps": 1000,
        "kind": "scaled_linear",
        "beta_start": 0.0015,
        "beta_end": 0.0205,
        "prediction": "epsilon",
    }
    classes = config.conditions[0]["classes"]
    assert [c["value"] for c in classes] == list(range(1, 9))
    assert [c["name"] for c in classes][2:4] == ["ventricles", "deep grey matter"]
    check_backbone_fits(config)
    check_control_fits(config, config.grid.shape, config.latent_shape, config.latent_channels)


def test_the_default_affine_puts_the_brain_where_mni_space_has_it():
    grid = read_config().grid
    # The anterior commissure lies at the origin of MNI space.
    origin = grid.to_voxel((0, 0, 0))
    assert np.allclose(origin, (81, 126, 60.5))
    published = grid.affine.copy()
    published[:3, 3] = (96.48149872, -141.47715759, -156.55375671)
    assert np.linalg.norm(published[:3, 3] - grid.affine[:3, 3]) > 80


def test_another_image_shape_keeps_the_field_of_view():
    config = read_config({"image_shape": [80, 112, 40]})
    assert config.latent_shape == (10, 14, 5)
    assert config.grid.spacing == (2.0, 2.0, 4.0)
    assert np.allclose(config.grid.centre, read_config().grid.centre)


def test_one_scale_factor_in_a_configuration_holds_for_both():
    config = read_config({"scale_factor": 0.6})
    assert (config.scale_factor, config.control_scale_factor) == (0.6, 0.6)


def test_conditions_that_are_not_described_get_a_class_for_each_channel():
    config = read_config(changed(CONFIG, "conditions", ...))
    assert [entry["name"] for entry in config.conditions] == ["semantics"]
    assert [c["name"] for c in config.conditions[0]["classes"]] == ["class 1", "class 2", "class 3"]


def test_another_number_of_scalars_is_taken_without_names():
    given = changed(changed(CONFIG, "diffusion.in_channels", 5), "diffusion.cross_attention_dim", 2)
    config = read_config(given)
    check_backbone_fits(config)
    assert [entry["name"] for entry in config.attributes] == ["attribute_1", "attribute_2"]


def test_a_configuration_may_name_another_contrast():
    assert read_config({"contrast": "FLAIR"}).contrast == "FLAIR"
    assert read_config({"body_part": "KNEE"}).body_part == "KNEE"


def test_unknown_keys_are_left_alone():
    assert read_config({"param_counts": {"vcm": 3}, "note": "x"}).grid.shape == (160, 224, 160)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("image_shape", [16, 24], "“image_shape” must be three whole numbers"),
        ("image_shape", [16, 24, 33], "do not go together"),
        ("latent_shape", [4, 8, 6], "makes the image 4 times smaller"),
        ("image_shape.1", 0, "a whole number from 1 to 65536, not 0"),
        ("scale_factor", -1, "a number above 0"),
        ("scale_factor", "1", "a number above 0"),
        ("autoencoder", [], "an object"),
        ("autoencoder.spatial_dims", 2, "must be 3, not 2"),
        ("diffusion.num_channels", 8, "a list of 1 to 8 whole numbers"),
        ("scheduler.schedule", "cosine", "scaled_linear_beta"),
        ("scheduler.clip_sample", True, "never clipped"),
        ("affine", [[1, 0, 0, 0]] * 4, "invertible"),
        ("conditions.0.name", "white matter", "at most 40 letters"),
        ("conditions.0.classes.1", "white matter", "white matter stands twice"),
        ("conditions.1.name", "tissue", "tissue stands twice"),
        ("conditions.1.classes", ["bone"], "which has no classes"),
        ("conditions.0.classes", 5, "must be a list"),
    ],
)
def test_a_wrong_configuration_is_named_field_by_field(field, value, says):
    with pytest.raises(VcmError) as caught:
        read_config(changed(CONFIG, field, value), "small.json")
    assert caught.value.code is Code.PACK_INVALID
    assert "small.json" in caught.value.sentence
    assert says in caught.value.sentence


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("diffusion.out_channels", 4, "gives 4 channels, but the latent has 3"),
        ("diffusion.in_channels", 9, "6 channels beside the latent's 3"),
        ("diffusion.num_channels", [8, 16, 16, 16], "8 times smaller"),
        ("conditions", [{"name": "ventricles", "kind": "mask"}], "takes 3 channels, but the conditions have 1 of"),
        ("vcm_encoder.num_channels", [4, 8, 8], "halves the image (16, 24, 32) 3 times"),
        ("vcm_unet.in_channels", 15, "latent, noise and encoding have 14"),
        ("autoencoder.norm_num_groups", 3, "can be built"),
        ("diffusion.num_channels", [8, 12], ""),
        ("vcm_unet.out_channels", 12, ""),
        ("autoencoder.made_up", 1, "made_up"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused_before_anything_is_written(published, home, field, value, says):
    with pytest.raises(VcmError) as caught:
        import_published("tiny", **published, config=changed(CONFIG, field, value))
    assert caught.value.code is Code.PACK_INVALID
    assert says in caught.value.sentence
    assert nothing_installed(home)


def test_a_control_of_another_backbone_is_refused(published):
    backbone = import_published("tiny", **{**published, "control": None}, config=CONFIG)[0]
    with pytest.raises(VcmError, match="do not fit together"):
        import_control("mine", published["control"], backbone)


def test_the_given_configuration_is_not_changed(published):
    config = copy.deepcopy(CONFIG)
    import_published("tiny", **published, config=config)
    assert config == CONFIG
