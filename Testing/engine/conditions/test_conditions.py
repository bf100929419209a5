import numpy as np
import pytest
from phantoms import grid_in, head_labels, ramp
from vcm.conditions.condition import Condition, ConditionSpec, Kind
from vcm.core.errors import VcmError

GRID = grid_in("LAS", (9, 13, 11), (6, 5, 5.5))


def spec_of(kind, classes=None):
    return ConditionSpec.from_dict({"name": "given", "kind": kind, **({"classes": classes} if classes else {})})


def test_classes_given_by_name_alone_count_from_one():
    spec = spec_of("labels", ["white matter", "grey matter", "ventricles"])
    assert [(c.value, c.name) for c in spec.classes] == [(1, "white matter"), (2, "grey matter"), (3, "ventricles")]
    assert spec.channels == 3


def test_a_class_keeps_what_the_manifest_says_of_it():
    entry = {
        "name": "ventricles",
        "value": 7,
        "segmenter": [4, 43],
        "typical_ml": [6, 75],
        "centroid_mm": [0, -15.5, 10],
    }
    (structure,) = spec_of("mask", [entry]).classes
    assert structure.value == 7
    assert structure.segmenter == (4, 43)
    assert structure.typical_ml == (6.0, 75.0)
    assert structure.centroid_mm == (0.0, -15.5, 10.0)


def test_a_mask_has_one_class_of_its_own_name_and_an_image_none():
    mask, image = spec_of("mask"), spec_of("image")
    assert [(c.value, c.name) for c in mask.classes] == [(1, "given")]
    assert image.classes == ()
    assert (mask.channels, image.channels) == (1, 1)
    assert image.kind is Kind.IMAGE


def test_a_kind_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="sketch"):
        spec_of("sketch")


def test_labels_become_one_channel_a_class_in_the_order_of_the_manifest():
    spec = spec_of("labels", [{"name": "c", "value": 3}, {"name": "a", "value": 1}])
    labels = head_labels(GRID)
    channels = Condition(spec, labels).as_channels()
    assert channels.dtype == np.float32
    assert np.array_equal(channels, np.stack([labels.array == 3, labels.array == 1]))
    assert channels.any(axis=(1, 2, 3)).all()


def test_a_mask_and_an_image_become_one_channel_of_their_own_values():
    mask = head_labels(GRID)
    assert Condition(spec_of("mask"), mask).as_channels().shape == (1, *GRID.shape)
    image = ramp(GRID)
    channels = Condition(spec_of("image"), image).as_channels()
    assert channels.dtype == np.float32
    assert np.array_equal(channels[0], image.array.astype(np.float32))


def test_a_structure_is_found_by_its_name():
    spec = spec_of("labels", [{"name": "c", "value": 3}, {"name": "a", "value": 1}])
    labels = head_labels(GRID)
    assert np.array_equal(Condition(spec, labels).structure("a"), labels.array == 1)
    assert np.array_equal(Condition(spec_of("mask"), labels).structure("given"), labels.array != 0)


@pytest.mark.parametrize("window", [(0.5, 0.5), (0.8, 0.2), (-0.1, 1), (0, 1.1), (float("nan"), 1), (0, float("nan"))])
def test_a_time_window_that_does_not_rise_within_zero_and_one_is_refused(window):
    with pytest.raises(VcmError, match="time window of given") as caught:
        Condition(spec_of("mask"), head_labels(GRID), start=window[0], end=window[1])
    assert caught.value.code == "BAD_REQUEST"


@pytest.mark.parametrize("strength", [-0.1, 4.01, float("nan"), float("inf")])
def test_a_strength_out_of_range_is_refused(strength):
    with pytest.raises(VcmError, match="strength of given"):
        Condition(spec_of("mask"), head_labels(GRID), strength=strength)


@pytest.mark.parametrize("strength", [0, 0.8, 4])
def test_strengths_from_none_to_four_are_taken(strength):
    assert Condition(spec_of("mask"), head_labels(GRID), strength=strength).strength == strength
