"""The input doctor: what is in order, and what is wrong with a mask or a label map."""

import numpy as np
import pytest
from doctor_cases import IMAGE, LABELS, MASK, MODEL, ball, codes, finding, refused
from phantoms import STRUCTURES, grid_in, head_labels, world_of
from vcm.conditions.doctor import examine
from vcm.core.findings import Level
from vcm.core.volume import Volume

# What is in order


def test_a_mask_in_order_is_taken_without_a_word():
    examination = examine(MASK, ball(MODEL), MODEL, source="lv.nii.gz")
    assert examination.findings == ()
    assert examination.condition.source == "lv.nii.gz"
    assert examination.condition.volume.grid is MODEL
    assert np.array_equal(examination.condition.volume.array, ball(MODEL).array)
    assert examination.as_dict() == {
        "condition": "ventricles",
        "usable": True,
        "millilitres": {"ventricles": pytest.approx(3.0, abs=0.2)},
        "findings": [],
    }


@pytest.mark.parametrize("value", [1, 2, 255])
def test_the_one_label_of_a_mask_may_have_any_value(value):
    condition = examine(MASK, ball(MODEL, value), MODEL).condition
    assert set(np.unique(condition.volume.array)) == {0, 1}


def test_a_label_map_in_order_is_taken_without_a_word():
    examination = examine(LABELS, head_labels(MODEL), MODEL)
    assert examination.findings == ()
    assert np.array_equal(examination.condition.volume.array, head_labels(MODEL).array)
    assert examination.condition.as_channels().shape == (3, *MODEL.shape)


def test_whole_numbers_stored_as_fractions_are_labels():
    assert examine(LABELS, head_labels(MODEL, np.float32), MODEL).findings == ()


# What is wrong with it


def test_an_empty_mask_is_refused():
    for spec in (MASK, LABELS):
        refused(examine(spec, Volume(np.zeros(MODEL.shape, np.uint8), MODEL), MODEL), "EMPTY")


def test_a_full_mask_and_an_inverted_one_are_refused():
    full = Volume(np.ones(MODEL.shape, np.uint8), MODEL)
    assert "100%" in refused(examine(MASK, full, MODEL), "FULL").sentence
    assert "invert" in refused(examine(MASK, Volume(1 - ball(MODEL).array, MODEL), MODEL), "FULL").remedy


def test_a_probability_map_is_no_mask():
    soft = Volume((ball(MODEL).array * 0.7).astype(np.float32), MODEL)
    error = refused(examine(MASK, soft, MODEL), "NOT_LABELS")
    assert f"{int(ball(MODEL).array.sum()):,} voxels" in error.sentence
    assert "threshold" in error.remedy


@pytest.mark.parametrize("spec", [MASK, LABELS, IMAGE])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_no_numbers_are_counted(spec, value):
    array = head_labels(MODEL, np.float32).array
    array[1, 2, 3:6] = value
    assert "3 voxels" in refused(examine(spec, Volume(array, MODEL), MODEL), "NOT_A_NUMBER").sentence


def test_a_mask_outside_the_grid_is_reported_with_the_lost_voxels():
    own = grid_in("RPI", (55, 60, 50), (1.6, 1.7, 1.8), centre=(14, -30, 6))
    world = world_of(own)
    mask = (np.linalg.norm(world - (4, -30, 6), axis=-1) < 12).astype(np.uint8)
    index = MODEL.to_voxel(world[mask > 0])
    lost = int(((index < -0.5) | (index > np.asarray(MODEL.shape) - 0.5)).any(axis=1).sum())
    assert 0 < lost < mask.sum() / 2
    warning = finding(examine(MASK, Volume(mask, own), MODEL), "VOXELS_LOST")
    assert warning.level is Level.WARNING
    assert f"{lost:,} of {int(mask.sum()):,} voxels ({100 * lost / mask.sum():.1f} %)" in warning.sentence


def test_a_mask_mostly_outside_the_grid_is_refused():
    own = grid_in("RPI", (60, 60, 60), (1.6, 1.7, 1.8), centre=(4, -40, 6))
    mask = (np.linalg.norm(world_of(own) - (4, -42, 6), axis=-1) < 12).astype(np.uint8)
    refused(examine(MASK, Volume(mask, own), MODEL), "VOXELS_LOST")


def test_labels_that_count_as_background_are_not_lost():
    own = grid_in("RPI", (80, 81, 82), (1.6, 1.7, 1.8))
    labels = head_labels(own).array
    labels[labels == 0] = 50
    assert "VOXELS_LOST" not in codes(examine(LABELS, Volume(labels, own), MODEL))


def test_a_thread_too_thin_for_the_grid_is_refused_as_a_mask_and_warned_of_as_a_class():
    fine = grid_in("LAS", (60, 60, 60), (0.5, 0.5, 0.5), centre=STRUCTURES[1][0])
    thread = np.zeros(fine.shape, np.int16)
    thread[20, 21, :] = 3
    assert "Grow" in refused(examine(MASK, Volume(thread, fine), MODEL), "VANISHED").remedy
    thread[30:50, 30:50, 30:50] = 1
    examination = examine(LABELS, Volume(thread, fine), MODEL)
    assert "ventricles (0.01 ml)" in finding(examination, "CLASS_VANISHED").sentence
    assert examination.condition is not None


def test_a_structure_that_mostly_thins_away_is_warned_of():
    fine = grid_in("LAS", (80, 80, 80), (0.5, 0.5, 0.5), centre=STRUCTURES[1][0])
    comb = np.zeros(fine.shape, np.uint8)
    comb[::8, ::7, :] = 1
    comb[20:28, 20:28, 20:28] = 1
    assert finding(examine(MASK, Volume(comb, fine), MODEL), "VOLUME_CHANGED").level is Level.WARNING


@pytest.mark.parametrize(("structure", "words"), [(3, "of the smallest"), (2, "of the smallest")])
def test_a_volume_below_those_of_training_is_warned_of(structure, words):
    warning = finding(examine(MASK, ball(MODEL, structure=structure), MODEL), "UNTYPICAL_VOLUME")
    assert words in warning.sentence
    assert "(2 to 8 ml)" in warning.sentence


def test_a_volume_above_those_of_training_is_warned_of_with_the_factor():
    mask = (np.linalg.norm(world_of(MODEL) - (4, -9, 6), axis=-1) < 15).astype(np.uint8)
    ml = mask.sum() * MODEL.voxel_ml
    examination = examine(MASK, Volume(mask, MODEL), MODEL)
    assert f"{ml:.1f} ml, {ml / 8:.1f} times the largest" in finding(examination, "UNTYPICAL_VOLUME").sentence
    assert examination.condition is not None


@pytest.mark.parametrize(("shift", "direction"), [((-28, 0, 0), "left"), ((0, 0, 27), "top"), ((5, 28, 0), "front")])
def test_a_structure_far_from_its_place_is_warned_of_with_the_direction(shift, direction):
    mask = (np.linalg.norm(world_of(MODEL) - np.add((4, -9, 6), shift), axis=-1) < 9).astype(np.uint8)
    assert (
        f"mostly to the {direction}" in finding(examine(MASK, Volume(mask, MODEL), MODEL), "UNTYPICAL_PLACE").sentence
    )


def test_a_mask_of_specks_is_warned_of():
    specks = np.zeros(MODEL.shape, np.uint8)
    specks[2:30:3, 3:40:3, 5:36:3] = 1
    warning = finding(examine(MASK, Volume(specks, MODEL), MODEL), "SPECKLED")
    assert f"{int(specks.sum()):,} pieces" in warning.sentence
    assert "SPECKLED" not in codes(examine(MASK, ball(MODEL), MODEL))


def test_a_class_that_is_absent_is_noted():
    examination = examine(LABELS, ball(MODEL, 2), MODEL)
    notes = [f.sentence for f in examination.findings if f.code == "CLASS_ABSENT"]
    assert len(notes) == 2
    assert any("white matter" in sentence for sentence in notes)
