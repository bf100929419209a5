"""The conditions of a case, from its labels and its images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_cohort import write_cohort
from tiny import GRID
from vcm.cohort.case_conditions import CONDITION_SPECS, condition_array, condition_spec
from vcm.cohort.learning_cases import CohortCase
from vcm.conditions.condition import ConditionSpec
from vcm.core.errors import Code, VcmError
from vcm.core.volume import Volume
from vcm.volumes.volume_files import write_volume

LABELS = np.arange(12, dtype=np.uint8).reshape(1, 2, 6) % 11


def made(name):
    return condition_array(condition_spec(name), LABELS)


def test_masks_are_those_of_the_segmenters_labels():
    assert made("ventricles").ravel().tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    assert made("brain").ravel().tolist() == [0, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 0]
    assert made("brain").dtype == np.uint8


def test_the_semantics_take_the_inner_ventricles_into_the_ventricles_and_lesions_into_the_white_matter():
    assert made("semantics").ravel().tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 4, 1, 0]
    assert made("semantics").dtype == np.uint8


@pytest.mark.parametrize("name", ["ventricles", "brain", "semantics", "lesions"])
def test_each_condition_is_what_its_entry_says_of_the_segmenters_labels(name):
    spec = ConditionSpec.from_dict({"name": name, **CONDITION_SPECS[name]})
    for structure in spec.classes:
        assert np.array_equal(made(name) == structure.value, np.isin(LABELS, structure.segmenter))
    assert set(np.unique(made(name))) == {0} | {structure.value for structure in spec.classes}


def test_a_control_that_numbers_its_classes_otherwise_gets_its_own_order():
    classes = [{"value": 3, "name": "ventricles", "segmenter": [4, 9]}, {"value": 1, "name": "stem", "segmenter": [8]}]
    spec = ConditionSpec.from_dict({"name": "other", "kind": "labels", "classes": classes})
    assert condition_array(spec, LABELS).ravel().tolist() == [0, 0, 0, 0, 3, 0, 0, 0, 1, 3, 0, 0]


def test_a_control_that_names_no_labels_is_served_by_the_conditions_name():
    spec = ConditionSpec.from_dict({"name": "ventricles", "kind": "mask"})
    assert condition_array(spec, LABELS).ravel().tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]


@pytest.fixture
def case(tmp_path):
    """A case with a further image that reaches beyond 0 to 1 and is different from every side."""
    entry = write_cohort(tmp_path)[1]
    beyond = np.linspace(-0.5, 1.5, int(np.prod(GRID.shape)), dtype=np.float32).reshape(GRID.shape)
    write_volume(entry.folder / "flair.nii.gz", Volume(beyond, GRID))
    return CohortCase(replace(entry, parts=(*entry.parts, "flair")), GRID), beyond


def test_an_image_is_the_part_of_its_name_held_within_0_and_1(case):
    case, beyond = case
    image = ConditionSpec.from_dict({"name": "flair", "kind": "image"})
    found = case.conditions([condition_spec("ventricles"), image, condition_spec("skull")])
    assert list(found) == ["ventricles", "flair", "skull"]
    assert np.array_equal(found["flair"], beyond.clip(0, 1)) and found["flair"].dtype == np.float32
    assert np.array_equal(found["skull"], case.entry.read("skull").array.astype(np.float32))
    assert not np.array_equal(found["skull"], found["flair"])
    assert np.array_equal(found["ventricles"], case.labels() == 4)


def test_what_a_case_does_not_hold_is_told(case):
    with pytest.raises(VcmError) as error:
        condition_spec("tumours")
    assert error.value.code is Code.BAD_REQUEST and "ventricles, brain, skull, semantics, lesions" in str(error.value)
    with pytest.raises(VcmError, match="has no t2; it has image, labels, skull, flair"):
        case[0].conditions([ConditionSpec.from_dict({"name": "t2", "kind": "image"})])
