"""Heads made from label maps."""

import json

import numpy as np
import pytest
import torch
from label_map_folder import GRID, SHAPE, description, head, write_folder
from typer.testing import CliRunner
from vcm.cli.cohort import app
from vcm.errors import Code, VcmError
from vcm.training.cohort import CohortMaker
from vcm.training.cohort_files import read_cases
from vcm.training.cohort_making import make_cohort
from vcm.training.head_image import Blocks
from vcm.training.head_shape import Head, Shape, displacement, resize_ventricles, sample, source_positions
from vcm.training.label_maps import VENTRICLES, LabelMaps, LabelTable
from vcm.volume import Volume
from vcm.volumes.volume_files import write_volume


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("labelmaps") / "data")


@pytest.fixture(scope="module")
def maps(folder):
    return LabelMaps.open(folder)


def still(ventricles_ml=3.0, borrowed=0.0):
    """A shape that changes nothing but the ventricles."""
    flat = tuple(np.zeros((3, *points), np.float32) for points in ((5, 7, 5), (10, 14, 10)))
    return Shape(np.zeros(3), np.ones(3), np.zeros(3), flat, ventricles_ml, borrowed)


def test_the_same_seed_and_number_make_the_same_head_bit_for_bit(maps):
    first, again = CohortMaker(maps, 7).make(3), CohortMaker(maps, 7).make(3)
    for part in ("image", "labels", "skull"):
        assert np.array_equal(getattr(first, part).array, getattr(again, part).array)
    assert first.attributes == again.attributes


def test_a_case_does_not_depend_on_those_made_before_it(maps):
    busy = CohortMaker(maps, 7)
    busy.make(0)
    assert np.array_equal(busy.make(3).image.array, CohortMaker(maps, 7).make(3).image.array)


def test_another_seed_or_number_makes_another_head(maps):
    image = CohortMaker(maps, 7).make(2).image.array
    assert not np.array_equal(image, CohortMaker(maps, 8).make(2).image.array)
    assert not np.array_equal(image, CohortMaker(maps, 7).make(4).image.array)


def test_heads_take_turns(maps):
    maker = CohortMaker(maps, 1)
    assert [maker.make(n).head for n in range(3)] == ["head_01", "head_02", "head_01"]


def test_a_case_lies_on_half_the_label_maps_grid(maps):
    case = CohortMaker(maps, 1).make(0)
    assert case.image.grid.same_as(GRID.downsampled([n // 2 for n in SHAPE]))
    assert np.allclose(case.image.grid.affine[:3, 3], (21.0, -39.5, -16.5))


def test_an_undeformed_head_lies_where_its_label_map_lies(maps):
    positions, _ = maps.read(0)
    ready = Head.prepare(positions, maps.table, torch.device("cpu"))
    inside = np.isin(head(), (4, 43))
    source = source_positions(still(inside.sum() / 1000), ready, ready)
    winner, millilitres = Blocks.gather(ready.positions, source).classes(maps.table)
    expected = inside.reshape(24, 2, 32, 2, 28, 2).sum(axis=(1, 3, 5)) > 4
    got = winner.numpy() == VENTRICLES
    assert 2 * (got & expected).sum() / (got.sum() + expected.sum()) > 0.95
    assert millilitres[VENTRICLES] == pytest.approx(inside.sum() / 1000, rel=0.1)


@pytest.mark.parametrize("asked", [1.0, 2.5, 6.0, 12.0])
def test_ventricles_get_about_the_volume_that_was_drawn(maps, asked):
    positions, _ = maps.read(0)
    ready = Head.prepare(positions, maps.table, torch.device("cpu"))
    blocks = Blocks.gather(ready.positions, source_positions(still(asked), ready, ready))
    assert blocks.classes(maps.table)[1][VENTRICLES] == pytest.approx(asked, rel=0.2, abs=0.6)


def test_growing_ventricles_moves_nothing_beyond_their_reach(maps, monkeypatch):
    monkeypatch.setattr("vcm.training.head_shape.REACH_MM", 8.0)
    monkeypatch.setattr("vcm.training.head_shape.FARTHEST_WALL_MM", 4.0)
    positions, _ = maps.read(0)
    ready = Head.prepare(positions, maps.table, torch.device("cpu"))
    axes = [torch.arange(n // 2).float() * 2 + 0.5 for n in SHAPE]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    moved = (resize_ventricles(grid, still(8.0), ready, ready) - grid).norm(dim=0)
    assert moved[ready.field[0] > 8.5].max() < 0.1
    assert moved[ready.field[0] < 4].max() > 1


def test_a_smooth_deformation_never_folds():
    rng = np.random.default_rng(3)
    velocities = tuple(
        rng.normal(0, sd, (3, *n)).astype(np.float32) for sd, n in ((4.0, (5, 7, 5)), (1.6, (10, 14, 10)))
    )
    field = displacement(velocities, torch.Size((80, 112, 80)), torch.device("cpu"))
    jacobian = torch.stack([torch.stack(torch.gradient(field[a], spacing=2.0)) for a in range(3)])
    jacobian = jacobian.permute(2, 3, 4, 0, 1) + torch.eye(3)
    assert torch.linalg.det(jacobian).min() > 0


def test_a_field_is_sampled_in_its_own_axis_order():
    field = torch.arange(4 * 6 * 5.0).reshape(1, 4, 6, 5)
    at = torch.tensor([[1.0], [4.0], [2.0]])[:, :, None, None]
    assert sample(field, at).item() == field[0, 1, 4, 2]


def test_a_voxel_takes_the_class_of_most_of_its_parts(maps):
    table = maps.table
    names = table.labels.tolist()
    parts = [names.index(n) for n in (4, 4, 43, 2, 2, 3, 3, 0)]  # ventricles 3, white 2, grey 2, air 1
    blocks = Blocks(torch.tensor(parts, dtype=torch.uint8).view(8, 1, 1, 1))
    winner, millilitres = blocks.classes(table)
    assert winner.item() == VENTRICLES
    assert millilitres[VENTRICLES] == pytest.approx(0.003)


def test_images_reach_from_0_to_1_and_ventricles_are_darker_than_white_matter(maps):
    case = CohortMaker(maps, 2).make(1)
    image, labels = case.image.array, case.labels.array
    assert image.min() == 0 and image.max() == 1
    assert image[labels == VENTRICLES].mean() < image[labels == 1].mean()


def test_the_skull_image_is_empty_inside_and_the_image_outside(maps):
    case = CohortMaker(maps, 2).make(1)
    inside = case.labels.array > 0
    assert not case.skull.array[inside].any()
    kept = case.skull.array > 0
    assert kept.sum() > 500
    assert np.array_equal(case.skull.array[kept], case.image.array[kept])


def test_attributes_are_measured_on_the_case(maps):
    case = CohortMaker(maps, 5).make(0)
    voxels = (case.labels.array == VENTRICLES).sum() * 0.008
    assert case.ventricles_ml == pytest.approx(voxels, rel=0.1)
    assert case.attributes["ventricular_volume"] == pytest.approx(np.clip((case.ventricles_ml - 5) / 80, 0, 1))


def test_a_cohort_is_continued_without_making_its_cases_again(maps, tmp_path):
    for _ in make_cohort(CohortMaker(maps, 4), 1, tmp_path):
        pass
    before = (tmp_path / "cases/00000/image.nii.gz").stat().st_mtime_ns
    for _ in make_cohort(CohortMaker(maps, 4), 3, tmp_path):
        pass
    assert (tmp_path / "cases/00000/image.nii.gz").stat().st_mtime_ns == before
    assert [case.name for case in read_cases(tmp_path)] == ["00000", "00001", "00002"]


def test_a_cohort_is_read_back_as_it_was_made(maps, tmp_path):
    maker = CohortMaker(maps, 4)
    for _ in make_cohort(maker, 1, tmp_path):
        pass
    (entry,) = read_cases(tmp_path)
    case = maker.make(0)
    assert np.array_equal(entry.read("labels").array, case.labels.array)
    assert entry.read("image").grid.same_as(case.image.grid)
    assert entry.attributes == pytest.approx(case.attributes, abs=1e-6)
    assert entry.head == "head_01"


def test_a_folder_of_another_seed_is_refused(maps, tmp_path):
    for _ in make_cohort(CohortMaker(maps, 4), 1, tmp_path):
        pass
    with pytest.raises(VcmError, match="seed 4, not 5"):
        list(make_cohort(CohortMaker(maps, 5), 1, tmp_path))


def test_a_table_without_its_columns_is_told(tmp_path):
    (tmp_path / "cases.csv").write_text("case,head\n00000,x\n")
    with pytest.raises(VcmError, match="needs the columns"):
        read_cases(tmp_path)


def test_a_label_that_the_table_does_not_know_is_named(tmp_path):
    folder = write_folder(tmp_path / "data", sides=(1.0,))
    strange = head()
    strange[3, 4, 5] = 777
    write_volume(folder / "labelmaps" / "head_01.nii.gz", Volume(strange, GRID))
    with pytest.raises(VcmError, match=r"head_01\.nii\.gz has labels .* 777"):
        LabelMaps.open(folder).read(0)


def test_a_contrast_class_without_a_prior_is_told(tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps(description({0: 0, 2: 9})))
    with pytest.raises(VcmError, match="contrast class 9"):
        LabelTable.read(tmp_path / "labels.json")


def test_a_folder_without_labels_json_is_told(tmp_path):
    with pytest.raises(VcmError) as caught:
        LabelMaps.open(tmp_path)
    assert caught.value.code is Code.FILE_MISSING and "labels.json" in caught.value.sentence


def test_a_head_that_is_not_there_is_refused(folder):
    with pytest.raises(VcmError, match="heads 1 to 2; 5 was asked for"):
        LabelMaps.open(folder, [1, 5])


def test_the_command_makes_a_cohort_of_the_chosen_heads(folder, tmp_path):
    out = tmp_path / "cohort"
    arguments = ["make", "--labelmaps", str(folder), "--heads", "2", "--count", "2", "--seed", "9", "--out", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert {case.head for case in read_cases(out)} == {"head_02"}


def test_heads_are_chosen_by_places(folder, tmp_path):
    arguments = ["make", "--labelmaps", str(folder), "--heads", "one", "--out", str(tmp_path)]
    assert CliRunner().invoke(app, arguments).exit_code == 2
