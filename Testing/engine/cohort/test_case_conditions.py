"""The conditions of a case, from its labels and its skull image."""

from __future__ import annotations

import numpy as np
import pytest
from vcm.cohort.case_conditions import CONDITION_SPECS, condition_array, condition_arrays
from vcm.conditions.condition import ConditionSpec
from vcm.core.errors import Code, VcmError

LABELS = np.arange(12, dtype=np.uint8).reshape(1, 2, 6) % 11
SKULL = np.linspace(-0.5, 1.5, 12).reshape(1, 2, 6)


def test_masks_are_those_of_the_segmenters_labels():
    made = condition_arrays(LABELS, None, ["ventricles", "brain"])
    assert made["ventricles"].ravel().tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    assert made["brain"].ravel().tolist() == [0, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 0]
    assert made["brain"].dtype == np.uint8


def test_the_semantics_take_the_inner_ventricles_into_the_ventricles_and_lesions_into_the_white_matter():
    made = condition_arrays(LABELS, None, ["semantics"])["semantics"]
    assert made.ravel().tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 4, 1, 0]
    assert made.dtype == np.uint8


def test_the_skull_image_is_held_within_0_and_1():
    made = condition_arrays(LABELS, SKULL, ["skull"])["skull"]
    assert made.dtype == np.float32
    assert (made.min(), made.max()) == (0, 1)
    assert made[0, 0, 4] == pytest.approx(SKULL[0, 0, 4])


@pytest.mark.parametrize("name", ["ventricles", "brain", "semantics", "lesions"])
def test_each_condition_is_what_its_entry_says_of_the_segmenters_labels(name):
    spec = ConditionSpec.from_dict({"name": name, **CONDITION_SPECS[name]})
    made = condition_arrays(LABELS, None, [name])[name]
    for structure in spec.classes:
        assert np.array_equal(made == structure.value, np.isin(LABELS, structure.segmenter))
    assert set(np.unique(made)) == {0} | {structure.value for structure in spec.classes}


def test_a_control_that_numbers_its_classes_otherwise_gets_its_own_order():
    classes = [{"value": 3, "name": "ventricles", "segmenter": [4, 9]}, {"value": 1, "name": "stem", "segmenter": [8]}]
    spec = ConditionSpec.from_dict({"name": "other", "kind": "labels", "classes": classes})
    assert condition_array(spec, LABELS, None).ravel().tolist() == [0, 0, 0, 0, 3, 0, 0, 0, 1, 3, 0, 0]


def test_a_control_that_names_no_labels_is_served_by_the_conditions_name():
    spec = ConditionSpec.from_dict({"name": "ventricles", "kind": "mask"})
    assert condition_array(spec, LABELS, None).ravel().tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    skull = ConditionSpec.from_dict({"name": "skull", "kind": "image"})
    assert np.array_equal(condition_array(skull, LABELS, SKULL), SKULL.clip(0, 1).astype(np.float32))


def test_what_a_case_does_not_hold_is_told():
    with pytest.raises(VcmError) as error:
        condition_arrays(LABELS, SKULL, ["tumours"])
    assert error.value.code is Code.BAD_REQUEST and "ventricles, brain, skull, semantics, lesions" in str(error.value)
    with pytest.raises(VcmError, match="needs the case's skull image"):
        condition_arrays(LABELS, None, ["skull"])
