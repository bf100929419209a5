"""The input doctor on images and on regions."""

from dataclasses import replace

import numpy as np
import pytest
from doctor_cases import IMAGE, MODEL, ball, finding, refused
from phantoms import STRUCTURES, grid_in, head_labels, ramp
from vcm.conditions.doctor import examine, examine_region
from vcm.core.findings import Level
from vcm.core.volume import Volume

# Images


def test_an_image_in_order_is_kept_as_it_is():
    image = Volume((ramp(MODEL).array / 200 + 0.5).clip(0.01, 0.99).astype(np.float32), MODEL)
    examination = examine(replace(IMAGE, name="flair"), image, MODEL)
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
