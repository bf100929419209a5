"""The settings of a training."""

import pytest
from vcm.errors import Code, VcmError
from vcm.training.control_config import ControlTraining


def test_settings_are_read_from_toml(tmp_path):
    (tmp_path / "a.toml").write_text('steps = 70\nconditions = ["ventricles", "brain"]\nlearning_rate = 2e-4\n')
    settings = ControlTraining.read(tmp_path / "a.toml")
    assert (settings.steps, settings.conditions, settings.learning_rate) == (70, ("ventricles", "brain"), 2e-4)


def test_settings_survive_being_kept(tmp_path):
    from vcm.atomic_files import write_json

    settings = ControlTraining(steps=7, l1_weight=0.25, weighting="min_snr")
    write_json(tmp_path / "settings.json", settings.as_dict())
    assert ControlTraining.read(tmp_path / "settings.json") == settings


def test_a_name_that_is_no_setting_is_refused(tmp_path):
    (tmp_path / "a.toml").write_text("step = 70\n")
    with pytest.raises(VcmError, match=r"a\.toml names step, which is no setting") as caught:
        ControlTraining.read(tmp_path / "a.toml")
    assert "learning_rate" in caught.value.remedy


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"steps": 0}, "steps must be at least 1; 0 was given"),
        ({"ema": 1.0}, "ema must be"),
        ({"learning_rate": -1.0}, "learning_rate must be above 0"),
        ({"weighting": "snr"}, "one of epsilon, v, min_snr"),
        ({"conditions": ["tumour"]}, "some of ventricles, brain"),
        ({"conditions": []}, "some of ventricles, brain"),
        ({"steps": "many"}, "wrong kind"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_range(entry, words):
    with pytest.raises(VcmError, match=words):
        ControlTraining.from_dict(entry)


def test_a_broken_file_is_told(tmp_path):
    (tmp_path / "a.toml").write_text("steps = = 3")
    with pytest.raises(VcmError) as caught:
        ControlTraining.read(tmp_path / "a.toml")
    assert caught.value.code is Code.FILE_UNREADABLE
