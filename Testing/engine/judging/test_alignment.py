"""What the Alignment says about Samples made by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
from vcm.conditions.condition import ClassSpec, Condition, ConditionSpec, Kind
from vcm.core.errors import VcmError
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.judging.alignment import align, dice

GRID = Grid((20, 24, 18), [[-2, 0, 0, 19], [0, 3, 0, -30], [0, 0, 1.5, 4], [0, 0, 0, 1]])
VOXEL_ML = 9 / 1000


def volume(array, grid=GRID):
    return Volume(np.asarray(array), grid)


def blank(dtype=np.uint8):
    return np.zeros(GRID.shape, dtype)


def mask_condition(array, segmenter=(4,), name="ventricles"):
    spec = ConditionSpec(name, Kind.MASK, (ClassSpec(1, name, segmenter),))
    return Condition(spec, volume(array))


def box(start, stop, value=1, into=None):
    array = blank() if into is None else into
    array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = value
    return array


def test_overlap_distance_and_volumes_of_a_shifted_structure_are_those_counted_by_hand():
    asked = box((3, 4, 5), (9, 8, 11))
    found = box((3, 5, 5), (9, 9, 11), value=4)  # one voxel of 3 mm further forward
    entry = align(volume(blank(float)), [mask_condition(asked)], volume(found)).classes[0]
    assert entry.dice == pytest.approx(2 * (6 * 3 * 6) / (2 * 6 * 4 * 6))
    assert entry.hd95_mm == pytest.approx(3.0)
    assert 0 < entry.assd_mm < 3.0
    assert entry.requested_ml == pytest.approx(144 * VOXEL_ML)
    assert entry.obtained_ml == pytest.approx(144 * VOXEL_ML)


def test_a_brain_mask_is_measured_against_the_union_of_its_labels():
    asked = box((2, 2, 2), (12, 14, 9))
    found = box((2, 2, 2), (12, 14, 5), value=1)
    found = box((2, 2, 5), (12, 14, 9), value=2, into=found)
    found = box((13, 15, 10), (16, 18, 13), value=7, into=found)  # CSF, which is not brain
    entry = align(volume(blank(float)), [mask_condition(asked, (1, 2), "brain")], volume(found)).classes[0]
    assert (entry.dice, entry.hd95_mm, entry.assd_mm) == (1.0, 0.0, 0.0)


def test_each_class_of_a_label_map_is_measured_by_its_own_value():
    labels = box((1, 1, 1), (4, 4, 4), value=3)
    labels = box((8, 9, 2), (12, 15, 9), value=5, into=labels)
    found = np.select([labels == 3, labels == 5], [40, 50], 0).astype(np.uint8)
    found[8:10] = 0
    classes = (ClassSpec(3, "amygdala", (40,)), ClassSpec(5, "hippocampus", (50,)))
    condition = Condition(ConditionSpec("anatomy", Kind.LABELS, classes), volume(labels))
    amygdala, hippocampus = align(volume(blank(float)), [condition], volume(found)).classes
    assert (amygdala.name, amygdala.dice) == ("amygdala", 1.0)
    assert hippocampus.dice == pytest.approx(2 / 3)
    assert hippocampus.obtained_ml == pytest.approx(hippocampus.requested_ml / 2)


def test_a_structure_the_segmenter_does_not_know_is_said_to_be_not_measurable():
    asked = box((3, 4, 5), (9, 8, 11))
    entry = align(volume(blank(float)), [mask_condition(asked, (), "tumour")], volume(blank())).classes[0]
    assert (entry.dice, entry.hd95_mm, entry.assd_mm, entry.obtained_ml) == (None, None, None, None)
    assert entry.summary() == "tumour: 1.3 ml asked for (not measurable with this segmenter)"


def test_without_a_segmenter_only_what_was_asked_for_is_told():
    entry = align(volume(blank(float)), [mask_condition(box((3, 4, 5), (9, 8, 11)))], None).classes[0]
    assert entry.dice is None
    assert "no segmenter" in entry.summary()


@pytest.mark.parametrize(
    ("asked", "found", "expected_dice", "words"),
    [
        (True, False, 0.0, "not found in the image"),
        (False, True, 0.0, "none was asked for, but some was found"),
        (False, False, None, "none was asked for and none was found"),
    ],
)
def test_an_empty_structure_has_no_distance_and_a_reason_for_it(asked, found, expected_dice, words):
    some = box((3, 4, 5), (9, 8, 11))
    condition = mask_condition(some if asked else blank())
    result = align(volume(blank(float)), [condition], volume(4 * some if found else blank()))
    entry = result.classes[0]
    assert (entry.dice, entry.hd95_mm, entry.assd_mm) == (expected_dice, None, None)
    assert words in entry.remark
    assert json.loads(json.dumps(result.as_dict(), allow_nan=False))["classes"][0]["hd95_mm"] is None


def test_the_error_of_an_image_counts_only_where_the_condition_is_above_zero():
    rng = np.random.default_rng(0)
    skull = np.where(box((0, 0, 0), (20, 24, 4)), rng.uniform(0.2, 0.9, GRID.shape), 0)
    sample = skull + np.where(skull > 0, 0.1, 0.7)  # far off where nothing was asked for
    sample[:10][skull[:10] > 0] -= 0.3
    condition = Condition(ConditionSpec("skull", Kind.IMAGE), volume(skull.astype(np.float32)))
    entry = align(volume(sample), [condition], None).images[0]
    assert entry.mse == pytest.approx((0.1**2 + 0.2**2) / 2, rel=1e-5)
    assert entry.mae == pytest.approx(0.15, rel=1e-5)
    assert entry.support_ml == pytest.approx(20 * 24 * 4 * VOXEL_ML)


def test_an_image_condition_of_zeros_has_no_error_and_says_so():
    condition = Condition(ConditionSpec("skull", Kind.IMAGE), volume(blank(np.float32)))
    result = align(volume(blank(float)), [condition], None)
    assert result.images[0].mse is None
    assert result.summary() == "skull: not measurable: the condition is zero everywhere"


def test_the_summary_of_a_large_label_map_is_its_mean_and_its_worst_class():
    labels = blank()
    classes = []
    for value, size in ((1, 2), (2, 3), (3, 4), (4, 5)):
        box((4 * value - 4, 0, 0), (4 * value - 1, size, 6), value=value, into=labels)
        classes.append(ClassSpec(value, f"part {value}", (value,)))
    found = labels.copy()
    found[labels == 3] = 0
    found[8:11, 0, 0] = 3
    condition = Condition(ConditionSpec("anatomy", Kind.LABELS, tuple(classes)), volume(labels))
    text = align(volume(blank(float)), [condition], volume(found)).summary()
    worst = 2 * 3 / (3 + 3 * 4 * 6)
    assert text == f"anatomy (4 classes): mean Dice {(3 + worst) / 4:.2f}, lowest {worst:.2f} (part 3)"


def test_the_twin_is_measured_by_the_same_call_and_aligns_less():
    asked = box((3, 4, 5), (9, 8, 11))
    conditions = [mask_condition(asked)]
    controlled = align(volume(blank(float)), conditions, volume(4 * asked), "a judge")
    twin = align(volume(blank(float)), conditions, volume(4 * np.roll(asked, 5, 2)), "a judge")
    assert controlled.classes[0].dice > twin.classes[0].dice
    assert controlled.as_dict()["judge"] == "a judge"


def test_volumes_of_one_shape_on_different_grids_are_refused():
    shifted = Grid(GRID.shape, GRID.affine + np.array([[0, 0, 0, 5.0]] + [[0] * 4] * 3))
    conditions = [mask_condition(box((3, 4, 5), (9, 8, 11)))]
    with pytest.raises(VcmError, match="the condition ventricles lie on different grids"):
        align(volume(blank(float), shifted), conditions, None)
    with pytest.raises(VcmError, match="the segmentation lie on different grids"):
        align(volume(blank(float)), conditions, volume(blank(), shifted))


def test_a_sample_with_a_value_that_is_no_number_is_refused_in_a_sentence():
    sample = blank(float)
    sample[3, 4, 5] = np.nan
    with pytest.raises(VcmError, match="not numbers"):
        align(volume(sample), [], None)


def test_dice_of_two_empty_masks_is_nothing_and_of_one_empty_mask_is_zero():
    some = box((3, 4, 5), (9, 8, 11)).astype(bool)
    assert dice(some & False, some & False) is None
    assert dice(some, some & False) == 0.0


def test_no_number_of_a_report_is_longer_than_it_is_true():
    asked = box((3, 4, 5), (9, 8, 12))
    entry = align(volume(blank(float)), [mask_condition(asked)], volume(4 * np.roll(asked, 1, 0))).classes[0]
    assert all(len(f"{value}") <= 12 for value in entry.as_dict().values() if isinstance(value, float))


# By intensity

ATLAS = Grid((40, 44, 36), [[-2, 0, 0, 40], [0, 2, 0, -44], [0, 0, 2, -30], [0, 0, 0, 1]])


def ball(centre, radius, shape=ATLAS.shape):
    return sum((i - c) ** 2 for i, c in zip(np.ogrid[tuple(slice(n) for n in shape)], centre, strict=True)) <= radius**2


def head_with(fluid, recognised, dark=0.2, bright=0.8):
    """A noisy image of tissue with fluid, and a segmentation that recognises a part of the fluid."""
    noise = np.random.default_rng(3).normal(0, 0.03, ATLAS.shape)
    head = ball((20, 22, 18), 16)
    image = np.where(head, np.where(fluid, dark, bright), 0) + noise
    labels = np.where(head, np.where(recognised, 4, 1), 0).astype(np.uint8)
    return Volume(image, ATLAS), Volume(labels, ATLAS)


def asked_for(mask):
    spec = ConditionSpec("ventricles", Kind.MASK, (ClassSpec(1, "ventricles", (4,)),))
    return Condition(spec, Volume(mask.astype(np.uint8), ATLAS))


@pytest.mark.parametrize(("dark", "bright"), [(0.2, 0.8), (0.9, 0.4)], ids=["as in T1w", "as in T2w"])
def test_a_sphere_that_the_segmenter_sees_in_part_is_measured_by_intensity_and_that_is_said(dark, bright):
    sphere = ball((18, 25, 17), 6)
    recognised = sphere & (np.arange(ATLAS.shape[2]) < 16)
    sample, labels = head_with(sphere, recognised, dark, bright)
    entry = align(sample, [asked_for(sphere)], labels).classes[0]
    assert entry.intensity_ml == pytest.approx(entry.resampled_ml, rel=0.02)
    assert entry.intensity_dice > 0.98
    assert entry.dice < 0.7, "the segmenter's own measure is kept"
    assert f"{entry.intensity_ml:.1f} ml by intensity" in entry.remark and "does not recognise" in entry.remark
    assert entry.remark in entry.summary()


def test_what_the_segmenter_takes_for_a_lesion_is_no_tissue_to_measure_fluid_against():
    sphere, edge = ball((18, 25, 17), 6), ball((18, 25, 17), 7)
    recognised = sphere & (np.arange(ATLAS.shape[2]) < 14)
    sample, labels = head_with(sphere, recognised)
    taken = np.where(edge & ~recognised, 10, labels.array).astype(np.uint8)
    entry = align(sample, [asked_for(sphere)], Volume(taken, ATLAS)).classes[0]
    assert entry.intensity_ml == pytest.approx(entry.resampled_ml, rel=0.02) and entry.intensity_dice > 0.98


def test_fluid_around_the_brain_is_not_told_from_bone_by_intensity():
    head = ball((20, 22, 18), 16)
    spec = ConditionSpec("csf", Kind.MASK, (ClassSpec(1, "extra-ventricular CSF", (7,)),))
    asked = head & ~ball((20, 22, 18), 13)
    sample, labels = head_with(asked, asked)
    seen = Volume(np.where(labels.array == 4, 7, labels.array).astype(np.uint8), ATLAS)
    entry = align(sample, [Condition(spec, Volume(asked.astype(np.uint8), ATLAS))], seen).classes[0]
    assert entry.dice == 1.0 and entry.intensity_ml is None and entry.remark == ""


def test_a_structure_that_the_segmenter_sees_as_well_has_no_remark():
    sphere = ball((18, 25, 17), 6)
    entry = align(*_with_condition(head_with(sphere, sphere), asked_for(sphere))).classes[0]
    assert entry.intensity_dice > 0.98 and entry.remark == ""


def test_a_structure_that_the_image_does_not_show_is_not_found_by_intensity():
    elsewhere, asked = ball((18, 12, 17), 4), ball((20, 30, 18), 5)
    entry = align(*_with_condition(head_with(elsewhere, elsewhere), asked_for(asked))).classes[0]
    assert entry.intensity_ml == 0 and entry.intensity_dice == 0 and entry.dice == 0


def test_fluid_far_from_the_structure_does_not_count():
    asked, near = ball((18, 25, 17), 5), ball((18, 25, 17), 5) | ball((18, 12, 17), 4)
    entry = align(*_with_condition(head_with(near, near), asked_for(asked))).classes[0]
    assert entry.intensity_ml == pytest.approx(entry.resampled_ml, rel=0.02)


def test_without_contrast_or_fluid_nothing_is_measured_by_intensity():
    sphere = ball((18, 25, 17), 6)
    flat = align(*_with_condition(head_with(sphere, sphere, 0.79, 0.8), asked_for(sphere))).classes[0]
    none = align(*_with_condition(head_with(sphere, sphere & False), asked_for(sphere))).classes[0]
    assert flat.intensity_ml is None and none.intensity_ml is None and none.intensity_dice is None


def test_asked_for_is_what_was_drawn_and_the_resampled_mask_stands_beside_it():
    sphere = ball((18, 25, 17), 6)
    drawn = replace(asked_for(sphere), drawn_ml={"ventricles": 7.25})
    sample, labels = head_with(sphere, sphere)
    entry = align(sample, [drawn], labels).classes[0]
    assert entry.requested_ml == 7.25
    assert entry.resampled_ml == pytest.approx(sphere.sum() * ATLAS.voxel_ml)
    assert align(sample, [drawn], None).classes[0].requested_ml == 7.25, "without a segmenter too"


def _with_condition(head, condition):
    sample, labels = head
    return sample, [condition], labels


def test_a_structure_that_the_judge_does_not_know_is_not_called_missing():
    asked = box((2, 2, 2), (12, 14, 9))
    lesions, brain = mask_condition(asked, (10,), "lesions"), mask_condition(asked, (1, 10), "brain")
    found = align(volume(blank(float)), [lesions, brain], volume(box((2, 2, 2), (12, 14, 9))), known=(1, 2, 3)).classes
    assert (found[0].dice, found[0].obtained_ml) == (None, None)
    assert found[0].remark == "not measurable with this segmenter"
    assert found[1].dice == 1.0
    assert align(volume(blank(float)), [lesions], volume(blank()), known=(1, 10)).classes[0].dice == 0.0
