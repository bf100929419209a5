"""The hole that a removed brain leaves in an image of a skull, and what is put there."""

import numpy as np
import pytest
from vcm.volumes.brain_hole import GREY, fill_hole


def skull(brain=np.s_[5:14, 6:18, 4:15]):
    """A block of head in air, off every middle, with a hole and a dark pocket; and where the hole is."""
    image = np.zeros((20, 24, 22), np.float32)
    image[3:17, 4:21, 0:19] = np.linspace(0.2, 0.9, 14)[:, None, None]
    hole = np.zeros(image.shape, bool)
    hole[brain] = True
    image[hole] = 0
    image[15, 19, 10] = 0
    return image, hole


def test_the_hole_is_filled_and_nothing_else_is_touched():
    image, hole = skull()
    before = image.copy()
    filled = fill_hole(image)
    assert (filled[hole] == np.float32(GREY)).all()
    assert np.array_equal(filled[~hole], before[~hole]) and np.array_equal(image, before)
    assert filled.dtype == np.float32


def test_a_hole_that_is_open_to_the_neck_is_filled():
    image, hole = skull(np.s_[5:14, 6:18, 0:15])
    assert np.array_equal(fill_hole(image) > image, hole)


@pytest.mark.parametrize("brain", [np.s_[0:14, 6:18, 4:15], np.s_[5:14, 6:24, 4:15], np.s_[5:14, 6:18, 4:22]])
def test_what_is_open_to_the_air_is_air(brain):
    image, hole = skull(brain)
    assert not (fill_hole(image) > image)[hole].any()


def test_a_brain_that_was_rounded_on_its_way_is_still_a_hole():
    image, hole = skull()
    image[hole] = 0.6 / 255
    assert (fill_hole(image)[hole] == np.float32(GREY)).all()


def test_mirrored_it_is_the_mirror_image():
    image, _ = skull()
    assert np.array_equal(fill_hole(image[::-1].copy()), fill_hole(image)[::-1])


def test_an_image_without_a_hole_and_an_empty_one_stay_as_they_are():
    image, hole = skull()
    image[hole | (image == 0)] = 0.5
    assert np.array_equal(fill_hole(image), image)
    nothing = np.zeros((6, 7, 8), np.float32)
    assert np.array_equal(fill_hole(nothing), nothing)
