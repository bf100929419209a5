import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import ALL_ORIENTATIONS, grid_in, head_labels, noise, ramp, rotation, tilted, world_of
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.volumes.field_of_view import lost_voxels
from vcm.volumes.resampling import resample_image, resample_labels

MODEL = grid_in("LAS", (37, 53, 41), (2, 1.5, 1.75))


def turned_into(grid, orientation):
    """The grid of the very same voxels, with its axes in another order and direction."""
    letters = grid.orientation
    opposite = dict(zip("RLAPSI", "LRPAIS", strict=True))
    axes = [letters.index(c) if c in letters else letters.index(opposite[c]) for c in orientation]
    shape = [grid.shape[axis] for axis in axes]
    affine = np.eye(4)
    corner = np.zeros(3)
    for new, old in enumerate(axes):
        sign = 1 if orientation[new] == letters[old] else -1
        affine[:3, new] = sign * grid.affine[:3, old]
        corner[old] = 0 if sign > 0 else grid.shape[old] - 1
    affine[:3, 3] = grid.to_world(corner)
    return Grid(shape, affine)


def values_at(volume, world):
    """The voxels nearest to places in the world; an oracle that only uses the affine."""
    index = np.rint(volume.grid.to_voxel(world)).astype(int)
    return volume.array[tuple(index.T)]


# The same voxels


@pytest.mark.parametrize("orientation", ALL_ORIENTATIONS)
def test_each_of_the_48_orientations_is_copied_voxel_for_voxel(orientation):
    other = turned_into(MODEL, orientation)
    assert other.orientation == orientation
    places = np.random.default_rng(1).integers(0, MODEL.shape, (400, 3))
    world = MODEL.to_world(places)
    for resample in (resample_image, resample_labels):
        source = noise(other, np.int16)
        result = resample(source, MODEL)
        assert np.array_equal(result.array[tuple(places.T)], values_at(source, world))
        assert np.array_equal(resample(result, other).array, source.array)


@pytest.mark.parametrize("orientation", ["LAS", "IPR", "ASL"])
def test_a_shift_by_whole_voxels_crops_and_pads_without_interpolation(orientation):
    wide = grid_in("LAS", (45, 50, 47), (2, 1.5, 1.75), centre=(0, 0, 0))
    affine = wide.affine.copy()
    affine[:3, 3] = wide.to_world((-3, 4, 9))
    shifted = turned_into(Grid((40, 60, 31), affine), orientation)
    labels = noise(shifted, np.int16)
    result = resample_labels(labels, wide)
    index = np.rint(shifted.to_voxel(world_of(wide))).astype(int)
    inside = ((index >= 0) & (index < shifted.shape)).all(axis=-1)
    assert 0 < inside.mean() < 1
    assert np.array_equal(result.array[inside], labels.array[tuple(index[inside].T)])
    assert not result.array[~inside].any()


def test_grids_that_never_meet_give_nothing():
    far = grid_in(shape=(5, 6, 7), spacing=MODEL.spacing, centre=(900, 0, 0))
    for source in (noise(far, np.int16), noise(tilted(far), np.int16)):
        assert not resample_labels(source, MODEL).array.any()
        assert not resample_image(source, MODEL).array.any()


def test_the_same_grid_gives_the_same_voxels_in_the_same_type():
    for dtype in (np.uint8, np.int16, np.int32):
        labels = noise(MODEL, dtype)
        assert resample_labels(labels, MODEL).array.dtype == dtype
        assert np.array_equal(resample_labels(labels, MODEL).array, labels.array)
    assert resample_image(noise(MODEL, np.int16), MODEL).array.dtype == np.float32
    assert resample_image(noise(MODEL, np.float64), MODEL).array.dtype == np.float64


def test_a_copy_shares_no_memory_with_its_source():
    source = noise(MODEL, np.float32)
    before = source.array.copy()
    resample_image(source, MODEL).array[:] = 0
    resample_labels(source, MODEL).array[:] = 0
    assert np.array_equal(source.array, before)


# Images


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(ALL_ORIENTATIONS),
    st.floats(-90, 90),
    st.tuples(*[st.floats(0.1, 1)] * 3),
    st.tuples(*[st.floats(0.9, 2.5)] * 3),
)
def test_a_ramp_over_the_millimetres_stays_where_it_is(orientation, degrees, axis, spacing):
    turn = rotation(degrees, axis)
    straight = grid_in(orientation, (60, 61, 62), spacing, centre=(0, 0, 0))
    source = ramp(Grid(straight.shape, turn @ straight.affine))
    target = grid_in("LAS", (9, 11, 7), (2.5, 2.4, 2.6), centre=(3, -4, 2))
    # The smoothing before larger voxels leaves a straight ramp alone, away from its own edges.
    assert np.allclose(resample_image(source, target).array, ramp(target).array, atol=2e-3)


def test_a_sheared_image_is_read_at_its_place():
    sheared = grid_in("PIR", (50, 51, 52), (1.2, 1.1, 1.3), centre=(0, 0, 0)).affine.copy()
    sheared[:3, 0] += (0.3, 0.1, 0.2)
    own = Grid((50, 51, 52), sheared)
    target = grid_in("LAS", (9, 11, 7), centre=own.centre)
    assert np.allclose(resample_image(ramp(own), target).array, ramp(target).array, atol=1e-6)


def test_what_lies_outside_an_image_is_zero():
    small = tilted(grid_in("LAS", (9, 10, 11), (2, 1.5, 1.75)))
    result = resample_image(Volume(np.full(small.shape, 7.0), small), MODEL).array
    index = small.to_voxel(world_of(MODEL))
    outside = ((index < -0.5 - 1e-6) | (index > np.asarray(small.shape) - 0.5 + 1e-6)).any(axis=-1)
    assert not result[outside].any()
    assert np.allclose(result[((index > 0) & (index < np.asarray(small.shape) - 1)).all(axis=-1)], 7)


def test_a_fine_pattern_becomes_its_mean_in_larger_voxels():
    fine = grid_in("LAS", (60, 60, 60), (1, 1, 1), centre=(0, 0, 0))
    pattern = (np.indices(fine.shape).sum(axis=0) % 2).astype(np.float32)
    coarse = grid_in("LAS", (12, 13, 14), (3, 3, 3), centre=(0, 0.5, 0))
    on_voxels = fine.to_voxel(coarse.to_world((2, 3, 4)))
    assert np.allclose(on_voxels, np.rint(on_voxels))
    assert np.abs(resample_image(Volume(pattern, fine), coarse).array - 0.5).max() < 0.1


@pytest.mark.parametrize("times", [7, 50, 333])
def test_far_larger_voxels_hold_the_mean_of_what_they_cover(times):
    count = 11 * times + 5
    fine = grid_in("PSR", (count, 4, 5), (0.01, 2, 2), centre=(0, 0, 0))
    coarse = grid_in("LAS", (4, 9, 3), (2, 0.01 * times, 2), centre=(0, 0, 0))
    pattern = (np.indices(fine.shape)[0] % 2).astype(np.float32)
    assert np.allclose(resample_image(Volume(pattern, fine), coarse).array[:, 3:6], 0.5, atol=0.01)
    rising = resample_image(ramp(fine), coarse).array[:, 3:6]
    assert np.allclose(rising, ramp(coarse).array[:, 3:6], atol=2e-3)


def test_an_image_within_one_voxel_of_the_new_grid_stays_finite():
    speck = grid_in("LAS", (5, 3, 4), (0.02, 0.001, 30), centre=MODEL.to_world((10, 20, 30)))
    result = resample_image(noise(speck, np.uint8), MODEL).array
    assert np.isfinite(result).all()
    assert result[10, 20, 30] > 0


def test_only_the_axis_that_becomes_coarser_is_smoothed():
    own = grid_in("LAS", (40, 41, 42), (1, 1, 1), centre=(0, 0, 0))
    stripes = np.zeros(own.shape, np.float32)
    stripes[:, ::2, :] = 1
    for orientation in ("LAS", "SLP", "AIR"):
        source = resample_image(Volume(stripes, own), turned_into(own, orientation))
        result = resample_image(source, own.downsampled((10, 41, 42))).array
        assert np.allclose(result, stripes[:10], atol=1e-5)


# Labels


def occupancy_by_hand(labels, grid, value, steps=5):
    """The share of `value` in each voxel, from many points in it, nearest voxel each: slow and plain."""
    parts = (np.arange(steps) + 0.5) / steps - 0.5
    share = np.zeros(grid.shape)
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    for offset in itertools.product(parts, parts, parts):
        index = np.rint(labels.grid.to_voxel(grid.to_world(voxels + offset))).astype(int)
        inside = ((index >= 0) & (index < labels.grid.shape)).all(axis=-1)
        share[inside] += labels.array[tuple(index[inside].T)] == value
        share[~inside] += value == 0
    return share / steps**3


@pytest.mark.parametrize("spacing", [(2.9, 3.3, 3.1), (0.8, 0.7, 0.9), (1.3, 2.6, 0.9)])
def test_every_voxel_takes_the_label_that_fills_most_of_it(spacing):
    own = tilted(grid_in("SPL", (33, 35, 31), (1.3, 1.2, 1.4)), 21)
    labels = head_labels(own)
    target = grid_in("LAS", [int(24 / s) for s in spacing], spacing, centre=(-5, 2, 2))
    result = resample_labels(labels, target).array
    shares = np.stack([occupancy_by_hand(labels, target, value) for value in range(4)])
    ordered = np.sort(shares, axis=0)
    clear = ordered[-1] - ordered[-2] > 0.3
    assert 0.5 < clear.mean() < 1
    assert len(np.unique(result[clear])) == 3
    assert np.array_equal(result[clear], shares.argmax(axis=0)[clear])


def test_halving_counts_the_eight_voxels_and_a_tie_goes_to_the_structure():
    fine = grid_in("LAS", (20, 22, 24), (1, 1, 1), centre=(0, 0, 0))
    mask = (np.random.default_rng(4).random(fine.shape) < 0.5).astype(np.uint8)
    coarse = fine.downsampled((10, 11, 12))
    eight = mask.reshape(10, 2, 11, 2, 12, 2).sum(axis=(1, 3, 5))
    assert (eight == 4).any()
    assert np.array_equal(resample_labels(Volume(mask, fine), coarse).array, eight >= 4)


def test_a_tie_between_structures_goes_to_the_lower_value():
    fine = grid_in("LAS", (4, 6, 8), (1, 1, 1))
    labels = np.full(fine.shape, 5, np.int16)
    labels[::2] = 3
    assert (resample_labels(Volume(labels, fine), fine.downsampled((2, 3, 4))).array == 3).all()


def test_a_tie_of_higher_values_goes_to_the_lower_of_them():
    fine = grid_in("LAS", (4, 6, 8), (1, 1, 1))
    labels = np.full(fine.shape, 9, np.int16)
    labels[::2] = 5
    labels[:2, :2, :2] = 3
    result = resample_labels(Volume(labels, fine), fine.downsampled((2, 3, 4))).array
    assert result[0, 0, 0] == 3
    assert (result.ravel()[1:] == 5).all()


def test_faces_through_the_middle_of_voxels_are_not_frayed_by_rounding():
    for degrees in range(3, 80, 2):
        own = tilted(grid_in("LAS", (30, 31, 32), (1.1, 0.7, 1.3), centre=(40.1, -70.2, 0.3)), degrees)
        half = np.zeros(own.shape, np.uint8)
        half[:, 16:, :] = 1
        affine = own.affine.copy()
        affine[:3, 3] = own.to_world((0.25, 0.5, 0.25))
        result = resample_labels(Volume(half, own), Grid((29, 30, 31), affine)).array
        assert (result == result[:1, :, :1]).all()


def test_thirds_are_counted_whole_only_where_the_voxels_meet():
    fine = grid_in("LAS", (18, 21, 24), (1, 1, 1), centre=(0, 0, 0))
    labels = (np.random.default_rng(5).random(fine.shape) * 2.4).astype(np.uint8)
    coarse = fine.downsampled((6, 7, 8))
    blocks = labels.reshape(6, 3, 7, 3, 8, 3).transpose(0, 2, 4, 1, 3, 5).reshape(6, 7, 8, 27)
    counts = np.stack([(blocks == value).sum(axis=-1) for value in (1, 2, 0)])
    assert np.array_equal(resample_labels(Volume(labels, fine), coarse).array, np.array([1, 2, 0])[counts.argmax(0)])
    affine = coarse.affine.copy()
    affine[:3, 3] += (0.5, 0.25, 0.125)
    moved = Grid(coarse.shape, affine)
    result = resample_labels(Volume(labels, fine), moved).array
    shares = np.stack([occupancy_by_hand(Volume(labels, fine), moved, value, steps=12) for value in range(3)])
    ordered = np.sort(shares, axis=0)
    clear = ordered[-1] - ordered[-2] > 0.15
    assert clear.any()
    assert np.array_equal(result[clear], shares.argmax(axis=0)[clear])


def test_doubling_keeps_every_voxel_as_eight():
    coarse = grid_in("LAS", (7, 9, 8), (2, 2, 2))
    labels = noise(coarse, np.uint8)
    fine = resample_labels(labels, coarse.downsampled((14, 18, 16))).array
    assert np.array_equal(fine, labels.array.repeat(2, 0).repeat(2, 1).repeat(2, 2))


@pytest.mark.parametrize("target", [tilted(MODEL, 30), grid_in("RPI", (40, 42, 44), (1.9, 1.9, 1.9)), MODEL])
def test_structures_keep_volume_and_place_on_another_grid(target):
    own = tilted(grid_in("ASL", (75, 80, 85), (1, 1, 1)), 9)
    labels = head_labels(own)
    result = resample_labels(labels, target)
    for value in (1, 2, 3):
        before, after = labels.array == value, result.array == value
        ml = after.sum() * target.voxel_ml
        assert ml == pytest.approx(before.sum() * own.voxel_ml, rel=(0.03, 0.08, 0.15)[value - 1])
        shift = target.to_world(np.argwhere(after).mean(0)) - own.to_world(np.argwhere(before).mean(0))
        assert np.linalg.norm(shift) < 0.3


def test_a_sheet_of_one_voxel_survives_in_voxels_of_twice_the_size():
    fine = grid_in("LAS", (20, 22, 24), (1, 1, 1))
    sheet = np.zeros(fine.shape, np.uint8)
    sheet[:, 7, :] = 1
    result = resample_labels(Volume(sheet, fine), fine.downsampled((10, 11, 12))).array
    assert result[:, 3, :].all()
    assert result.sum() == 10 * 12


def test_labels_that_leave_no_background_and_labels_below_zero_are_kept_apart():
    own = tilted(grid_in("LAS", (30, 31, 32), (1, 1, 1)))
    labels = np.where(np.arange(30)[:, None, None] < 15, -4, 60_000).repeat(31, 1).repeat(32, 2).astype(np.int32)
    result = resample_labels(Volume(labels, own), MODEL).array
    assert set(np.unique(result)) == {-4, 0, 60_000}
    index = own.to_voxel(world_of(MODEL))
    deep = ((index > 1) & (index < np.asarray(own.shape) - 2)).all(axis=-1) & (np.abs(index[..., 0] - 14.5) > 2)
    assert np.array_equal(result[deep], np.where(index[..., 0] < 14.5, -4, 60_000)[deep])


def test_many_labels_are_all_told_apart():
    own = grid_in("LAS", (9, 10, 11), (2, 2, 2))
    labels = np.arange(990, dtype=np.int32).reshape(own.shape) * 7
    fine = resample_labels(Volume(labels, own), own.downsampled((27, 30, 33))).array
    assert np.array_equal(fine[1::3, 1::3, 1::3], labels)


def test_an_empty_map_stays_empty():
    assert not resample_labels(
        Volume(np.zeros((9, 8, 7), np.uint8), tilted(grid_in(shape=(9, 8, 7)))), MODEL
    ).array.any()


# What falls outside


@pytest.mark.parametrize("degrees", [0, 23])
def test_lost_voxels_are_those_whose_centre_lies_outside(degrees):
    own = tilted(grid_in("PSR", (50, 41, 47), (1.7, 1.9, 1.6), centre=(25, -20, 30)), degrees)
    mask = (noise(own, np.uint8).array > 99).astype(np.uint8)
    index = MODEL.to_voxel(own.to_world(np.argwhere(mask)))
    expected = ((index < -0.5) | (index > np.asarray(MODEL.shape) - 0.5)).any(axis=1).sum()
    assert 0 < expected < mask.sum()
    assert lost_voxels(Volume(mask, own), MODEL) == expected


def test_nothing_is_lost_from_a_mask_within_the_grid_or_an_empty_one():
    assert lost_voxels(head_labels(tilted(MODEL)), MODEL) == 0
    assert lost_voxels(Volume(np.zeros((3, 4, 5)), grid_in(shape=(3, 4, 5))), MODEL) == 0
    assert lost_voxels(Volume(np.ones(MODEL.shape), MODEL), MODEL) == 0
