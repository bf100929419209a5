"""The hole that a removed brain leaves in an image of a skull, and what is put there."""

import numpy as np
import pytest
from phantoms import ALL_ORIENTATIONS, grid_in, tilted, world_of
from vcm.anatomy import brain_hole as module
from vcm.anatomy.brain_hole import GREY

SHAPE = (34, 40, 32)
LAS = grid_in("LAS", SHAPE, (2, 2, 2))


def brain_hole(image, grid=LAS):
    return module.brain_hole(image, grid)


def fill_hole(image, head, grid=LAS):
    return module.fill_hole(image, grid, head)


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


def seen_in(orientation, image, hole):
    """A grid of this orientation over the same field of view, and both arrays of the LAS grid on it, looked up by their
    millimetres."""
    order = [next(n for n, pair in enumerate(("RL", "AP", "SI")) if letter in pair) for letter in orientation]
    grid = grid_in(orientation, [image.shape[n] for n in order], (2, 2, 2))
    index = np.rint(grid_in("LAS", image.shape, (2, 2, 2)).to_voxel(world_of(grid))).astype(int)
    at = tuple(np.moveaxis(index, -1, 0))
    return grid, image[at], hole[at]


def cut_skull(way):
    """A skull that fills the field of view but for the air in front, with a hole that is cut off at the side."""
    image, hole = skull(way)
    return image[5:, :, :28], hole[5:, :, :28]


BESIDE_THE_NECK = np.s_[:17, 15:25, :15]
BESIDE_THE_CROWN = np.s_[:17, 15:25, 15:]


@pytest.mark.parametrize("orientation", ALL_ORIENTATIONS)
@pytest.mark.parametrize(("way", "is_hole"), [(BESIDE_THE_NECK, True), (BESIDE_THE_CROWN, False)])
def test_in_every_orientation_a_hole_may_reach_the_edges_below_and_no_others(orientation, way, is_hole):
    image, hole = cut_skull(way)
    las = brain_hole(image)
    grid, turned, expected = seen_in(orientation, image, las)
    assert np.array_equal(brain_hole(turned, grid), expected)
    assert las.any() == is_hole and (not is_hole or overlap(las, hole) > 0.98)


@pytest.mark.parametrize("orientation", ["LAS", "PIR", "IRA"])
def test_on_a_tilted_grid_the_nearest_face_counts(orientation):
    image, _ = cut_skull(BESIDE_THE_NECK)
    grid, turned, expected = seen_in(orientation, image, brain_hole(image))
    assert np.array_equal(brain_hole(turned, tilted(grid, 30)), expected) and expected.any()
