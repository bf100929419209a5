"""The input doctor on which of a file's structures is meant."""

import numpy as np
import pytest
from doctor_cases import IMAGE, LABELS, MASK, MODEL, ball, file_of, finding, refused
from phantoms import head_labels, ramp
from vcm.anatomy.structures import SEGMENTER_CLASSES, SEMANTICS
from vcm.conditions.condition import ConditionSpec
from vcm.conditions.doctor import examine
from vcm.core.findings import Level
from vcm.core.volume import Volume
from vcm.volumes.volume_files import read_volume_file, write_volume


def test_a_mask_file_with_several_labels_asks_which_one_is_meant():
    error = refused(examine(MASK, file_of(head_labels(MODEL), {2: "left ventricle"}), MODEL), "WHICH_LABEL")
    counts = {v: int((head_labels(MODEL).array == v).sum()) for v in (1, 2, 3)}
    assert f"1 ({counts[1]:,} voxels), 2 left ventricle ({counts[2]:,} voxels)" in error.sentence
    assert "ventricles=FILE:" in error.remedy


def test_the_question_suggests_the_labels_that_the_segmenter_gives_the_structure():
    labels = np.select([head_labels(MODEL).array == v for v in (1, 2, 3)], [4, 43, 17])
    assert "ventricles=FILE:4,43 " in refused(examine(MASK, Volume(labels, MODEL), MODEL), "WHICH_LABEL").remedy


@pytest.mark.parametrize("label", [2, "2", "Left_Ventricle", " left ventricle "])
def test_a_structure_is_chosen_by_number_or_by_segment_name(label):
    examination = examine(MASK, file_of(head_labels(MODEL), {2: "left ventricle"}), MODEL, label=label)
    assert np.array_equal(examination.condition.volume.array, head_labels(MODEL).array == 2)


@pytest.mark.parametrize("label", ["1,3", "skull,1"])
def test_several_labels_make_one_structure(label):
    examination = examine(MASK, file_of(head_labels(MODEL), {3: "skull"}), MODEL, label=label)
    assert np.array_equal(examination.condition.volume.array, np.isin(head_labels(MODEL).array, (1, 3)))


@pytest.mark.parametrize("label", [9, "9", "thalamus", "2,9", "0", "", "--2", "²", "1.0"])
def test_a_label_that_is_not_there_is_refused_with_those_that_are(label):
    error = refused(examine(MASK, file_of(head_labels(MODEL), {2: "left"}), MODEL, label=label), "LABEL_MISSING")
    assert "2 left (" in error.sentence


def test_a_segment_named_like_the_condition_is_taken_and_told():
    examination = examine(MASK, file_of(head_labels(MODEL), {1: "skull", 2: "Ventricles", 3: "x"}), MODEL)
    assert "Ventricles" in finding(examination, "MATCHED_BY_NAME").sentence
    assert np.array_equal(examination.condition.volume.array, head_labels(MODEL).array == 2)


def test_unknown_labels_are_left_out_and_listed_with_their_counts():
    labels = head_labels(MODEL).array.copy()
    labels[0, 0, :5] = 77
    examination = examine(LABELS, Volume(labels, MODEL), MODEL)
    warning = finding(examination, "UNKNOWN_LABELS")
    assert "77 (5 voxels)" in warning.sentence
    assert "3 ventricles" in warning.remedy
    assert np.array_equal(examination.condition.volume.array, head_labels(MODEL).array)


def test_a_label_map_without_a_known_label_is_refused():
    error = refused(examine(LABELS, ball(MODEL, 99), MODEL), "NO_KNOWN_LABEL")
    assert "99 (" in error.sentence
    assert "1 white matter" in error.sentence


def test_segments_are_matched_to_classes_by_name_before_number():
    names = {1: "Ventricles", 2: "white matter", 3: "grey_matter"}
    examination = examine(LABELS, file_of(head_labels(MODEL), names), MODEL)
    assert finding(examination, "MATCHED_BY_NAME").level is Level.NOTE
    expected = np.array([0, 3, 1, 2])[head_labels(MODEL).array]
    assert np.array_equal(examination.condition.volume.array, expected)


def test_the_segmenters_own_numbers_are_understood_and_told():
    labels = np.array([0, 41, 3, 43])[head_labels(MODEL).array]
    examination = examine(LABELS, Volume(labels, MODEL), MODEL)
    assert finding(examination, "OTHER_NUMBERS").level is Level.WARNING
    assert np.array_equal(examination.condition.volume.array, head_labels(MODEL).array)


@pytest.mark.parametrize("with_segmenter", [True, False])
def test_freesurfers_numbers_are_understood_and_told(with_segmenter):
    """aparc+aseg as FreeSurfer's colour table names it; 2 to 8 are classes of the model too, and mean others there."""
    meant = {
        2: "white matter", 41: "white matter", 7: "white matter", 3: "grey matter", 1035: "grey matter",
        2002: "grey matter", 8: "grey matter", 4: "ventricles", 44: "ventricles", 14: "ventricles", 31: "ventricles",
        10: "deep grey matter", 52: "deep grey matter", 17: "hippocampus", 54: "amygdala", 16: "brain stem",
        24: "extra-ventricular CSF", 251: "white matter",
    }  # fmt: skip
    classes = [
        {"name": name, "value": number} | ({"segmenter": list(parts)} if with_segmenter else {})
        for number, (name, parts) in SEMANTICS.items()
    ]
    spec = ConditionSpec.from_dict({"name": "semantics", "kind": "labels", "classes": classes})
    numbers = np.array([*meant, 258])[np.arange(np.prod(MODEL.shape)).reshape(MODEL.shape) % (len(meant) + 1)]
    examination = examine(spec, Volume(numbers.astype(np.int32), MODEL), MODEL)
    assert "labels of FreeSurfer" in finding(examination, "OTHER_NUMBERS").sentence
    assert "258" in finding(examination, "UNKNOWN_LABELS").sentence
    value = {name: number for number, (name, _) in SEMANTICS.items()}
    table = {number: value[name] for number, name in meant.items()} | {258: 0}
    expected = np.vectorize(table.__getitem__)(numbers)
    assert np.array_equal(examination.condition.volume.array, expected)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_structure_of_its_own_goes_before_the_one_that_it_is_a_part_of(order):
    """FreeSurfer's ventricles are brain, too; its white matter is nothing else here."""
    classes = [{"value": 1, "name": "brain"}, {"value": 2, "name": "ventricles"}]
    spec = ConditionSpec.from_dict({"name": "parts", "kind": "labels", "classes": [classes[n] for n in order]})
    numbers = np.where(head_labels(MODEL).array == 3, 43, np.where(head_labels(MODEL).array > 0, 41, 0))
    examination = examine(spec, Volume(numbers, MODEL), MODEL)
    assert np.array_equal(examination.condition.volume.array == 2, numbers == 43)
    assert np.array_equal(examination.condition.volume.array == 1, numbers == 41)


@pytest.mark.parametrize("spec", [LABELS, IMAGE])
def test_a_label_is_refused_where_the_whole_file_is_taken(spec):
    volume = head_labels(MODEL) if spec is LABELS else ramp(MODEL)
    assert "label 2" in refused(examine(spec, volume, MODEL, label=2), "LABEL_NOT_WANTED").sentence


def completed_head(tmp_path):
    """What a layout leaves beside a sample: every structure, by its number and, within the file, its name."""
    array = np.arange(MODEL.shape[0] * MODEL.shape[1] * MODEL.shape[2]).reshape(MODEL.shape) % 11
    names = {value: name for value, (name, _) in SEGMENTER_CLASSES.items()}
    write_volume(tmp_path / "layout-0.nii.gz", Volume(array.astype(np.uint8), MODEL), names=names)
    return array, read_volume_file(tmp_path / "layout-0.nii.gz")


@pytest.mark.parametrize("with_segmenter", [True, False])
def test_a_completed_head_is_read_by_its_names_by_a_model_that_counts_otherwise(tmp_path, with_segmenter):
    """The classes of the released VCM, its ventricles those of all kinds, in the opposite order."""
    classes, expected = [], np.zeros(11, int)
    for number, (name, parts) in enumerate(reversed(SEMANTICS.values()), 1):
        classes.append({"name": name, "value": number} | ({"segmenter": list(parts)} if with_segmenter else {}))
        expected[list(parts)] = number
    spec = ConditionSpec.from_dict({"name": "semantics", "kind": "labels", "classes": classes})
    array, file = completed_head(tmp_path)
    examination = examine(spec, file, MODEL)
    assert np.array_equal(examination.condition.volume.array, expected[array])
    assert finding(examination, "MATCHED_BY_NAME").level is Level.NOTE


@pytest.mark.parametrize(
    ("name", "segmenter", "expected"),
    [
        ("ventricles", [4], (4,)),
        ("ventricles", [], (4, 9)),
        ("brain", [], (1, 2, 3, 4, 5, 6, 8, 9, 10)),
        ("lesions", [], (10,)),
    ],
)
def test_a_mask_is_made_of_the_structures_that_a_completed_head_names(tmp_path, name, segmenter, expected):
    spec = ConditionSpec.from_dict({"name": name, "kind": "mask", "classes": [{"name": name, "segmenter": segmenter}]})
    array, file = completed_head(tmp_path)
    examination = examine(spec, file, MODEL)
    assert np.array_equal(examination.condition.volume.array != 0, np.isin(array, expected))
    assert SEGMENTER_CLASSES[expected[-1]][0] in finding(examination, "MATCHED_BY_NAME").sentence


def test_which_of_two_segments_of_one_name_is_meant_is_asked():
    file = file_of(head_labels(MODEL), {1: "lateral ventricles", 2: "Lateral_Ventricles", 3: "skull"})
    refused(examine(MASK, file, MODEL), "WHICH_LABEL")


def test_a_class_of_the_lateral_ventricles_alone_leaves_the_others_out(tmp_path):
    classes = [{"name": "ventricles", "value": 7, "segmenter": [4]}, {"name": "grey matter", "value": 1}]
    spec = ConditionSpec.from_dict({"name": "some", "kind": "labels", "classes": classes})
    array, file = completed_head(tmp_path)
    examination = examine(spec, file, MODEL)
    assert np.array_equal(examination.condition.volume.array, np.select([array == 4, array == 2], [7, 1]))
    assert "9 third and fourth ventricle" in finding(examination, "UNKNOWN_LABELS").sentence


def test_another_numbering_of_the_segmenter_is_not_taken_for_ours(tmp_path):
    """FreeSurfer's 5 is a part of the lateral ventricle; the layout's 5, by name, is the hippocampus."""
    hippocampus = {"name": "hippocampus", "value": 2, "segmenter": [17]}
    classes = [{"name": "ventricles", "value": 1, "segmenter": [4, 5]}, hippocampus]
    spec = ConditionSpec.from_dict({"name": "some", "kind": "labels", "classes": classes})
    array, file = completed_head(tmp_path)
    examination = examine(spec, file, MODEL)
    assert np.array_equal(examination.condition.volume.array, np.select([array == 4, array == 5], [1, 2]))
