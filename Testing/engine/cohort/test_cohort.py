"""Heads made from label maps."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from label_map_folder import CLASS_OF_LABEL, GRID, SHAPE, description, head, write_folder
from scipy.ndimage import binary_dilation
from typer.testing import CliRunner
from vcm.anatomy.structures import VENTRICLES
from vcm.cli.cohort import app
from vcm.cohort.check import hollow_share
from vcm.cohort.files import CaseEntry, read_cases, write_table
from vcm.cohort.making.head_image import Blocks, labels_of
from vcm.cohort.making.head_maps import DEPTH_STEPS, Head
from vcm.cohort.making.head_shape import Shape, View, displacement, resize_ventricles, sample, source_of
from vcm.cohort.making.heads import OWN_ATTRIBUTES, CohortMaker, attributes
from vcm.cohort.making.label_maps import LabelMaps, LabelTable
from vcm.cohort.making.making import make_cohort
from vcm.conditions.attributes import AttributeSpec
from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.volumes.volume_files import write_volume


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("labelmaps") / "data")


@pytest.fixture(scope="module")
def maps(folder):
    return LabelMaps.open(folder)


OWN_ML = 1.872
VIEW = View(tuple(n // 2 for n in SHAPE), (0, 0, 0))


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


def test_a_head_is_the_same_on_a_grid_whose_axes_run_another_way(maps):
    """3D MedDiffusion's images run foot to head, left to right, back to front."""
    own = CohortMaker(maps, 7, contrasts=["t2"]).make(0)
    i, j, k = own.image.grid.shape
    corner = own.image.grid.to_world((i - 1, 0, 0))
    affine = np.array([[0, 2, 0, corner[0]], [0, 0, 2, corner[1]], [2, 0, 0, corner[2]], [0, 0, 0, 1]])
    case = CohortMaker(maps, 7, contrasts=["t2"], grid=Grid((k, i, j), affine)).make(0)
    for part, volume in case.parts.items():
        assert volume.grid.orientation == "SRA", part
        assert np.array_equal(volume.array, own.parts[part].array[::-1].transpose(2, 0, 1)), part
    assert case.attributes == own.attributes


def test_a_case_lies_on_half_the_label_maps_grid(maps):
    case = CohortMaker(maps, 1).make(0)
    assert case.image.grid.same_as(GRID.downsampled([n // 2 for n in SHAPE]))
    assert np.allclose(case.image.grid.affine[:3, 3], (21.0, -39.5, -16.5))


def made(ready, shape, view=VIEW, lender=None):
    """The class of each voxel, and the millilitres of each class."""
    return Blocks.of(labels_of(ready, source_of(shape, ready, lender or ready, view)))


@pytest.fixture(scope="module")
def ready(maps):
    positions, _ = maps.read(0)
    return Head.prepare(positions, maps.table, torch.device("cpu"))


def test_an_undeformed_head_lies_where_its_label_map_lies(maps, ready):
    inside = np.isin(head(), (4, 43))
    winner, millilitres = made(ready, still(inside.sum() / 1000)).classes(maps.table)
    expected = inside.reshape(24, 2, 32, 2, 28, 2).sum(axis=(1, 3, 5)) > 4
    got = winner.numpy() == VENTRICLES
    assert 2 * (got & expected).sum() / (got.sum() + expected.sum()) > 0.95
    assert millilitres[VENTRICLES] == pytest.approx(inside.sum() / 1000, rel=0.1)


@pytest.mark.parametrize("start", [(0, 0, 0), (3, 10, 6), (-4, 0, 1)])
def test_a_field_of_view_shows_its_part_of_the_label_map(maps, ready, start):
    view = View((20, 26, 24), start)
    shift = [slice(max(0, a), a + 2 * n) for a, n in zip(start, view.shape, strict=True)]
    labels = labels_of(ready, source_of(still(OWN_ML), ready, ready, view))
    expected = head()[tuple(shift)]
    found = maps.table.labels[labels.numpy()[tuple(slice(max(0, -a), None) for a in start)]]
    found = found[tuple(slice(0, n) for n in expected.shape)]
    assert np.mean(found == expected[tuple(slice(0, n) for n in found.shape)]) > 0.97


@pytest.mark.parametrize("asked", [1.0, 2.5, 6.0, 12.0])
def test_ventricles_get_the_volume_that_was_drawn(maps, ready, asked):
    assert made(ready, still(asked)).classes(maps.table)[1][VENTRICLES] == pytest.approx(asked, rel=0.08, abs=0.1)


@pytest.mark.parametrize("asked", [2.0, 6.0, 12.0])
def test_ventricles_that_were_a_thin_sheet_are_whole(maps, asked):
    thin = head()
    thin[np.isin(thin, (4, 43))] = 2
    thin[14:30, 20:46, 26:28] = 4
    ready = Head.prepare(maps.table.positions(thin, "thin"), maps.table, torch.device("cpu"))
    winner, millilitres = made(ready, still(asked)).classes(maps.table)
    assert millilitres[VENTRICLES] == pytest.approx(asked, rel=0.1)
    assert hollow_share(winner.numpy()) < 0.01


def moved_surface(steps, ready, maps):
    labels = labels_of(ready, replace(source_of(still(OWN_ML), ready, ready, VIEW), surface=steps))
    brain = ~maps.table.outside & (maps.table.labels != 24)
    return brain[labels.numpy()], maps.table.labels[labels.numpy()]


def test_the_brains_surface_moves_into_the_fluid_and_back_and_nothing_else_does(maps, ready):
    small, still_there, large = (moved_surface(steps, ready, maps) for steps in (-DEPTH_STEPS, 0, DEPTH_STEPS))
    assert small[0].sum() < 0.95 * still_there[0].sum() and large[0].sum() > 1.05 * still_there[0].sum()
    assert not (small[0] & ~still_there[0]).any() and not (still_there[0] & ~large[0]).any()
    for brain, labels in (small, large):
        changed = labels != still_there[1]
        assert np.isin(still_there[1][changed], (3, 42, 24)).all() and np.isin(labels[changed], (3, 42, 24, 2)).all()
        assert brain.sum() > 0


@pytest.mark.parametrize("steps", [-60, -17, 0, 25])
def test_how_large_the_brain_becomes_is_known_beforehand(maps, ready, steps):
    brain, _ = moved_surface(steps, ready, maps)
    assert ready.brain_ml[steps + 128] == pytest.approx(brain.sum() / 1000, rel=0.01)


def test_the_surface_for_a_volume_encloses_it(ready):
    for steps in (-90, -20, 30):
        assert ready.brain_ml[ready.surface_for(ready.brain_ml[steps + 128]) + 128] == ready.brain_ml[steps + 128]


def test_a_grid_across_the_label_maps_voxels_is_refused():
    assert View.on(GRID.downsampled([n // 2 for n in SHAPE]), GRID) == VIEW
    turned = Grid((8, 8, 8), [[0, 2, 0, 0], [2, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    for grid in (turned, GRID, Grid((8, 8, 8), [[-2, 0, 0, 20.8], [0, 2, 0, -39.5], [0, 0, 2, -16.5], [0, 0, 0, 1]])):
        with pytest.raises(VcmError, match="cannot be made on a grid"):
            View.on(grid, GRID)


def test_growing_ventricles_moves_nothing_beyond_their_reach(ready, monkeypatch):
    monkeypatch.setattr("vcm.cohort.making.head_shape.REACH_MM", 8.0)
    monkeypatch.setattr("vcm.cohort.making.head_shape.FARTHEST_WALL_MM", 4.0)
    axes = [torch.arange(n // 2).float() * 2 + 0.5 for n in SHAPE]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    moved = (resize_ventricles(grid, still(8.0), ready, ready)[0] - grid).norm(dim=0)
    assert moved[ready.field[0] > 14].max() < 0.1  # movement is smoothed over 4 mm
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


def test_a_table_holds_whatever_attributes_there_are(tmp_path):
    given = [{"dose": 0.25, "field": 0.75}, {"field": 0.5, "height": 1.5}]
    entries = {f"{n}": CaseEntry(tmp_path / "cases" / f"{n}", "head", 1, a, 1.0, 2.0) for n, a in enumerate(given)}
    write_table(entries, tmp_path)
    assert [entry.attributes for entry in read_cases(tmp_path)] == given
    table = tmp_path / "cases.csv"
    lines = table.read_text().splitlines()
    assert lines[0] == "case,head,seed,dose,field,height,ventricles_ml,brain_ml,parts"
    notes = ["site", "Prague", "Brno"]
    table.write_text("\n".join(f"{line},{note}" for line, note in zip(lines, notes, strict=True)))
    assert [entry.attributes for entry in read_cases(tmp_path)] == given
    table.write_text(table.read_text().replace("0.750000", "O.75"))
    with pytest.raises(VcmError, match=r"case 0 holds what is no number: .*O\.75"):
        read_cases(tmp_path)


def test_a_made_head_has_the_attributes_of_the_backbone_on_its_scales():
    specs = (
        AttributeSpec("sex", "Sex", choices={"M": 0.0, "F": 1.0}),
        AttributeSpec("age", "Age", "years", low=20, high=120),
        AttributeSpec("ventricular_volume", "Ventricular volume"),
        AttributeSpec("white", "White matter", "ml", low=0, high=1000, structures=(1,)),
        AttributeSpec("dose", "Dose", default=0.3),
    )
    ml = {1: 500.0, 4: 45.0, 7: 200.0, 10: 20.0}
    assert attributes(1.0, 0.5, ml, specs) == pytest.approx(
        {"sex": 0.0, "age": 0.43, "ventricular_volume": 0.5, "white": 0.52, "dose": 0.3}
    )
    own = attributes(0.0, 0.25, ml, OWN_ATTRIBUTES)
    assert own == pytest.approx({"sex": 0, "age": 0.25, "ventricular_volume": 0.5, "brain_volume": 0})


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
    arguments += ["--grid", "labelmaps", "--lesions", "0"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert {case.head for case in read_cases(out)} == {"head_02"}


def test_heads_are_chosen_by_places(folder, tmp_path):
    arguments = ["make", "--labelmaps", str(folder), "--heads", "one", "--out", str(tmp_path)]
    assert CliRunner().invoke(app, arguments).exit_code == 2


def with_ventricles(core):
    """A map of classes with a block of ventricles in white matter, and in the middle of it `core`."""
    labels = np.ones((30, 30, 30), np.uint8)
    labels[8:20, 10:22, 6:24] = VENTRICLES
    labels[12:16, 14:18, 6:24] = core
    return labels


def test_tissue_within_ventricles_is_found_and_fluid_or_tissue_around_them_is_not():
    hollow = hollow_share(with_ventricles(1))
    assert hollow == pytest.approx(4 * 4 * 18 / (12 * 12 * 18), abs=0.01)
    assert hollow_share(with_ventricles(VENTRICLES)) == hollow_share(with_ventricles(9)) == 0
    open_on_one_side = with_ventricles(VENTRICLES)
    open_on_one_side[8:14, 10:22, 6:24] = 1
    assert hollow_share(open_on_one_side) == 0
    assert hollow_share(np.ones((4, 4, 4), np.uint8)) == 0


def test_a_cohort_is_checked(maps, tmp_path, folder):
    list(make_cohort(CohortMaker(maps, 4), 6, tmp_path))
    result = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "6 heads; more than 5% tissue in the closed ventricles: 0" in result.output
    (bad,) = [entry for entry in read_cases(tmp_path) if entry.name == "00002"]
    labels = np.zeros((24, 32, 28), np.uint8)
    labels[4:20, 4:20, 4:20] = with_ventricles(1)[6:22, 8:24, 6:22]
    grid = bad.read("labels").grid
    bad.path("labels").unlink()
    write_volume(bad.path("labels"), Volume(labels, grid))
    result = CliRunner().invoke(app, ["check", str(tmp_path)], standalone_mode=False)
    assert result.return_value == 1
    assert "ventricles: 1" in result.output and "00002 11%" in result.output


def test_heads_are_given_sex_age_and_size_whatever_their_label_map_is(ready):
    """What a shape asks for is what is made: the brain's share falls with age, men's skulls are a tenth larger."""
    drawn = {
        (sex, age): [Shape.draw(np.random.default_rng(seed), sex, age) for seed in range(300)]
        for sex in (0.0, 1.0)
        for age in (0.0, 1.0)
    }
    inside = {key: np.mean([one.inside_ml for one in shapes]) for key, shapes in drawn.items()}
    assert inside[1.0, 0.0] / inside[0.0, 0.0] == pytest.approx(1.10, abs=0.005)
    share = {key: np.mean([one.tissue for one in shapes]) for key, shapes in drawn.items()}
    assert share[0.0, 1.0] - share[0.0, 0.0] == pytest.approx(-0.09, abs=0.005)
    wide = {key: np.median([one.ventricles_ml for one in shapes]) for key, shapes in drawn.items()}
    assert wide[0.0, 1.0] > 1.7 * wide[0.0, 0.0]
    for shape in drawn[1.0, 0.0][:3]:
        low, high = 0.85, 1.18
        assert low * 0.9 < np.prod(shape.scale_of(ready)) ** (1 / 3) <= high + 1e-9


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["../../x,h,1,1.0,1000.0,image labels skull"], "names no case"),
        (["00001,h,1,1.0,1000.0,../secret"], "names no case and no part"),
        (["00001,h,1,1.0,1000.0,image", "00001,h,1,1.0,1000.0,image"], "stands there twice"),
        ([",h,1,1.0,1000.0,image"], "names no case"),
    ],
)
def test_a_table_that_leads_elsewhere_or_repeats_itself_is_refused(tmp_path, rows, words):
    header = "case,head,seed,ventricles_ml,brain_ml,parts"
    (tmp_path / "cases.csv").write_text("\n".join([header, *rows]) + "\n")
    with pytest.raises(VcmError, match=words):
        read_cases(tmp_path)


def test_choroid_plexus_is_a_part_of_the_ventricles_and_grows_into_nothing(tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps(description({**CLASS_OF_LABEL, 136: 4, 25: 4})))
    table = LabelTable.read(tmp_path / "labels.json")
    plain = head()
    left = np.argwhere(plain == 4)
    marked = plain.copy()
    marked[tuple(left[::3].T)] = 136
    speck = np.argwhere(binary_dilation(plain == 4) & (plain != 4) & (plain != 43))
    marked[tuple(speck[::7].T)] = 25
    ready = [
        Head.prepare(np.searchsorted(table.labels, labels).astype(np.uint8), table, torch.device("cpu"))
        for labels in (plain, marked)
    ]
    assert torch.equal(ready[0].walls, ready[1].walls)
    found = table.labels[ready[1].grown.numpy()]
    assert not (found == 136).any()
    within = np.isin(plain, (4, 43))
    assert not np.isin(found[within], (25, 4, 43)).any()
