"""The input doctor on which of a file's structures is meant."""

import numpy as np
import pytest
from doctor_cases import IMAGE, LABELS, MASK, MODEL, ball, file_of, finding, refused
from phantoms import head_labels, ramp
from vcm.conditions.doctor import examine
from vcm.core.findings import Level
from vcm.core.volume import Volume


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
    assert finding(examination, "SEGMENTER_LABELS").level is Level.WARNING
    assert np.array_equal(examination.condition.volume.array, head_labels(MODEL).array)


@pytest.mark.parametrize("spec", [LABELS, IMAGE])
def test_a_label_is_refused_where_the_whole_file_is_taken(spec):
    volume = head_labels(MODEL) if spec is LABELS else ramp(MODEL)
    assert "label 2" in refused(examine(spec, volume, MODEL, label=2), "LABEL_NOT_WANTED").sentence
