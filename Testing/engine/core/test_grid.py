import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import ALL_ORIENTATIONS, DIRECTIONS, grid_in, rotation, tilted
from vcm.core.errors import VcmError
from vcm.core.grid import Grid

angles = st.floats(-180, 180)
spacings = st.tuples(*[st.floats(0.2, 6.0)] * 3)
shapes = st.tuples(*[st.integers(1, 300)] * 3)
axes = st.tuples(*[st.floats(0.1, 1.0)] * 3)
places = st.tuples(*[st.floats(-200, 200)] * 3)


@st.composite
def any_grid(draw):
    straight = grid_in(draw(st.sampled_from(ALL_ORIENTATIONS)), draw(shapes), draw(spacings), draw(places))
    return Grid(straight.shape, rotation(draw(angles), draw(axes)) @ straight.affine)


@settings(max_examples=60, deadline=None)
@given(any_grid(), places)
def test_going_to_the_world_and_back_changes_no_index(grid, index):
    assert np.allclose(grid.to_voxel(grid.to_world(index)), index, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(any_grid())
def test_spacing_and_volume_survive_any_rotation(grid):
    assert np.isclose(np.prod(grid.spacing) / 1000, grid.voxel_ml)
    ends = grid.to_world([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)])
    assert np.allclose(np.linalg.norm(ends[1:] - ends[0], axis=1), grid.spacing)


@settings(max_examples=60, deadline=None)
@given(any_grid(), shapes)
def test_a_downsampled_grid_covers_the_same_field_of_view(grid, shape):
    other = grid.downsampled(shape)
    for corner in ((0, 0, 0), (1, 0, 0), (0, 1, 1), (1, 1, 1)):
        edge = np.asarray(corner, float)
        assert np.allclose(
            grid.to_world(edge * grid.shape - 0.5), other.to_world(edge * np.asarray(shape) - 0.5), atol=1e-6
        )
    assert np.allclose(other.centre, grid.centre, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(any_grid())
def test_an_orientation_names_each_direction_once(grid):
    assert sorted(DIRECTIONS[letter][0] for letter in grid.orientation) == [0, 1, 2]


@pytest.mark.parametrize("orientation", ALL_ORIENTATIONS)
def test_every_straight_orientation_is_named(orientation):
    grid = grid_in(orientation, (5, 7, 11))
    assert grid.orientation == orientation
    assert grid.obliqueness < 1e-4


@pytest.mark.parametrize("orientation", ["LAS", "PIR", "SRA"])
def test_a_small_tilt_keeps_the_name_and_is_measured(orientation):
    grid = tilted(grid_in(orientation), 12)
    assert grid.orientation == orientation
    assert 5 < grid.obliqueness < 12.01


@pytest.mark.parametrize("orientation", ALL_ORIENTATIONS)
@pytest.mark.parametrize("degrees", [0, 25])
def test_the_axis_from_left_to_right_and_the_face_towards_the_feet_are_found(orientation, degrees):
    grid = tilted(grid_in(orientation, (5, 7, 11), (2.0, 3.0, 1.5)), degrees)
    ends = np.diag(np.array(grid.shape) - 1)
    across = [
        abs(grid.to_world(end) - grid.to_world((0, 0, 0)))[0] / np.linalg.norm(end * grid.spacing) for end in ends
    ]
    assert grid.left_right == int(np.argmax(across))
    axis, side = grid.lower_face
    low, high = np.full(3, 2), np.full(3, 2)
    low[axis], high[axis] = (0, 4) if side == 0 else (4, 0)
    assert grid.to_world(high)[2] - grid.to_world(low)[2] > 4 * grid.spacing[axis] * 0.8


def test_the_first_index_grows_to_the_left_in_a_las_grid():
    grid = grid_in("LAS", (5, 7, 11), (2, 3, 4), centre=(0, 0, 0))
    assert np.allclose(grid.to_world((0, 0, 0)), (4, -9, -20))
    assert np.allclose(grid.to_world((4, 6, 10)), (-4, 9, 20))


def test_grids_are_the_same_only_with_one_shape_and_corners_in_one_place():
    grid = grid_in("LAS", (50, 60, 70), (1, 1, 1))
    nudged, turned = grid.affine.copy(), rotation(0.01) @ grid.affine
    nudged[1, 3] += 5e-4
    assert grid.same_as(Grid(grid.shape, nudged))
    assert not grid.same_as(Grid(grid.shape, turned))
    assert grid.same_as(Grid(grid.shape, turned), tolerance_mm=1)
    assert not grid.same_as(Grid((50, 70, 60), grid.affine))


@pytest.mark.parametrize(
    ("shape", "affine"),
    [
        ((4, 5), np.eye(4)),
        ((4, 5, 0), np.eye(4)),
        ((4, 5, 6), np.eye(3)),
        ((4, 5, 6), np.diag([1, 0, 1, 1.0])),
        ((4, 5, 6), np.diag([1, np.nan, 1, 1.0])),
        ((4, 5, 6), np.diag([1, 1, 1, 2.0])),
    ],
)
def test_an_impossible_grid_is_refused(shape, affine):
    with pytest.raises(VcmError) as caught:
        Grid(shape, affine)
    assert caught.value.code == "GEOMETRY"


def test_a_grid_cannot_be_changed_behind_its_back():
    affine = np.eye(4)
    grid = Grid((2, 3, 4), affine)
    affine[0, 3] = 99
    assert grid.affine[0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 3] = 1
