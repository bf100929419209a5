from pathlib import Path

import numpy as np
import pytest
from phantoms import STRUCTURES, grid_in, head_labels, nifti_bytes, noise, ramp, tilted, world_of, write_bytes
from vcm.conditions import ConditionSpec
from vcm.doctor import examine, examine_region
from vcm.findings import Level
from vcm.grid import Grid
from vcm.volume import Volume
from vcm.volumes.volume_files import VolumeFile, read_volume_file

MODEL = grid_in("LAS", (37, 53, 41), (2, 1.5, 1.75))
MASK = ConditionSpec.from_dict(
    {
        "name": "ventricles",
        "kind": "mask",
        "classes": [{"name": "ventricles", "segmenter": [4, 43], "typical_ml": [2, 8], "centroid_mm": [4, -9, 6]}],
    }
)
LABELS = ConditionSpec.from_dict(
    {
        "name": "tissue",
        "kind": "labels",
        "classes": [
            {"name": "white matter", "value": 1, "segmenter": [2, 41]},
            {"name": "grey matter", "value": 2, "segmenter": [3, 42]},
            {"name": "ventricles", "value": 3, "segmenter": [4, 43], "typical_ml": [0.1, 0.4]},
        ],
    }
)
IMAGE = ConditionSpec.from_dict({"name": "skull", "kind": "image"})


def ball(grid, value=1, structure=1, dtype=np.uint8):
    return Volume(np.where(head_labels(grid).array == structure, value, 0).astype(dtype), grid)


def file_of(volume, names=None, **flags):
    return VolumeFile(volume, Path("given.seg.nrrd"), segment_names=names or {}, **flags)


def finding(examination, code):
    found = [f for f in examination.findings if f.code == code]
    assert len(found) == 1, [f.code for f in examination.findings]
    assert found[0].sentence.endswith(".")
    assert found[0].remedy.endswith(".") or ":" in found[0].remedy
    return found[0]


def refused(examination, code):
    """The error of this code, which must have left no condition."""
    assert examination.condition is None
    error = finding(examination, code)
    assert error.level is Level.ERROR
    return error


def codes(examination):
    return {f.code for f in examination.findings}


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


# Where it lies


@pytest.mark.parametrize("orientation", ["RPI", "SAR", "PIL"])
def test_a_mask_from_any_orientation_lands_on_the_same_structure(orientation):
    own = grid_in(orientation, (60, 61, 62), (1.3, 1.4, 1.5))
    examination = examine(MASK, ball(own), MODEL)
    assert finding(examination, "REORIENTED").level is Level.NOTE
    array = examination.condition.volume.array
    middle = MODEL.to_world(np.argwhere(array).mean(axis=0))
    assert np.allclose(middle, STRUCTURES[1][0], atol=0.3)


def test_an_oblique_grid_is_noted_and_its_structure_stays_in_place():
    examination = examine(MASK, ball(tilted(grid_in("LAS", (60, 61, 62), (1.3, 1.4, 1.5)), 25)), MODEL)
    assert "°" in finding(examination, "OBLIQUE").sentence
    middle = MODEL.to_world(np.argwhere(examination.condition.volume.array).mean(axis=0))
    assert np.allclose(middle, STRUCTURES[1][0], atol=0.3)


def test_a_file_without_orientation_but_of_the_models_size_is_laid_on_its_grid():
    mask = Volume(ball(MODEL).array, Grid(MODEL.shape, np.diag([*MODEL.spacing, 1])))
    examination = examine(MASK, file_of(mask, has_orientation=False), MODEL)
    assert "model's grid" in finding(examination, "NO_ORIENTATION").sentence
    assert np.array_equal(examination.condition.volume.array, ball(MODEL).array)


@pytest.mark.parametrize("unset", [np.eye(4), np.diag([-1.0, -1, 1, 1])])
def test_an_affine_that_nobody_set_is_no_orientation(unset):
    mask = Volume(ball(MODEL).array, Grid(MODEL.shape, unset))
    examination = examine(MASK, file_of(mask), MODEL)
    assert finding(examination, "NO_ORIENTATION").level is Level.WARNING
    assert np.array_equal(examination.condition.volume.array, ball(MODEL).array)


def test_a_file_without_orientation_of_another_size_is_taken_as_it_comes():
    own = Grid((25, 26, 27), np.diag([2.0, 2, 2, 1]))
    examination = examine(MASK, file_of(ball(own, structure=3), has_orientation=False), MODEL)
    assert "right, the front and the top" in finding(examination, "NO_ORIENTATION").sentence
    assert examination.condition.volume.array.any()


def test_two_different_places_in_one_file_are_told(tmp_path):
    data = nifti_bytes(ball(MODEL).array, sform=MODEL.affine, qform=(0, 0, 0, 1, 2, 3), pixdim=MODEL.spacing)
    examination = examine(MASK, read_volume_file(write_bytes(tmp_path / "two.nii.gz", data)), MODEL)
    assert str(tmp_path / "two.nii.gz") in finding(examination, "TWO_PLACES").sentence
    assert np.array_equal(examination.condition.volume.array, ball(MODEL).array)


@pytest.mark.parametrize("spec", [MASK, LABELS, IMAGE])
def test_an_input_far_from_the_model_is_refused_with_the_distance(spec):
    far = grid_in("RAS", (20, 21, 22), (2, 2, 2), centre=(301.5, 2, 3))
    assert "300 mm" in refused(examine(spec, noise(far, np.uint8), MODEL, label=None), "NO_OVERLAP").sentence


def test_an_input_smaller_than_the_raster_of_the_overlap_check_is_still_seen():
    speck = grid_in("LAS", (3, 4, 2), (0.2, 0.2, 0.2), centre=STRUCTURES[1][0])
    examination = examine(MASK, Volume(np.ones(speck.shape, np.uint8), speck), MODEL)
    assert "NO_OVERLAP" not in codes(examination)
    assert "too thin" in refused(examination, "VANISHED").sentence


def test_far_coarser_voxels_are_warned_of():
    thick = grid_in("LAS", (40, 41, 12), (2, 2, 6))
    assert "6.0 mm" in finding(examine(MASK, ball(thick), MODEL), "COARSE").sentence
    assert "COARSE" not in codes(examine(MASK, ball(grid_in("LAS", (30, 31, 24), (3, 3, 4))), MODEL))


def test_an_image_of_a_part_of_the_head_is_warned_of_and_a_cut_out_segmentation_only_noted():
    part = grid_in("LAS", (20, 30, 20), (2, 1.5, 1.75), centre=(4, -9, 6))
    image = examine(IMAGE, ramp(part, dtype=np.float32), MODEL)
    assert finding(image, "SMALL_FIELD_OF_VIEW").level is Level.WARNING
    wider = grid_in("LAS", (37, 53, 25), (2, 1.5, 1.75))
    assert "61%" in finding(examine(IMAGE, ramp(wider, dtype=np.float32), MODEL), "SMALL_FIELD_OF_VIEW").sentence
    mask = examine(MASK, ball(part), MODEL)
    assert finding(mask, "SMALL_FIELD_OF_VIEW").level is Level.NOTE
    assert mask.condition is not None


# Which structure


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


# Images


def test_an_image_in_order_is_kept_as_it_is():
    image = Volume((ramp(MODEL).array / 200 + 0.5).clip(0.01, 0.99).astype(np.float32), MODEL)
    examination = examine(IMAGE, image, MODEL)
    assert examination.findings == ()
    assert np.array_equal(examination.condition.volume.array, image.array)


@pytest.mark.parametrize("scale", [255.0, 4095.0, 30.0])
def test_other_intensities_are_scaled_to_one_and_that_is_told(scale):
    array = (np.random.default_rng(1).random(MODEL.shape) * scale).astype(np.float32)
    array[:20] = 0
    array[30, 30, 30] = 50 * scale
    examination = examine(IMAGE, Volume(array, MODEL), MODEL)
    assert finding(examination, "RESCALED").level is Level.NOTE
    bright = np.percentile(array[array > 0], 99.5)
    expected = (array / bright).clip(0, 1)
    assert np.allclose(examination.condition.volume.array, expected, atol=1e-5)


def test_negative_intensities_are_cut_and_counted():
    array = (ramp(MODEL).array / 200 + 0.5).clip(0.01, 0.99)
    array[3, 4, 5:9] = -7
    examination = examine(IMAGE, Volume(array, MODEL), MODEL)
    assert "4 negative voxels, down to -7" in finding(examination, "NEGATIVE").sentence
    assert not examination.condition.volume.array[3, 4, 5:9].any()


def test_an_image_without_contrast_is_refused():
    for value in (0, 5, -3):
        refused(examine(IMAGE, Volume(np.full(MODEL.shape, value, np.int16), MODEL), MODEL), "CONSTANT")
    refused(examine(IMAGE, Volume(-head_labels(MODEL).array, MODEL), MODEL), "EMPTY")


def test_a_mask_in_place_of_an_image_is_warned_of():
    assert finding(examine(IMAGE, ball(MODEL), MODEL), "TWO_VALUES").level is Level.WARNING


# Regions


def test_a_region_is_brought_onto_the_grid_with_its_weights():
    weights = Volume((ramp(MODEL).array / 200 + 0.5).clip(0, 1), MODEL)
    examination = examine_region(weights, MODEL)
    assert examination.findings == ()
    assert np.allclose(examination.region.array, weights.array, atol=1e-6)
    turned = examine_region(ball(grid_in("RPI", (60, 61, 62), (1.3, 1.4, 1.5))), MODEL)
    middle = MODEL.to_world(np.argwhere(turned.region.array > 0.5).mean(axis=0))
    assert np.allclose(middle, STRUCTURES[1][0], atol=0.3)


def test_weights_beyond_zero_and_one_are_cut_and_told():
    examination = examine_region(ball(MODEL, 100), MODEL)
    assert finding(examination, "WEIGHTS_CUT").level is Level.WARNING
    assert examination.region.array.max() == 1


def test_a_region_that_acts_nowhere_or_is_no_number_is_refused():
    empty = examine_region(Volume(np.zeros(MODEL.shape), MODEL), MODEL, subject="region of ventricles")
    assert empty.region is None
    assert finding(empty, "EMPTY").subject == "region of ventricles"
    bad = np.ones(MODEL.shape)
    bad[0, 0, 0] = np.nan
    assert examine_region(Volume(bad, MODEL), MODEL).as_dict()["usable"] is False
    far = grid_in("RAS", (20, 21, 22), (2, 2, 2), centre=(300, 2, 3))
    assert examine_region(Volume(np.ones(far.shape), far), MODEL).region is None
