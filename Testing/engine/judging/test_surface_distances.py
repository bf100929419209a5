"""Surface distances against a brute-force count and against MONAI."""

import time
import warnings

import numpy as np
import pytest
from scipy import ndimage
from vcm.core.errors import VcmError
from vcm.core.grid import Grid
from vcm.judging.surface_distances import surface_distances, surface_voxels

FACES = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]


def brute_force_surface(mask):
    padded = np.pad(mask, 1)
    return [v for v in np.argwhere(mask) if not all(padded[tuple(v + 1 + face)] for face in FACES)]


def brute_force_distances(a, b, grid):
    points_a = [grid.to_world(v) for v in brute_force_surface(a)]
    points_b = [grid.to_world(v) for v in brute_force_surface(b)]
    a_to_b = [min(np.linalg.norm(p - q) for q in points_b) for p in points_a]
    b_to_a = [min(np.linalg.norm(p - q) for q in points_a) for p in points_b]
    return max(np.percentile(a_to_b, 95), np.percentile(b_to_a, 95)), np.mean(a_to_b + b_to_a)


def blobs(seed, shape=(9, 7, 11)):
    rng = np.random.default_rng(seed)
    first, second = (ndimage.gaussian_filter(rng.normal(size=shape), 1.2) for _ in range(2))
    return first > 0.12, second > 0.05


ANISOTROPIC = np.array([[-1.1, 0, 0, 40], [0, 2.3, 0, -17], [0, 0, 0.7, 5], [0, 0, 0, 1]])
PERMUTED = np.array([[0, 0, -2.5, 3], [0.9, 0, 0, -8], [0, -1.4, 0, 60], [0, 0, 0, 1]])
OBLIQUE = ANISOTROPIC.copy()
OBLIQUE[:3, :3] = [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]] @ ANISOTROPIC[:3, :3]
SHEARED = np.array([[1.0, 0.8, 0, 0], [0, 2.0, 0.3, 0], [0, 0, 1.5, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("affine", [ANISOTROPIC, PERMUTED, OBLIQUE, SHEARED])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_distances_are_those_of_a_brute_force_count_on_any_affine(affine, seed):
    a, b = blobs(seed)
    grid = Grid(a.shape, affine)
    hd95, assd = brute_force_distances(a, b, grid)
    found = surface_distances(a, b, grid)
    assert found.hd95 == pytest.approx(hd95, abs=1e-9)
    assert found.assd == pytest.approx(assd, abs=1e-9)


def test_hd95_is_the_larger_directed_percentile_and_not_that_of_the_pooled_distances():
    a = np.zeros((1, 1, 200), bool)
    b = a.copy()
    a[..., 0:4:2] = True  # two lone voxels, 0 and 2 mm
    b[..., 0:100:2] = True  # fifty, reaching out to 98 mm
    a_to_b, b_to_a = np.zeros(2), np.maximum(np.arange(0, 100, 2) - 2.0, 0)
    found = surface_distances(a, b, Grid(a.shape, np.eye(4)))
    assert found.hd95 == pytest.approx(np.percentile(b_to_a, 95))
    assert found.hd95 != pytest.approx(np.percentile(np.concatenate([a_to_b, b_to_a]), 95))


@pytest.mark.parametrize("seed", [3, 4])
def test_distances_agree_with_monai(seed):
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    a, b = blobs(seed, (15, 22, 13))
    spacing = (1.1, 2.3, 0.7)
    tensors = [torch.from_numpy(mask)[None, None].float() for mask in (a, b)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hd95 = compute_hausdorff_distance(*tensors, include_background=True, percentile=95, spacing=spacing)
        assd = compute_average_surface_distance(*tensors, include_background=True, symmetric=True, spacing=spacing)
    found = surface_distances(a, b, Grid(a.shape, ANISOTROPIC))
    assert found.hd95 == pytest.approx(hd95.item(), rel=1e-5)
    assert found.assd == pytest.approx(assd.item(), rel=1e-5)


def test_a_mask_moved_along_one_axis_is_as_far_away_as_it_was_moved():
    a = np.zeros((12, 10, 14), bool)
    a[2:5, 3:4, 4:9] = True
    grid = Grid(a.shape, ANISOTROPIC)
    for axis, millimetres in enumerate(grid.spacing):
        found = surface_distances(a, np.roll(a, 4, axis), grid)
        assert 0 < found.assd <= found.hd95 <= 4 * millimetres + 1e-9
    assert surface_distances(a, a, grid).hd95 == 0.0
    sheet = np.zeros((12, 10, 14), bool)
    sheet[:, 2, :] = True
    assert surface_distances(sheet, np.roll(sheet, 3, 1), grid).hd95 == pytest.approx(3 * 2.3)


def test_the_edge_of_the_grid_is_a_surface():
    full = np.ones((4, 5, 6), bool)
    assert len(surface_voxels(full)) == 4 * 5 * 6 - 2 * 3 * 4


@pytest.mark.parametrize("empty", ["first", "second", "both"])
def test_an_empty_mask_has_no_distance(empty):
    a, b = blobs(5)
    a, b = a & (empty == "second"), b & (empty == "first")
    assert surface_distances(a, b, Grid(a.shape, ANISOTROPIC)) is None
    assert surface_voxels(np.zeros((3, 4, 5), bool)).shape == (0, 3)


def test_masks_of_another_shape_than_the_grid_are_refused():
    a, b = blobs(6)
    with pytest.raises(VcmError, match="cannot be compared"):
        surface_distances(a, b, Grid((7, 9, 11), ANISOTROPIC))


def test_a_whole_head_class_takes_less_than_half_a_second():
    rng = np.random.default_rng(7)
    smooth = ndimage.gaussian_filter(rng.normal(size=(80, 112, 80)), 4)
    a, b = smooth > 0, np.roll(smooth, 3, 1) > 0.01
    grid = Grid(a.shape, np.diag([2, 2, 2, 1]))
    surface_distances(a, b, grid)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        surface_distances(a, b, grid)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.5
