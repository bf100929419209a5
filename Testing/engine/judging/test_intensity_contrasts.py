"""Fluid by intensity where it is dark, bright or nulled: on the same head in T1, T2 and FLAIR."""

import numpy as np
import pytest
from label_map_folder import write_folder
from scipy.ndimage import binary_dilation
from vcm.cohort.making.heads import CohortMaker
from vcm.cohort.making.label_maps import LabelMaps
from vcm.conditions.condition import ClassSpec, Condition, ConditionSpec, Kind
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.judging.alignment import align
from vcm.judging.intensity import fluid_by_intensity

VENTRICLES, WHITE, GREY = 4, 1, 2
CONTRASTS = ("t1", "t2", "flair")
GRID = Grid((24, 26, 22), np.diag([-2.0, 2.0, 2.0, 1.0]))


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    maps = LabelMaps.open(write_folder(tmp_path_factory.mktemp("labelmaps") / "data"))
    return CohortMaker(maps, 7, contrasts=CONTRASTS).make(3)


def image_of(head, contrast):
    return head.image if contrast == "t1" else head.further[contrast]


def measured(image, asked, labels):
    spec = ConditionSpec("ventricles", Kind.MASK, (ClassSpec(1, "ventricles", (VENTRICLES,)),))
    condition = Condition(spec, Volume(asked.astype(np.uint8), labels.grid))
    return align(image, [condition], labels).classes[0]


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_a_part_of_the_ventricles_that_the_segmenter_takes_for_tissue_is_found_in_each_contrast(head, contrast):
    ventricles = head.labels.array == VENTRICLES
    high = np.arange(ventricles.shape[2]) > np.percentile(np.argwhere(ventricles)[:, 2], 70)
    seen = np.where(ventricles & high, GREY, head.labels.array).astype(np.uint8)
    entry = measured(image_of(head, contrast), ventricles, Volume(seen, head.labels.grid))
    assert entry.dice < 0.85
    assert entry.intensity_dice > entry.dice + 0.08
    assert entry.intensity_ml == pytest.approx(entry.resampled_ml, rel=0.12)


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_ventricles_that_were_asked_for_larger_than_they_came_out_are_measured_as_they_came_out(head, contrast):
    ventricles = head.labels.array == VENTRICLES
    entry = measured(image_of(head, contrast), binary_dilation(ventricles, iterations=2), head.labels)
    made = ventricles.sum() * head.labels.grid.voxel_ml
    assert entry.requested_ml > 1.35 * made
    assert entry.intensity_ml == pytest.approx(made, rel=0.16)


def test_the_contrasts_of_this_head_have_fluid_on_both_sides_of_the_tissue(head):
    fluid, tissue = (
        {c: float(np.median(image_of(head, c).array[head.labels.array == value])) for c in CONTRASTS}
        for value in (VENTRICLES, WHITE)
    )
    assert fluid["t1"] < tissue["t1"] and fluid["t2"] > tissue["t2"] and fluid["flair"] < tissue["flair"]


def test_a_darker_tissue_beside_the_ventricles_is_not_taken_for_fluid():
    """The caudate nucleus is nearer to fluid than to white matter, and no fluid."""
    rng = np.random.default_rng(1)
    labels = np.full((24, 26, 22), WHITE, np.uint8)
    labels[8:16, 8:18, 8:14] = VENTRICLES
    labels[5:8, 8:18, 8:14] = 3
    labels[0:2] = 7
    level = np.zeros(256)
    level[[WHITE, 3, VENTRICLES, 7]] = 160, 96, 44, 44
    image = Volume((level[labels] + rng.normal(0, 4, labels.shape)).astype(np.float32) / 255, GRID)
    asked = labels == VENTRICLES
    found = fluid_by_intensity(image, asked, Volume(labels, GRID))
    assert found.ml == pytest.approx(asked.sum() * GRID.voxel_ml, rel=0.03)
