"""Measures of one image, distances between sets, statistics: against MONAI, by hand, and where nothing can be told."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from monai.metrics import DiceMetric, FIDMetric, HausdorffDistanceMetric, SurfaceDistanceMetric
from monai.networks.nets import UNet
from scipy import stats
from vcm.cohort.case_conditions import condition_array, condition_spec
from vcm.conditions.condition import Condition, ConditionSpec
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.evaluation.evaluated_case import EvaluatedCase
from vcm.evaluation.measures.cases import CaseMeasurer
from vcm.evaluation.measures.feature_networks import FeatureNetworks
from vcm.evaluation.measures.frechet import frechet_distance
from vcm.evaluation.measures.images import image_measures, ms_ssim_scales
from vcm.evaluation.measures.measurement import CONTROLLED, Made
from vcm.evaluation.measures.segmenter_features import WatchedSegmenter, bottleneck
from vcm.evaluation.measures.statistics import correlation_of, mean_of, mean_with_interval
from vcm.judging.alignment import align
from vcm.judging.segmentation import PackSegmenter

SPACING = (1.5, 2.0, 4.0)
GRID = Grid((18, 22, 14), np.diag([-1.5, 2.0, 4.0, 1.0]))
NOTHING = FeatureNetworks({}, {}, torch.device("cpu"))


def phantom(seed):
    """Two lopsided masks that differ in place, size and shape along every axis."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((2, *GRID.shape), bool)
    masks[0, 3:12, 4:9, 2:7] = True
    masks[1, 5:13, 3:11, 3:10] = True
    return masks & (rng.random(masks.shape) > 0.1)


def spec(**fields):
    classes = [{"value": 1, "name": "ventricles", "segmenter": [4]}]
    return ConditionSpec.from_dict({"name": "ventricles", "kind": "mask", "classes": classes, **fields})


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_our_alignment_is_monais_on_lopsided_masks_and_voxels(seed):
    asked, got = phantom(seed)
    condition = Condition(spec(), Volume(asked.astype(np.uint8), GRID))
    labels = Volume(got.astype(np.uint8) * 4, GRID)
    (found,) = align(Volume(np.zeros(GRID.shape, np.float32), GRID), [condition], labels).classes
    pair = [torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (got, asked)]
    assert found.dice == pytest.approx(float(DiceMetric()(*pair)), abs=1e-6)
    hd95 = HausdorffDistanceMetric(percentile=95, include_background=True)(*pair, spacing=SPACING)
    assert found.hd95_mm == pytest.approx(float(hd95), abs=1e-4)
    assd = SurfaceDistanceMetric(symmetric=True, include_background=True)(*pair, spacing=SPACING)
    assert found.assd_mm == pytest.approx(float(assd), abs=1e-4)


def test_measures_of_an_image_are_their_definitions():
    rng = np.random.default_rng(4)
    reference = rng.random((20, 16, 24))
    image = np.clip(reference + 0.1 * rng.standard_normal(reference.shape), 0, 1)
    found = {name: value for name, (value, _) in image_measures(image, reference).items()}
    error = (image - reference).astype(np.float32)
    assert found["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-5)
    assert found["mse"] == pytest.approx(np.square(error).mean(), rel=1e-5)
    assert found["psnr"] == pytest.approx(-10 * math.log10(np.square(error).mean()), rel=1e-5)
    assert 0.5 < found["ssim"] < 1 and 0.5 < found["ms_ssim"] < 1
    worse = image_measures(np.clip(reference + 0.4 * rng.standard_normal(reference.shape), 0, 1), reference)
    assert worse["ssim"][0] < found["ssim"] and worse["ms_ssim"][0] < found["ms_ssim"]


def test_an_image_against_itself_is_perfect_and_has_no_psnr():
    image = np.random.default_rng(5).random((16, 18, 20))
    found = image_measures(image, image)
    assert found["psnr"][0] is None and "same" in found["psnr"][1]
    assert found["ssim"][0] == pytest.approx(1) and found["mae"][0] == 0


def test_what_is_too_small_for_a_window_is_not_measured_and_says_so():
    found = image_measures(np.zeros((3, 30, 30)), np.ones((3, 30, 30)))
    assert found["ssim"] == (None, "not measured: the image is smaller than SSIM's window of 11 voxels")
    assert found["ms_ssim"][0] is None
    assert found["mae"][0] == 1


@pytest.mark.parametrize(("size", "scales"), [(4, 1), (8, 2), (15, 2), (16, 3), (35, 3), (36, 4), (63, 4)])
def test_as_many_scales_are_used_as_monai_takes(size, scales):
    from monai.metrics.regression import compute_ms_ssim

    assert ms_ssim_scales(size) == scales
    image = torch.rand(1, 1, size, 64, 64)
    compute_ms_ssim(image, image, 3, kernel_size=4, weights=[1 / scales] * scales)
    with pytest.raises((ValueError, RuntimeError), match=r"[kK]ernel"):
        compute_ms_ssim(image, image, 3, kernel_size=4, weights=[1 / (scales + 1)] * (scales + 1))


def test_both_usual_grids_have_all_five_scales():
    assert ms_ssim_scales(80) == ms_ssim_scales(160) == 5


def test_the_frechet_distance_is_monais_where_that_is_well_defined():
    rng = np.random.default_rng(6)
    a = rng.standard_normal((60, 7)) @ rng.standard_normal((7, 7))
    b = rng.standard_normal((90, 7)) @ rng.standard_normal((7, 7)) + 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = float(FIDMetric()(torch.from_numpy(a), torch.from_numpy(b)))
    assert frechet_distance(a, b).value == pytest.approx(theirs, rel=1e-6)


def test_with_fewer_images_than_features_the_distance_is_exact_and_warns():
    rng = np.random.default_rng(7)
    a, b = rng.standard_normal((6, 40)), rng.standard_normal((9, 40)) + 1
    found = frechet_distance(a, b)
    # The same numbers in the few directions that there are, where the covariances are not singular.
    basis, _ = np.linalg.qr(np.concatenate([a, b]).T)
    assert found.value == pytest.approx(frechet_distance(a @ basis, b @ basis).value, rel=1e-9)
    assert found.counts == (6, 9) and "biased" in found.remark and "40 features" in found.remark
    assert "biased" not in frechet_distance(rng.random((50, 3)), rng.random((50, 3))).remark


def test_a_set_has_no_distance_to_itself_and_a_single_image_none_at_all():
    a = np.random.default_rng(8).standard_normal((30, 5))
    assert frechet_distance(a, a).value == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a[:1], a).value is None


def test_a_mean_leaves_out_what_was_not_measured():
    assert mean_of([0.5, None, 0.7, math.nan]).mean == pytest.approx(0.6)
    assert mean_of([0.5, None, 0.7]).count == 2
    assert mean_of([None]).count == 0 and math.isnan(mean_of([]).mean)
    assert mean_with_interval([0.4]) == (0.4, 0.4, 0.4)


@pytest.mark.parametrize("values", [[0.752, 0.63], [33.4, 6.1], [0.0, 1.0, 1.0], [0.99] * 4 + [1.0]])
def test_an_interval_never_leaves_the_range_of_its_values(values):
    mean, low, high = mean_with_interval(values)
    assert mean == pytest.approx(np.mean(values)) and min(values) <= low <= mean <= high <= max(values)
    if len(values) < 5:
        assert (low, high) == (min(values), max(values))


def test_an_interval_of_many_values_is_that_of_other_programs():
    values = np.random.default_rng(4).normal(0.7, 0.1, 60)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(1)).confidence_interval
    student = stats.t.interval(0.95, 59, loc=values.mean(), scale=stats.sem(values))
    _, low, high = mean_with_interval(values)
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.003)
    assert (low, high) == pytest.approx(student, abs=0.003)
    assert mean_with_interval(values) == mean_with_interval(values)


def test_intervals_hold_the_mean_as_often_as_they_say():
    rng = np.random.default_rng(5)
    held = [low <= 0.8 <= high for _, low, high in (mean_with_interval(rng.beta(8, 2, 12)) for _ in range(300))]
    assert np.mean(held) == pytest.approx(0.95, abs=0.04)


def test_correlations_have_fishers_interval():
    x = np.arange(12.0)
    y = x + np.array([1, -2] * 6)
    found, theirs = correlation_of(x, y), stats.pearsonr(x, y)
    assert found.r == pytest.approx(theirs.statistic)
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval()), rel=1e-6)
    assert math.isnan(correlation_of([1, 1, 1], [1, 2, 3]).r)
    assert correlation_of([1, None, 3], [1, 2, 4]).count == 2


def case(asked, skull=True):
    grid = tiny.GRID
    rng = np.random.default_rng(9)
    image = rng.random(grid.shape).astype(np.float32)
    behind = Condition(condition_spec("skull"), Volume(image * (rng.random(grid.shape) > 0.5), grid)) if skull else None
    condition = Condition(spec(), Volume(asked.astype(np.uint8), grid))
    labels = Volume(np.ones(grid.shape, np.uint8), grid)
    return EvaluatedCase("one", Volume(image, grid), labels, (condition,), {"skull": behind}, {})


class Labels:
    name, classes = "given labels", ()

    def __init__(self, array):
        self.array = array

    def segment(self, image):
        return Volume(self.array, image.grid)


def values(measured):
    return {(m.structure, m.measure): (m.value, m.remark) for m in measured.measurements}


def test_a_structure_that_is_nowhere_has_no_dice_rather_than_one_of_0():
    nothing = np.zeros(tiny.GRID.shape, np.uint8)
    one = case(nothing)
    found = values(CaseMeasurer(Labels(nothing), NOTHING).measure(one.image, one, Made(CONTROLLED, "ventricles")))
    assert found["ventricles", "dice"][0] is None
    assert "none was asked for" in found["ventricles", "hd95"][1]
    assert found["ventricles", "obtained_ml"] == (0.0, "")


def test_the_skull_distance_is_that_of_skull_images_over_the_whole_volume():
    labels = np.zeros(tiny.GRID.shape, np.uint8)
    labels[4:9, 6:17, 8:20] = 2
    one = case(labels == 9)
    found = values(CaseMeasurer(Labels(labels), NOTHING).measure(one.image, one, Made(CONTROLLED, "skull")))
    own_skull = np.where(labels == 2, 0, one.image.array)
    expected = np.square(own_skull - one.images["skull"].volume.array, dtype=np.float64).mean()
    assert found["skull", "given_distance"][0] == pytest.approx(expected, rel=1e-9)
    inside = one.images["skull"].volume.array > 0
    expected = np.square(one.image.array - one.images["skull"].volume.array, dtype=np.float64)[inside].mean()
    assert found["skull", "given_mse"][0] == pytest.approx(expected, abs=1e-12)


def test_without_skull_and_segmenter_the_rest_is_measured():
    one = case(np.ones(tiny.GRID.shape), skull=False)
    found = values(CaseMeasurer(None, NOTHING).measure(one.image, one, Made(CONTROLLED, "ventricles")))
    assert found["ventricles", "dice"] == (None, "not measured: no segmenter is at hand")
    assert found["skull", "given_mse"] == (None, "not measured: the case has no skull image")
    assert found["image", "mae"] == (0.0, "")
    assert found["image", "lpips"][0] is None and "--features lpips=FILE" in found["image", "lpips"][1]


def test_tissues_have_the_order_of_the_cases_own_image_where_the_map_asks_for_them():
    places = np.zeros(tiny.GRID.shape, np.uint8)  # white matter, grey matter, ventricles; each of another size
    places[2:9, 3:12, 4:10], places[9:14, 3:12, 4:18], places[2:9, 12:17, 10:20] = 1, 2, 4
    condition = Condition(condition_spec("semantics"), Volume(places, tiny.GRID))

    def order(shown, own, map_given=condition):
        images = [Volume(np.choose(places, [0.5, wm, gm, 0.5, csf]).astype(np.float32), tiny.GRID)
                  for wm, gm, csf in (shown, own)]  # fmt: skip
        one = replace(case(places == 4), image=images[1], conditions=(map_given,))
        found = values(CaseMeasurer(None, NOTHING).measure(images[0], one, Made(CONTROLLED, "semantics")))
        return found.get(("semantics", "tissue_order"))

    t1, t2 = (0.9, 0.6, 0.1), (0.4, 0.6, 0.9)
    assert order(t1, t1) == order(t2, t2) == (1.0, "")
    assert order(t1, t2) == (0.0, "")  # another contrast altogether
    assert (
        order((0.6, 0.9, 0.1), t1) == order((0.9, 0.1, 0.6), t1) == (pytest.approx(2 / 3), "")
    )  # one pair in disorder
    assert order((0.6, 0.6, 0.1), t1) == (pytest.approx(2 / 3), "")  # no contrast is no order
    few = Condition(condition_spec("semantics"), Volume(np.where(places == 4, 0, places), tiny.GRID))
    assert order(t1, t1, few) == (None, "too few voxels")
    ventricles = Condition(condition_spec("ventricles"), Volume((places == 4).astype(np.uint8), tiny.GRID))
    assert order(t1, t1, ventricles) is None


def test_a_lesions_contrast_stands_beside_that_in_the_cases_own_image_by_its_own_labels():
    place = np.zeros(tiny.GRID.shape, bool)
    place[4:9, 8:14, 10:18] = True
    real, made = (np.where(place, inside, 0.8).astype(np.float32) for inside in (0.4, 0.6))
    own, seen = (np.where(place, 10, 1).astype(np.uint8) for _ in range(2))
    real[:, :8], made[:, 14:] = 0.1, 0.1  # fluid on either side
    own[:, :8], seen[:, 14:] = 7, 7
    real[9:], own[9:] = 0.1, 7  # and on a third in the case itself
    one = replace(
        case(place),
        image=Volume(real, tiny.GRID),
        labels=Volume(own, tiny.GRID),
        conditions=(Condition(condition_spec("lesions"), Volume(place.astype(np.uint8), tiny.GRID)),),
    )
    measurer = CaseMeasurer(Labels(seen), NOTHING)
    name = one.conditions[0].spec.classes[0].name
    found = values(measurer.measure(Volume(made, tiny.GRID), one, Made(CONTROLLED, "lesions")))
    structure = next(s for s, measure in found if measure == "local_contrast")
    assert name in structure
    assert found[structure, "local_contrast"][0] == pytest.approx(-0.25)
    assert found[structure, "real_contrast"][0] == pytest.approx(-0.5)
    without = values(measurer.measure(Volume(made, tiny.GRID), replace(one, labels=None), Made(CONTROLLED, "lesions")))
    assert (structure, "real_contrast") not in without
    ventricles = values(measurer.measure(one.image, case(place), Made(CONTROLLED, "ventricles")))
    assert not any(measure == "local_contrast" for _, measure in ventricles)


def test_a_label_maps_classes_are_averaged_over_those_that_can_be_measured():
    labels = np.zeros(tiny.GRID.shape, np.uint8)
    labels[2:6, 3:9, 4:11], labels[8:11, 12:19, 15:29] = 4, 6
    found = labels.copy()
    found[2:4] = 0
    found[9:12, 13:20, 16:30][found[9:12, 13:20, 16:30] == 0] = 6
    classes = [
        {"value": 3, "name": "ventricles", "segmenter": [4, 9]},
        {"value": 1, "name": "amygdala", "segmenter": [6]},
        {"value": 2, "name": "brain stem", "segmenter": [8]},
    ]
    semantics = ConditionSpec.from_dict({"name": "semantics", "kind": "labels", "classes": classes})
    one = case(labels == 9)
    asked = condition_array(semantics, labels)
    assert set(np.unique(asked)) == {0, 1, 3}
    one = replace(one, conditions=(Condition(semantics, Volume(asked, tiny.GRID)),))
    rows = values(CaseMeasurer(Labels(found), NOTHING).measure(one.image, one, Made(CONTROLLED, "semantics")))
    scores = [rows[f"semantics: {name}", "dice"][0] for name in ("ventricles", "amygdala", "brain stem")]
    assert scores[0] == pytest.approx(2 * 2 / (4 + 2)) and 0 < scores[1] < 1 and scores[2] is None
    mean, remark = rows["semantics: mean", "dice"]
    assert mean == pytest.approx((scores[0] + scores[1]) / 2) and remark == "1 of 3 classes could not be measured"


def test_watching_a_segmenter_changes_no_label_and_sees_its_bottleneck():
    torch.manual_seed(1)
    network = UNet(spatial_dims=3, in_channels=1, out_channels=3, channels=[4, 6, 8], strides=[2, 2], num_res_units=1)
    plain = PackSegmenter(network, (), tiny.GRID)
    image = Volume(np.random.default_rng(2).random(tiny.GRID.shape).astype(np.float32), tiny.GRID)
    before = plain.segment(image)
    labels, features = WatchedSegmenter(plain).segment_with_features(image)
    assert np.array_equal(labels.array, before.array)
    seen = []
    bottleneck(network).register_forward_hook(lambda _m, _i, out: seen.append(out))
    plain.segment(image)
    assert seen[0].shape == (1, 8, 4, 6, 8)
    assert np.allclose(features, seen[0].mean(dim=(2, 3, 4)).numpy())
