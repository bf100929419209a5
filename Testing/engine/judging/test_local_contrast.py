"""How a lesion stands out: against the tissue around it, whatever lies there besides."""

import numpy as np
import pytest
from vcm.conditions.condition import ClassSpec, Condition, ConditionSpec, Kind
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.judging.alignment import align
from vcm.judging.intensity import local_contrast

GRID = Grid((40, 24, 30), [[0, 0, 2.0, -30], [-1.0, 0, 0, 20], [0, 3.0, 0, -36], [0, 0, 0, 1]])
"""1 mm along i, 3 mm along j, 2 mm along k."""
PLACE = np.zeros(GRID.shape, bool)
PLACE[14:26, 9:13, 11:17] = True


@pytest.fixture
def head():
    """White matter all over, and a lesion in it that the segmenter takes for grey matter in part."""
    image, labels = np.full(GRID.shape, 0.8), np.ones(GRID.shape, np.uint8)
    image[PLACE] = 0.5
    labels[PLACE], labels[14:20, 9:13, 11:17] = 10, 2
    image += 0.01 * np.random.default_rng(0).normal(size=GRID.shape)
    return image.astype(np.float32), labels


def contrast(image, labels, place=PLACE):
    return local_contrast(Volume(image, GRID), place, Volume(labels, GRID))


@pytest.mark.parametrize(("inside", "expected"), [(0.5, -0.375), (0.8, 0.0), (1.0, 0.25)])
def test_darker_is_negative_brighter_positive_and_alike_nothing(head, inside, expected):
    image, labels = head
    image[PLACE] = inside
    assert contrast(image, labels) == pytest.approx(expected, abs=0.01)


def test_a_brighter_image_has_the_same_contrast(head):
    image, labels = head
    assert contrast(1.2 * image, labels) == pytest.approx(contrast(image, labels))


@pytest.fixture
def bare_head():
    """Fluid around the lesion, all but 24 voxels of tissue on one side, and white matter far away."""
    image, labels = np.full(GRID.shape, 0.05), np.full(GRID.shape, 7, np.uint8)
    image[PLACE], labels[PLACE] = 0.5, 10
    for part in (np.s_[14:18, 9:11, 17:20], np.s_[:3]):
        image[part], labels[part] = 0.8, 1
    assert contrast(image, labels) == pytest.approx(-0.375)
    return image, labels


@pytest.mark.parametrize("value", [0, 4, 7, 9, 10])
def test_fluid_air_and_other_lesions_do_not_count_however_much_there_is(bare_head, value):
    image, labels = bare_head
    labels[labels == 7] = value
    assert contrast(image, labels) == pytest.approx(-0.375)


@pytest.mark.parametrize(
    "part", [np.s_[6:13, 9:13, 11:17], np.s_[14:26, 14:15, 11:17], np.s_[14:26, 9:13, 19:21]], ids=["i", "j", "k"]
)
def test_tissue_within_eight_millimetres_counts_along_every_axis(bare_head, part):
    image, labels = bare_head
    image[part], labels[part] = 0.4, 2
    assert contrast(image, labels) == pytest.approx((0.5 - 0.4) / 0.8)


def test_what_touches_the_place_or_lies_in_the_corners_beyond_is_not_around_it(bare_head):
    image, labels = bare_head
    touching = np.zeros(GRID.shape, bool)
    touching[13, 9:13, 11:17] = touching[26, 9:13, 11:17] = True  # at 1 mm
    corners = np.zeros(GRID.shape, bool)
    corners[6:10, 7, 7:10] = corners[30:34, 14, 18:21] = True  # at 11 mm and more, within 8 along each axis
    for wrong in (touching, corners):
        spoilt, named = image.copy(), labels.copy()
        spoilt[wrong], named[wrong] = 0.1, 2
        assert wrong.sum() >= 24
        assert contrast(spoilt, named) == pytest.approx(-0.375)


def test_without_a_place_tissue_or_white_matter_there_is_none(head):
    image, labels = head
    assert contrast(image, labels, PLACE & False) is None
    assert contrast(image, np.where(labels == 1, 7, labels)) is None
    assert contrast(image, np.where(labels == 1, 2, labels)) is None
    assert contrast(0 * image, labels) is None


@pytest.mark.parametrize(
    ("entry", "has_one"),
    [
        (ClassSpec(1, "lesion"), True),
        (ClassSpec(1, "Lesions"), True),
        (ClassSpec(1, "plaque", (10,)), True),
        (ClassSpec(1, "white matter", (1, 10)), False),
        (ClassSpec(1, "ventricles", (4,)), False),
    ],
)
def test_lesions_have_it_in_the_report_whether_or_not_the_segmenter_knows_them(head, entry, has_one):
    image, labels = head
    condition = Condition(ConditionSpec("given", Kind.MASK, (entry,)), Volume(PLACE.astype(np.uint8), GRID))
    (found,) = align(Volume(image, GRID), [condition], Volume(labels, GRID)).classes
    assert (found.local_contrast is not None) is has_one
    if has_one:
        assert found.local_contrast == pytest.approx(-0.375, abs=0.02)
        assert "contrast with the tissue around -0.3" in found.summary()
    (unseen,) = align(Volume(image, GRID), [condition], None).classes
    assert unseen.local_contrast is None
