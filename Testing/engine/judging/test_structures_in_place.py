"""Pieces of structures where no head has them, in a scan's segmentation."""

import numpy as np
import pytest
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.judging.reference_head import Template
from vcm.judging.structures_in_place import FARTHEST_MM, REACH_MM, in_place

GRID = Grid((40, 30, 24), [[-2.0, 0, 0, 40], [0, 3.0, 0, -45], [0, 0, 1.5, -20], [0, 0, 0, 1]])


def box(array, value, *bounds):
    array[tuple(slice(low, high) for low, high in zip(bounds[::2], bounds[1::2], strict=True))] = value


@pytest.fixture
def typical():
    """A brain of white matter with ventricles, and a hippocampus on one side."""
    labels = np.zeros(GRID.shape, np.uint8)
    box(labels, 1, 8, 32, 6, 24, 5, 20)
    box(labels, 4, 18, 22, 12, 18, 10, 14)
    box(labels, 5, 8, 14, 8, 16, 6, 11)
    return Template(Volume(np.zeros(GRID.shape, np.float32), GRID), Volume(labels, GRID), "a head")


def cleaned(labels, typical):
    return in_place(Volume(labels, GRID), typical).array


def test_a_head_like_the_typical_one_stays_as_it_is(typical):
    labels = np.asarray(typical.labels.array)
    found = in_place(typical.labels, typical)
    assert np.array_equal(found.array, labels) and found.array.dtype == np.uint8 and found.grid is GRID


def test_ventricles_at_the_scalp_become_what_surrounds_them(typical):
    labels = np.array(typical.labels.array)
    before = labels.copy()
    box(labels, 4, 1, 3, 2, 28, 21, 23)  # in air
    box(labels, 4, 28, 31, 8, 10, 6, 8)  # within white matter, far from the ventricles
    assert np.array_equal(cleaned(labels, typical), before)


@pytest.mark.parametrize(("axis", "step", "end"), [(0, 2.0, 32), (1, 3.0, 24)])
def test_what_hangs_on_the_brain_is_cut_off_where_no_head_reaches(typical, axis, step, end):
    """A muscle beside the temporal lobe, taken for grey matter: one piece with the brain, as far as 18 mm from it."""
    labels = np.array(typical.labels.array)
    column = [slice(18, 22), slice(14, 17), slice(10, 13)]
    column[axis] = slice(end, min(end + round(18 / step), labels.shape[axis]))
    labels[tuple(column)] = 2
    along = np.flatnonzero((cleaned(labels, typical) == 2).any(axis=tuple({0, 1, 2} - {axis})))
    assert along.min() == end and (along.max() - end + 1) * step <= FARTHEST_MM < (along.max() - end + 2) * step


def test_large_ventricles_stay_whole_however_far_they_reach(typical):
    labels = np.array(typical.labels.array)
    box(labels, 4, 9, 31, 7, 23, 10, 14)
    assert np.array_equal(cleaned(labels, typical), labels)


@pytest.mark.parametrize(("axis", "step"), [(0, 2.0), (1, 3.0), (2, 1.5)])
def test_the_reach_is_measured_in_millimetres_along_every_axis(typical, axis, step):
    """A piece at 9 mm from the typical ventricles stays; one at 12 mm goes."""
    ends = (22, 18, 14)
    for distance, stays in ((9.0, True), (12.0, False)):
        labels = np.array(typical.labels.array)
        labels[labels == 4] = 1
        place = [20, 15, 12]
        place[axis] = ends[axis] - 1 + round(distance / step)
        labels[tuple(place)] = 4
        assert bool((cleaned(labels, typical) == 4).any()) is stays, distance
    assert 9.0 < REACH_MM < 12.0


def test_a_structure_that_is_only_elsewhere_is_not_found(typical):
    labels = np.array(typical.labels.array)
    labels[labels == 5] = 1
    box(labels, 5, 27, 30, 10, 14, 7, 9)  # the other side, 28 mm away
    assert not (cleaned(labels, typical) == 5).any()


@pytest.mark.parametrize("dots", [0, 5])
def test_a_class_that_the_typical_head_lacks_or_hardly_shows_is_left_alone(typical, dots):
    labels = np.array(typical.labels.array)
    typical.labels.array[30, 20, 15 : 15 + dots] = 9
    box(labels, 9, 4, 6, 6, 8, 5, 7)
    assert np.array_equal(cleaned(labels, typical), labels)


def test_a_lesion_stays_in_the_brain_and_goes_outside_it(typical):
    labels = np.array(typical.labels.array)
    box(labels, 10, 24, 29, 8, 12, 6, 10)  # far from any typical place
    kept = labels.copy()
    box(labels, 10, 1, 5, 25, 28, 1, 4)  # an orbit
    box(labels, 10, 30, 37, 14, 17, 12, 15)  # mostly outside
    found = cleaned(labels, typical)
    assert np.array_equal(found == 10, kept == 10)


def test_the_map_that_was_given_is_not_changed(typical):
    labels = np.array(typical.labels.array)
    box(labels, 4, 1, 3, 2, 28, 21, 23)
    given = labels.copy()
    cleaned(labels, typical)
    assert np.array_equal(labels, given)
