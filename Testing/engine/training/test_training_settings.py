"""The settings of trainings."""

import math
from pathlib import Path

import pytest
from vcm.core.errors import Code, VcmError
from vcm.outputs.atomic_files import write_json
from vcm.packs import store
from vcm.runs.choice import choose_packs
from vcm.teach.request import TeachRequest
from vcm.training.backbone.autoencoder_settings import AutoencoderSettings
from vcm.training.backbone.denoiser_settings import DenoiserSettings
from vcm.training.backbone.segmenter_settings import SegmenterSettings
from vcm.training.control.settings import ControlSettings
from vcm.training.kinds import SETTINGS_OF, settings_of

ROOT = Path(__file__).resolve().parents[3]


def test_settings_are_read_from_toml(tmp_path):
    (tmp_path / "a.toml").write_text('steps = 70\nconditions = ["ventricles", "brain"]\nlearning_rate = 2e-4\n')
    settings = ControlSettings.read(tmp_path / "a.toml")
    assert (settings.steps, settings.conditions, settings.learning_rate) == (70, ("ventricles", "brain"), 2e-4)


def test_tables_say_what_is_different_for_each_condition(tmp_path):
    (tmp_path / "a.toml").write_text(
        'conditions = ["brain", "semantics"]\n[dropout]\nbrain = 0.3\n'
        '[focus]\nbrain = 2\n"semantics:4,5" = 6\n"brain edge" = 1\n'
    )
    settings = ControlSettings.read(tmp_path / "a.toml")
    assert settings.dropout == {"brain": 0.3}
    assert settings.focus == {"brain": 2, "semantics:4,5": 6, "brain edge": 1}


@pytest.mark.parametrize(
    "settings",
    [
        ControlSettings(
            steps=7, l1=0.25, weighting="min_snr", conditions=("a", "b"), dropout={"a": 0.5}, focus={"a": 1}
        ),
        DenoiserSettings(scratch=True, network={"channels": [8, 8]}, packing=2, prediction="v"),
        AutoencoderSettings(coarsen=2, kl=1e-3),
        SegmenterSettings(reconstructed=0.0),
    ],
)
def test_settings_of_every_kind_survive_being_kept(tmp_path, settings):
    write_json(tmp_path / "settings.json", settings.as_dict())
    assert settings_of(tmp_path) == settings


def test_every_kind_has_settings_that_stand_by_themselves():
    kinds = {"control", "denoiser", "autoencoder", "segmenter", "layout", "label-autoencoder"}
    assert {cls().kind for cls in SETTINGS_OF.values()} == kinds


def test_the_default_backbone_is_named_in_one_place(monkeypatch):
    monkeypatch.setattr(store, "DEFAULT_BACKBONE", "other")
    request = TeachRequest(Path("cases"), "name")
    assert {request.backbone, *(cls().backbone for cls in SETTINGS_OF.values())} == {"other"}
    with pytest.raises(VcmError, match="other"):
        choose_packs(None, None, ())
    monkeypatch.undo()
    assert ControlSettings().backbone == "brainldm-mini"


SHIPPED = sorted(path for path in (ROOT / "training").rglob("*.toml") if path.parent.name != "recipes")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_settings_that_the_repository_ships_are_settings(path):
    kind = next((kind for kind in SETTINGS_OF if kind in path.stem), "control")
    assert SETTINGS_OF[kind].read(path).steps > 0


def test_a_name_that_is_no_setting_is_refused(tmp_path):
    (tmp_path / "a.toml").write_text("step = 70\n")
    with pytest.raises(
        VcmError, match=r"a\.toml .* control: it has no setting step \(did you mean steps\?\)"
    ) as caught:
        ControlSettings.read(tmp_path / "a.toml")
    assert "learning_rate" in caught.value.remedy


def test_a_file_for_another_kind_is_refused(tmp_path):
    (tmp_path / "a.toml").write_text('kind = "denoiser"\nsteps = 70\n')
    with pytest.raises(VcmError, match="for training a denoiser; settings for a control are needed"):
        ControlSettings.read(tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"steps": 0}, "The setting steps must be at least 1, not 0"),
        ({"ema": 1.0}, "ema must be"),
        ({"learning_rate": -1.0}, "learning_rate must be above 0"),
        ({"course": "steep"}, "one of cosine, linear, constant"),
        ({"weighting": "snr"}, "one of epsilon, v, min_snr"),
        ({"conditions": []}, "one or more different names"),
        ({"conditions": ["a", "a"]}, "one or more different names"),
        ({"steps": "many"}, "its setting steps must be a whole number, not many"),
        ({"steps": True}, "its setting steps must be a whole number, not true"),
        ({"steps": 2.5}, "its setting steps must be a whole number, not 2.5"),
        ({"clip": math.nan}, "clip must be a number, not nan"),
        ({"flip": 1.5}, "flip must be between 0 and 1, not 1.5"),
        ({"scale_factor": 0}, "scale_factor must be above 0, not 0"),
        ({"focus": True}, "focus must be a number or a table, not true"),
        ({"focus": {"ventricles": "much"}}, r"focus\.ventricles' must be a number, not much"),
        ({"dropout": {"brain": 0.3}}, "a probability below 1 for some of ventricles"),
        ({"dropout": "half"}, "one of none, paper, uniform"),
        ({"variant": "released", "dropout": "paper"}, "none where all conditions share one encoder"),
        ({"focus": {"brain": 3}}, "a number from 0 for some of ventricles"),
        ({"focus": {"brain edge": 3}}, "a number from 0 for some of ventricles"),
        ({"focus": {"ventricles:left": 3}}, "a number from 0 for some of ventricles"),
        ({"l1": "much"}, "one of paper, released or a number"),
        ({"regression_steps": 3000}, "fewer than steps"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_range(entry, words):
    with pytest.raises(VcmError, match=words):
        ControlSettings.from_dict(entry)


@pytest.mark.parametrize("entry", [{"packing": 2}, {"last": 0}, {"network": {"channels": [8]}}])
def test_a_pack_s_denoiser_keeps_its_network_and_its_schedule(entry):
    (name,) = entry
    with pytest.raises(VcmError, match=f"{name} must be left out unless scratch"):
        DenoiserSettings(**entry)
    assert getattr(DenoiserSettings(scratch=True, **entry), name) == entry[name]


def test_a_broken_file_is_told(tmp_path):
    (tmp_path / "a.toml").write_text("steps = = 3")
    with pytest.raises(VcmError) as caught:
        ControlSettings.read(tmp_path / "a.toml")
    assert caught.value.code is Code.FILE_UNREADABLE


def test_what_may_not_change_is_named():
    one, other = ControlSettings(steps=5, focus=1.0), ControlSettings(steps=50, focus=2.0, micro_batch=1)
    assert one.differences(other) == ["focus"]
