import numpy as np
import pytest
from phantoms import grid_in, head_labels
from vcm.cli.inputs import parse_attributes
from vcm.conditions.attributes import AttributeSpec, canonical_name, resolve
from vcm.conditions.condition import Condition, ConditionSpec
from vcm.core.errors import VcmError
from vcm.core.volume import Volume

GRID = grid_in("LAS", (37, 53, 41), (2, 1.5, 1.75))
SEX = AttributeSpec("sex", "Sex", choices={"F": 0.0, "M": 1.0})
AGE = AttributeSpec("age", "Age", "years", low=44, high=82)
VENTRICLES = AttributeSpec("ventricular_volume", "Ventricular volume", "ml", low=1, high=5, structures=(4, 43))
BRAIN = AttributeSpec("brain_volume", "Brain volume", "ml", default=0.4)
ALL = (SEX, AGE, VENTRICLES, BRAIN)


def by_name(values):
    return {value.spec.name: value for value in values}


def condition(segmenter, *, kind="mask"):
    classes = [{"name": f"part {n}", "value": n, "segmenter": s} for n, s in enumerate(segmenter, start=1)]
    spec = ConditionSpec.from_dict({"name": "painted", "kind": kind, "classes": classes})
    labels = head_labels(GRID)
    return Condition(spec, Volume((labels.array == 1).astype(np.uint8), GRID) if kind == "mask" else labels)


def millilitres(*values):
    return np.isin(head_labels(GRID).array, values).sum() * GRID.voxel_ml


def test_human_units_become_the_networks_numbers_and_back():
    for years in (44, 58.5, 82):
        assert AGE.to_human(AGE.to_raw(years)) == pytest.approx(years)
    assert AGE.to_raw("63") == pytest.approx(0.5)


@pytest.mark.parametrize("years", [43, 83, float("nan"), float("inf"), "old", None, ""])
def test_an_age_that_the_model_never_saw_is_refused(years):
    with pytest.raises(VcmError, match="Age must") as caught:
        AGE.to_raw(years)
    assert caught.value.code == "ATTRIBUTE"


def test_the_way_beyond_the_trained_range_is_told_with_its_number():
    with pytest.raises(VcmError) as caught:
        AGE.to_raw(101)
    assert "age.raw=1.500" in caught.value.remedy


@pytest.mark.parametrize(("word", "raw"), [("F", 0.0), ("m", 1.0), (" M ", 1.0)])
def test_words_are_understood_in_any_case(word, raw):
    assert SEX.to_raw(word) == raw


@pytest.mark.parametrize("word", ["X", "", "female", 1])
def test_an_unknown_word_is_refused_with_the_known_ones(word):
    with pytest.raises(VcmError, match="one of F, M"):
        SEX.to_raw(word)


def test_a_number_goes_back_to_the_nearest_word():
    assert (SEX.to_human(0.2), SEX.to_human(0.9)) == ("F", "M")


def test_an_attribute_without_a_scale_takes_its_raw_number_alone():
    with pytest.raises(VcmError, match="no published scale") as caught:
        BRAIN.to_raw(1200)
    assert "brain_volume=0.5" in caught.value.remedy
    assert BRAIN.to_human(0.4) is None
    assert not BRAIN.calibrated
    assert AGE.calibrated
    assert SEX.calibrated


def test_every_spelling_means_one_attribute():
    spellings = ["Ventricles", "ventricular-volume", " ventricle volume ", "ventricular_volume"]
    assert {canonical_name(name, ("sex",)) for name in spellings} == {"ventricular_volume"}
    assert canonical_name("Gender", ("sex",)) == "sex"
    assert canonical_name("Brain", ("brain", "brain_volume")) == "brain"


def test_an_attribute_of_any_backbone_is_resolved_by_its_own_name():
    gender = AttributeSpec("gender", "Gender", choices={"F": 0.0, "M": 1.0})
    field = AttributeSpec("field", "Field", choices={"1.5": 0.0, "3": 1.0})
    values = by_name(resolve((gender, field), {"Gender": "m", "field": 3.0}))
    assert (values["gender"].raw, values["field"].raw) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("text", "human", "raw"),
    [
        ("age=72", {"age": 72.0}, {}),
        ("AGE=0.84", {"age": 0.84}, {}),
        ("age.raw=1.5", {}, {"age": 1.5}),
        ("age.raw=0.3", {}, {"age": 0.3}),
        ("sex=f", {"sex": "f"}, {}),
        ("gender=0.5", {}, {"sex": 0.5}),
        ("brain=0.25", {}, {"brain_volume": 0.25}),
        ("ventricles=1", {"ventricular_volume": 1.0}, {}),  # ml: its scale begins there
        ("ventricles.raw=1", {}, {"ventricular_volume": 1.0}),
        ("dose=0.5", {"dose": 0.5}, {}),  # refused later, with the names that there are
    ],
)
def test_an_attribute_on_the_command_line_is_in_its_unit_or_raw(text, human, raw):
    assert parse_attributes([text], ALL) == (human, raw)


def test_a_raw_number_where_years_are_expected_is_refused_with_the_way_to_write_it():
    with pytest.raises(VcmError) as caught:
        AGE.to_raw(0.84)
    assert "--attribute age.raw=0.84" in caught.value.remedy


@pytest.mark.parametrize("entries", [["age=old"], ["sex.raw=F"], ["age=70", "Age=71"], ["age=70", "age.raw=0.3"]])
def test_an_attribute_that_is_no_number_or_given_twice_is_refused(entries):
    with pytest.raises(VcmError, match=r"holds no number|was given twice"):
        parse_attributes(entries, ALL)


def test_what_is_given_counts_and_what_is_not_has_the_packs_default():
    values = by_name(resolve(ALL, human={"age": 63, "gender": "M"}, raw={"brain": 1.7}))
    assert list(values) == [spec.name for spec in ALL]
    assert (values["age"].raw, values["age"].origin) == (0.5, "given")
    assert (values["sex"].raw, values["sex"].origin) == (1.0, "given")
    assert (values["brain_volume"].raw, values["brain_volume"].origin) == (
        1.7,
        "given raw, beyond 0 to 1, where the model was trained",
    )
    assert (values["ventricular_volume"].raw, values["ventricular_volume"].origin) == (0.5, "default")


def test_an_attribute_given_twice_or_unknown_is_refused():
    with pytest.raises(VcmError, match="given twice"):
        resolve(ALL, human={"age": 63}, raw={"Age": 0.5})
    with pytest.raises(VcmError, match="no attribute weight"):
        resolve(ALL, human={"weight": 80})
    with pytest.raises(VcmError, match="must be a number"):
        resolve(ALL, raw={"age": float("nan")})


def test_a_volume_follows_the_painted_mask_and_says_so():
    value = by_name(resolve(ALL, conditions=[condition([[4, 43]])]))["ventricular_volume"]
    assert value.raw == pytest.approx((millilitres(1) - 1) / 4)
    assert "painted" in value.origin
    assert f"{millilitres(1):.1f} ml" in value.origin


def test_a_volume_is_the_sum_of_the_classes_that_make_it_up():
    painted = condition([[4], [43], [17]], kind="labels")
    value = by_name(resolve(ALL, conditions=[painted]))["ventricular_volume"]
    assert value.raw == pytest.approx((millilitres(1, 2) - 1) / 4)


def test_a_volume_beyond_the_trained_range_stays_at_its_end():
    small = AttributeSpec("v", "V", "ml", low=0.1, high=0.5, structures=(4, 43))
    assert resolve([small], conditions=[condition([[4, 43]])])[0].raw == 1.0


@pytest.mark.parametrize("segmenter", [[[4]], [[4, 43, 17]], [[17]], [[]]])
def test_a_mask_of_other_structures_is_not_followed(segmenter):
    assert by_name(resolve(ALL, conditions=[condition(segmenter)]))["ventricular_volume"].origin == "default"


def test_a_given_volume_counts_more_than_the_mask():
    value = by_name(resolve(ALL, human={"ventricles": 2}, conditions=[condition([[4, 43]])]))["ventricular_volume"]
    assert (value.raw, value.origin) == (0.25, "given")


def test_a_value_tells_its_number_its_meaning_and_its_origin():
    (value,) = resolve([AGE], human={"age": 63})
    assert value.as_dict() == {"name": "age", "raw": 0.5, "value": 63.0, "unit": "years", "origin": "given"}
