"""What is drawn, completed to a head: it stays where it was drawn, and is nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import tiny_layout
import torch
from vcm.anatomy.structures import BRAIN, SEGMENTER_CLASSES
from vcm.cohort.case_conditions import condition_spec
from vcm.conditions.condition import Condition, ConditionSpec
from vcm.conditions.possible_labels import given_structures, planes, possible_labels
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.sampling.completing import _hollows, _likeliest, _mended, complete

OBLIQUE = Grid((31, 22, 27), [[1.9, 1.1, 0.2, -40.0], [-1.2, 2.3, 0.3, -28.0], [0.1, -0.4, 2.6, -27.0], [0, 0, 0, 1]])
"""Another orientation, spacing and extent, across the layout's own."""


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    return tiny_layout.load(tmp_path_factory.mktemp("layout"))


def drawn(name, mask, grid=tiny.GRID):
    return Condition(condition_spec(name), Volume(np.asarray(mask, np.uint8), grid))


def block(grid, *slices):
    mask = np.zeros(grid.shape, bool)
    mask[slices] = True
    return mask


def one_sided(grid=tiny.GRID):
    """Off every middle, of three sizes."""
    return block(grid, slice(3, 7), slice(8, 15), slice(12, 17))


def head(layout, *conditions, grid=tiny.GRID, **options):
    return complete(*layout, conditions, grid, **{"seed": 5, **options})


@pytest.mark.parametrize("grid", [tiny.GRID, OBLIQUE], ids=["own grid", "oblique grid"])
def test_a_drawn_mask_is_its_structure_and_no_other_voxel_is(layout, grid):
    mask = one_sided(grid)
    assert np.array_equal(head(layout, drawn("ventricles", mask, grid), grid=grid).array == 4, mask)


def test_without_it_there_are_ventricles_elsewhere(layout):
    """Else the test above would hold for a layout that makes none."""
    assert (head(layout).array == 4).sum() > 100
    assert (head(layout, grid=OBLIQUE).array == 4).sum() > 100


@pytest.mark.parametrize("grid", [tiny.GRID, OBLIQUE], ids=["own grid", "oblique grid"])
def test_classes_of_a_label_map_that_were_drawn_stay_and_the_others_are_completed(layout, grid):
    painted = np.zeros(grid.shape, np.uint8)
    painted[one_sided(grid)] = 4
    painted[10:13, 2:5, 20:22] = 5
    found = head(layout, drawn("semantics", painted, grid), grid=grid).array
    assert np.array_equal(np.isin(found, (4, 9)), painted == 4)
    assert np.array_equal(found == 5, painted == 5)
    assert {1, 2, 7} <= set(np.unique(found))


@pytest.mark.parametrize("grid", [tiny.GRID, OBLIQUE], ids=["own grid", "oblique grid"])
def test_a_drawn_brain_holds_every_voxel_of_brain_and_nothing_else(layout, grid):
    mask = block(grid, slice(2, 13), slice(5, 20), slice(4, 26))
    ventricles = one_sided(grid)
    found = head(layout, drawn("ventricles", ventricles, grid), drawn("brain", mask, grid), grid=grid).array
    assert np.array_equal(np.isin(found, BRAIN), mask)
    assert np.array_equal(found == 4, ventricles)


def test_between_a_whole_label_map_and_a_larger_brain_there_is_no_class_of_the_map(layout):
    """Each class of the map lies where it was drawn alone, so no class fills what is left of the brain."""
    painted = np.zeros(tiny.GRID.shape, np.uint8)
    for value in range(1, 9):
        painted[3 + value, 6:18, 6:24] = value
    brain = block(tiny.GRID, slice(2, 14), slice(5, 20), slice(4, 26))
    given = given_structures([drawn("semantics", painted), drawn("brain", brain)], SEGMENTER_CLASSES)
    bits = planes(possible_labels(given, tiny.GRID.shape, SEGMENTER_CLASSES), 11)
    for label in (1, 2, 3, 5, 6, 8):
        assert np.array_equal(bits[label], painted == label), label
    left = brain & (painted == 0)
    assert left.sum() > 500 and bits[0][left].all() and not bits[1:, left].any()


def test_ventricles_beyond_the_drawn_brain_stay_ventricles(layout):
    brain = block(tiny.GRID, slice(2, 6), slice(5, 20), slice(4, 26))
    found = head(layout, drawn("brain", brain), drawn("ventricles", one_sided())).array
    assert np.array_equal(found == 4, one_sided())
    assert np.array_equal(np.isin(found, BRAIN), brain | one_sided())


def test_fluid_drawn_within_the_drawn_brain_stays_fluid(layout):
    """The two contradict each other, as such fluid is no brain; what says more of a voxel counts."""
    fluid = np.where(one_sided(), 7, 0)
    brain = block(tiny.GRID, slice(2, 13), slice(5, 20), slice(4, 26))
    found = head(layout, drawn("brain", brain), drawn("semantics", fluid)).array
    assert np.array_equal(found == 7, one_sided())


def test_the_same_seed_makes_the_same_head_and_another_seed_another(layout):
    given = drawn("ventricles", one_sided())
    first, again, other = (head(layout, given, seed=seed).array for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert (first != other).mean() > 0.05


def test_what_is_given_forms_what_is_around_it(layout):
    here, there = drawn("ventricles", one_sided()), drawn("ventricles", block(tiny.GRID, slice(9, 12), slice(3, 9)))
    far = np.ones(tiny.GRID.shape, bool) & ~one_sided() & (there.volume.array == 0)
    assert (head(layout, here).array != head(layout, there).array)[far].any()


def test_attributes_form_the_head_and_unknown_ones_are_no_value(layout):
    old, young, unknown = (head(layout, attributes=given).array for given in ({"age": 1.0}, {"age": 0.0}, {}))
    assert (old != young).any()
    assert (old != unknown).any()
    assert (young != unknown).any()


def test_an_empty_mask_says_that_there_is_none_and_no_mask_says_nothing(layout):
    nothing = drawn("ventricles", np.zeros(tiny.GRID.shape))
    assert not (head(layout, nothing).array == 4).any()
    assert (head(layout).array == 4).any()


def test_a_label_that_is_absent_occurs_where_it_was_drawn_alone(layout):
    assert (head(layout).array == 10).any()
    assert not (head(layout, absent=(10,)).array == 10).any()
    lesion = block(tiny.GRID, slice(4, 6), slice(9, 11), slice(20, 25))
    assert np.array_equal(head(layout, drawn("lesions", lesion), absent=(10,)).array == 10, lesion)


def test_on_a_mirrored_and_turned_grid_the_head_is_the_same_in_the_world(layout):
    """Left stays left: the head on a grid that runs from right to left, with other axes first."""
    affine = tiny.GRID.affine
    turned = Grid(
        (32, 16, 24),
        np.column_stack(
            [affine[:, 2], -affine[:, 0], affine[:, 1], affine @ (tiny.GRID.shape[0] - 1, 0, 0, 1)]
        ),
    )  # fmt: skip
    assert turned.orientation == "SRA"
    mask = one_sided()
    there = np.transpose(mask[::-1], (2, 0, 1))
    own = head(layout, drawn("ventricles", mask)).array
    other = head(layout, drawn("ventricles", there, turned), grid=turned).array
    assert np.array_equal(other, np.transpose(own[::-1], (2, 0, 1)))


def test_beyond_the_layouts_field_of_view_there_is_background(layout):
    affine = tiny.GRID.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ (-6, -6, -6)
    wide = Grid((28, 36, 44), affine)
    found = head(layout, grid=wide).array
    assert not found[:5].any()
    assert not found[:, :5].any()
    assert not found[..., -5:].any()
    assert np.array_equal(found[6:22, 6:30, 6:38], head(layout).array)


def test_a_structure_no_layout_knows_changes_nothing(layout):
    tumour = Condition(ConditionSpec.from_dict({"name": "tumour", "kind": "mask"}), Volume(one_sided(), tiny.GRID))
    assert np.array_equal(head(layout, tumour).array, head(layout).array)


def test_classes_without_numbers_are_known_by_their_names(layout):
    """Those of the released VCM, whose numbers are others than ours."""
    spec = ConditionSpec.from_dict(
        {"name": "semantics", "kind": "labels", "classes": ["white matter", "grey matter", "ventricles"]}
    )
    painted = Condition(spec, Volume(one_sided().astype(np.uint8) * 3, tiny.GRID))
    assert np.array_equal(np.isin(head(layout, painted).array, (4, 9)), one_sided())


def test_the_labels_a_voxel_may_have_are_never_none():
    rng = np.random.default_rng(1)
    conditions = [drawn(name, rng.random(tiny.GRID.shape) > 0.5) for name in ("brain", "lesions", "ventricles")]
    conditions.append(drawn("semantics", rng.integers(0, 9, tiny.GRID.shape)))
    bits = possible_labels(given_structures(conditions, SEGMENTER_CLASSES), tiny.GRID.shape, SEGMENTER_CLASSES)
    assert planes(bits, 11).any(0).all()


def test_what_was_formed_larger_than_it_was_drawn_becomes_the_tissue_around_it():
    """Ventricles where none may be are the white matter that borders them, not the second best score (background)."""
    scores = torch.zeros(3, 9, 10, 11)
    scores[1] = 1.0  # tissue
    scores[2, 3:7, 3:8, 4:9], scores[1, 3:7, 3:8, 4:9] = 2.0, -1.0  # ventricles; background is second
    drawn_there = np.zeros((9, 10, 11), bool)
    drawn_there[4:6, 4:6, 5:7] = True
    bits = np.where(drawn_there, np.uint32(0b100), np.uint32(0b011))
    labels, torn = _likeliest(scores, bits)
    assert torn.sum() == 4 * 5 * 5 - drawn_there.sum() and (labels[torn] == 0).all()
    mended = _mended(labels, torn, bits, (1.0, 1.0, 1.0))
    assert np.array_equal(mended == 2, drawn_there) and (mended[~drawn_there] == 1).all()
    assert np.array_equal(_mended(labels, np.zeros_like(torn), bits, (1.0, 1.0, 1.0)), labels)


def test_the_nearest_tissue_is_found_in_millimetres():
    labels = np.zeros((1, 7, 7), np.uint8)
    labels[0, 3, 0], labels[0, 0, 3] = 1, 2
    torn = np.zeros((1, 7, 7), bool)
    torn[0, 3, 3] = True
    bits = np.full((1, 7, 7), 0b110, np.uint32)
    assert _mended(labels, torn, bits, (1.0, 1.0, 2.0))[0, 3, 3] == 2
    assert _mended(labels, torn, bits, (1.0, 2.0, 1.0))[0, 3, 3] == 1


def test_no_background_is_left_within_the_brain_but_what_lies_in_the_fluid_around_it():
    labels = np.zeros((14, 16, 18), np.uint8)
    labels[1:13, 1:15, 1:17] = 1
    labels[2:12, 2:9, 2:16] = 7
    labels[4:6, 4:6, 4:7] = 0  # in the fluid
    labels[4:7, 11:13, 5:9] = 0  # in white matter
    labels[9, 9:12, 3] = 0  # where both meet: two of its fourteen neighbours are fluid
    labels[10:14, 13, 13] = 0  # open to the outside
    hollow = np.zeros(labels.shape, bool)
    hollow[4:7, 11:13, 5:9] = hollow[9, 9:12, 3] = True
    assert np.array_equal(_hollows(labels), hollow)
    everything = np.full(labels.shape, 2**11 - 1, np.uint32)
    mended = _mended(labels, hollow, everything, (1.0, 2.0, 1.0))
    assert (mended[4:7, 11:13, 5:9] == 1).all() and np.array_equal(mended[~hollow], labels[~hollow])
    background = np.ones(labels.shape, np.uint32)  # where nothing but background may be, it stays
    assert np.array_equal(_mended(labels, hollow, background, (1.0, 2.0, 1.0)), labels)
