"""The hole that a removed brain leaves in an image of a skull, and what is put there."""

import numpy as np
import pytest
from vcm.anatomy.brain_hole import GREY, brain_hole, fill_hole

SHAPE = (34, 40, 32)


def skull(way_out=np.s_[:0]):
    """A block of head in air, off every middle, with a round hole, a way out of it and a dark pocket; and the hole."""
    image = np.zeros(SHAPE, np.float32)
    image[4:30, 5:36, 0:28] = np.linspace(0.2, 0.9, 26)[:, None, None]
    i, j, k = np.indices(SHAPE)
    hole = ((i - 17) / 10.5) ** 2 + ((j - 20) / 12.5) ** 2 + ((k - 15) / 9.5) ** 2 < 1
    hole[way_out] = True
    image[hole] = 0
    image[28, 33, 10] = 0
    return image, hole


def overlap(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def typical():
    """A head unlike `skull`, different in each voxel."""
    return np.linspace(0.3, 0.8, int(np.prod(SHAPE)), dtype=np.float32).reshape(SHAPE)


def test_the_hole_is_found():
    image, hole = skull()
    found = brain_hole(image)
    assert overlap(found, hole) > 0.99 and not found[~hole].any()


def test_the_hole_is_filled_from_the_typical_head_and_nothing_else_is_touched():
    image, _ = skull()
    before, head, hole = image.copy(), typical(), brain_hole(image)
    filled = fill_hole(image, head)
    assert np.array_equal(filled[~hole], before[~hole]) and np.array_equal(image, before)
    assert np.array_equal(head, typical()) and filled.dtype == np.float32
    rim = hole.copy()
    rim[11:24, 12:29, 9:22] = False
    assert rim.any() and np.array_equal(filled[rim], head[rim])


def test_far_from_the_skull_the_fill_has_a_grain_that_is_the_same_each_time():
    image, hole = skull()
    deep = np.zeros_like(hole)
    deep[15:20, 17:24, 13:18] = True
    grain = (fill_hole(image, typical()) - typical())[deep]
    assert 0.1 < grain.std() < 0.22
    assert np.array_equal(fill_hole(image, typical()), fill_hole(image, typical()))


def test_without_a_typical_head_the_fill_is_grey():
    image, hole = skull()
    assert np.median(fill_hole(image, None)[hole]) == np.float32(GREY)


def test_a_hole_that_is_open_to_the_neck_is_a_hole():
    image, hole = skull(np.s_[12:22, 14:26, 0:15])
    found = brain_hole(image)
    assert overlap(found, hole) > 0.98 and found[17, 20, 0]


@pytest.mark.parametrize("way", [np.s_[:17, 15:25, 11:19], np.s_[13:21, 20:, 11:19], np.s_[13:21, 15:25, 15:]])
def test_what_is_wide_open_to_the_air_is_air(way):
    image, hole = skull(way)
    assert not brain_hole(image)[hole].any()


@pytest.mark.parametrize("way", [np.s_[:17, 15:25, 11:19], np.s_[13:21, 20:, 11:19]])
def test_a_brain_that_the_field_of_view_cuts_off_leaves_a_hole(way):
    """A wide head fills the image from side to side: there is no air beyond the cut."""
    image, hole = skull(way)
    cut = np.s_[5:] if way[0].start is None else np.s_[:, :35]
    found = brain_hole(image[cut])
    assert overlap(found, hole[cut]) > 0.95


def test_a_dark_pocket_of_a_whole_head_is_no_brain_s_hole():
    image, hole = skull()
    image[hole] = 0.5
    image[10:16, 8:14, 10:16] = 0
    assert not brain_hole(image).any()


def test_a_narrow_way_out_does_not_make_the_hole_air():
    _, hole = skull()
    image, _ = skull(np.s_[16:19, 18:21, 15:28])
    found = brain_hole(image)
    assert overlap(found, hole) > 0.98 and not found[:, :, 27:].any()


def test_a_brain_that_was_rounded_on_its_way_is_still_a_hole():
    image, hole = skull()
    exact = brain_hole(image)
    image[hole] = 0.6 / 255
    assert exact.any() and np.array_equal(brain_hole(image), exact)


def test_the_hole_of_the_mirror_image_is_the_mirrored_hole():
    image, _ = skull()
    assert np.array_equal(brain_hole(image[::-1].copy()), brain_hole(image)[::-1])


def test_an_image_without_a_hole_and_an_empty_one_stay_as_they_are():
    image, hole = skull()
    image[hole | (image == 0)] = 0.5
    assert np.array_equal(fill_hole(image, typical()), image)
    nothing = np.zeros((6, 7, 8), np.float32)
    assert np.array_equal(fill_hole(nothing, nothing), nothing)
