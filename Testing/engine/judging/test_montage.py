"""Whether the picture shows what lies where, in any orientation of the Grid."""

import numpy as np
import pytest
from faults import names
from PIL import Image, ImageDraw
from vcm.conditions.condition import ClassSpec, Condition, ConditionSpec, Kind
from vcm.core.errors import VcmError
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.judging.alignment import Alignment, ClassAlignment
from vcm.reporting.lettering import PLAIN, write
from vcm.reporting.montage import CELL, GUTTER, MARGIN, contact_sheet, montage, save_montage
from vcm.reporting.montage_columns import COMPLETED_COLOURS, STRUCTURE_COLOURS
from vcm.reporting.planes import AXIAL, CORONAL, PLANES, SAGITTAL, facing_viewer, telling_slice
from vcm.volumes.resampling import resample_image, resample_labels

# 60 mm to the sides, 96 mm front to back, 72 mm up: the slices are 3 mm thick, the pixels 2 × 4 mm.
LAS = Grid((30, 24, 24), [[-2, 0, 0, 29], [0, 4, 0, -46], [0, 0, 3, -34.5], [0, 0, 0, 1]])
RAS = Grid((30, 24, 24), [[2, 0, 0, -29], [0, 4, 0, -46], [0, 0, 3, -34.5], [0, 0, 0, 1]])
PSR = Grid((24, 24, 30), [[0, 0, 2, -29], [-4, 0, 0, 46], [0, 3, 0, -34.5], [0, 0, 0, 1]])
AXIAL_ROW, CORONAL_ROW, SAGITTAL_ROW = range(3)
CONDITION, CONTROLLED, UNCONTROLLED, DIFFERENCE = range(4)


def inside(grid, low, high):
    """The voxels whose centres lie between two corners in RAS millimetres."""
    world = grid.to_world(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))
    return ((world > low) & (world < high)).all(axis=-1)


# To the right, in front and above the middle of the field of view.
BLOB = ([4, 8, 6], [20, 32, 18])


def blob(grid, brightness=0.8):
    return Volume(inside(grid, *BLOB) * np.float32(brightness), grid)


def mask_condition(grid, low=BLOB[0], high=BLOB[1], name="lesion"):
    spec = ConditionSpec(name, Kind.MASK, (ClassSpec(1, name, (4,)),))
    return Condition(spec, Volume(inside(grid, low, high).astype(np.uint8), grid))


def panel(picture, row, column):
    """The pixels of one cell, found by its black ground."""
    pixels = np.asarray(picture).astype(int)
    left = MARGIN + column * (CELL + GUTTER)
    black = (pixels[:, left + CELL - 3] == 0).all(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], black, [0]])))
    tops, bottoms = edges[::2], edges[1::2]
    assert len(tops) == 3, "three planes were expected"
    return pixels[tops[row] : bottoms[row], left : left + CELL]


def without_letters(cell):
    """The cell with its frame, where letters stand, blackened."""
    framed = np.zeros_like(cell)
    framed[20:-20, 30:-30] = cell[20:-20, 30:-30]
    return framed


def bright_box(cell):
    """First and last row and column of what is brighter than half of its brightest."""
    shade = without_letters(cell).sum(axis=2)
    rows, columns = np.nonzero(shade > shade.max() / 2)
    return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


PX_PER_MM = CELL / 96


def expected_box(row, cell):
    """Where BLOB must be drawn: right of the patient on the left, front on the left or top, top up."""
    (r0, a0, s0), (r1, a1, s1) = BLOB
    middle_x, middle_y = cell.shape[1] / 2, cell.shape[0] / 2
    left_mm, right_mm = (a1, a0) if row == SAGITTAL_ROW else (r1, r0)
    top_mm, bottom_mm = (a1, a0) if row == AXIAL_ROW else (s1, s0)
    return tuple(
        middle - mm * PX_PER_MM
        for middle, mm in ((middle_y, top_mm), (middle_y, bottom_mm), (middle_x, left_mm), (middle_x, right_mm))
    )


@pytest.mark.parametrize("grid", [LAS, RAS, PSR], ids=lambda grid: grid.orientation)
@pytest.mark.parametrize("row", [AXIAL_ROW, CORONAL_ROW, SAGITTAL_ROW])
def test_a_blob_is_drawn_on_its_side_of_the_picture_and_true_to_the_millimetre(grid, row):
    picture = montage(conditions=[], controlled=_moved_to_middle(grid), title="Blob")
    cell = panel(picture, row, CONTROLLED)
    assert bright_box(cell) == pytest.approx(expected_box(row, cell), abs=PX_PER_MM)


def _moved_to_middle(grid):
    """The blob, long enough to be cut by the middle slices that are drawn where there is no condition."""
    image = inside(grid, [-3, *BLOB[0][1:]], [3, *BLOB[1][1:]])  # sagittal slice
    image |= inside(grid, [BLOB[0][0], -5, BLOB[0][2]], [BLOB[1][0], 5, BLOB[1][2]])  # coronal
    image |= inside(grid, [*BLOB[0][:2], -4], [*BLOB[1][:2], 4])  # axial
    return Volume(image.astype(np.float32), grid)


@pytest.mark.parametrize(("row", "letters"), [(AXIAL_ROW, "RLAP"), (CORONAL_ROW, "RLSI"), (SAGITTAL_ROW, "APSI")])
@pytest.mark.parametrize("grid", [LAS, PSR], ids=lambda grid: grid.orientation)
def test_the_letters_at_the_edges_name_the_sides_of_the_patient(grid, row, letters):
    picture = montage(conditions=[], controlled=_moved_to_middle(grid), title="Letters")
    cell = panel(picture, row, CONTROLLED)
    height, width = cell.shape[:2]
    places = [(8, height / 2), (width - 8, height / 2), (width / 2, 5), (width / 2, height - 5)]
    for letter, place, anchor in zip(letters, places, ["lm", "rm", "mt", "mb"], strict=True):
        expected = _letter(letter, place, anchor, (width, height))
        drawn = np.where(expected.any(axis=2, keepdims=True), cell, 0)
        assert np.array_equal(drawn, expected), letter
        for wrong in set("RLAPSI") - {letter}:
            assert not np.array_equal(drawn, _letter(wrong, place, anchor, (width, height)))


def _letter(letter, place, anchor, size):
    ground = Image.new("RGB", size)
    write(ImageDraw.Draw(ground), place, letter, 13, PLAIN, anchor=anchor, halo=True)
    return np.asarray(ground).astype(int)


@pytest.mark.parametrize("grid", [RAS, PSR], ids=lambda grid: grid.orientation)
def test_the_picture_does_not_depend_on_how_the_voxels_are_stored(grid):
    rng = np.random.default_rng(2)
    images = [Volume(rng.random(LAS.shape, np.float32), LAS) for _ in range(2)]
    condition = mask_condition(LAS)
    stored = Condition(condition.spec, resample_labels(condition.volume, grid))
    first = montage(conditions=[condition], controlled=images[0], uncontrolled=images[1], title="One")
    turned = [resample_image(image, grid) for image in images]
    second = montage(conditions=[stored], controlled=turned[0], uncontrolled=turned[1], title="One")
    assert np.array_equal(np.asarray(first), np.asarray(second))


def coloured(cell, colour, tolerance=60):
    return np.abs(cell - np.asarray(colour)).sum(axis=2) < tolerance


@pytest.mark.parametrize("column", [CONDITION, CONTROLLED, UNCONTROLLED])
@pytest.mark.parametrize("row", [AXIAL_ROW, CORONAL_ROW, SAGITTAL_ROW])
def test_the_same_outline_is_drawn_at_the_border_of_the_mask_on_every_image(column, row):
    picture = montage(
        conditions=[mask_condition(PSR)], controlled=blob(PSR, 0), uncontrolled=blob(PSR, 0), title="Outline"
    )
    cell = panel(picture, row, column)
    rows, columns = np.nonzero(coloured(cell, STRUCTURE_COLOURS[0]))
    found = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    assert found == pytest.approx(expected_box(row, cell), abs=2)
    if column != CONDITION:
        top, bottom, left, right = (round(edge) for edge in expected_box(row, cell))
        assert not cell[top + 4 : bottom - 4, left + 4 : right - 4].any(), "the inside of the outline stays free"


def test_the_condition_column_fills_the_structure_with_its_colour():
    picture = montage(conditions=[mask_condition(LAS)], controlled=blob(LAS, 0), title="Fill")
    cell = panel(picture, AXIAL_ROW, CONDITION)
    top, bottom, left, right = (round(edge) for edge in expected_box(AXIAL_ROW, cell))
    middle = cell[(top + bottom) // 2, (left + right) // 2]
    assert middle == pytest.approx(0.45 * np.asarray(STRUCTURE_COLOURS[0]), abs=2)


def test_more_signal_than_the_twin_is_orange_less_is_blue_and_equal_is_black():
    more, less = ([4, 8, 6], [20, 32, 18]), ([-20, 8, 6], [-6, 32, 18])
    base = np.full(LAS.shape, 0.3, np.float32)
    controlled = base + 0.4 * inside(LAS, *more) - 0.2 * inside(LAS, *less)
    condition = mask_condition(LAS, [2, -4, 6], [20, 0, 18])
    picture = montage(
        conditions=[condition], controlled=Volume(controlled, LAS), uncontrolled=Volume(base, LAS), title="Difference"
    )
    cell = panel(picture, AXIAL_ROW, DIFFERENCE)
    middle_x, middle_y = cell.shape[1] / 2, cell.shape[0] / 2

    def at(right_mm, front_mm):
        return cell[round(middle_y - front_mm * PX_PER_MM), round(middle_x - right_mm * PX_PER_MM)]

    red, _, blue = at(12, 20)
    assert red > blue + 50
    red, _, blue = at(-13, 20)
    assert blue > red + 50
    assert not at(-13, -20).any()


def test_both_images_share_one_grey_window():
    bright, dim = blob(LAS, 0.8), blob(LAS, 0.4)
    condition = mask_condition(LAS, [6, -30, 8], [10, 40, 12])
    picture = montage(conditions=[condition], controlled=bright, uncontrolled=dim, title="Window")
    shades = []
    for column in (CONTROLLED, UNCONTROLLED):
        cell = panel(picture, AXIAL_ROW, column)
        top, _, left, _ = (round(edge) for edge in expected_box(AXIAL_ROW, cell))
        shades.append(cell[top + 41, left + 27])
    assert shades[0] == pytest.approx(np.full(3, 255), abs=2)
    assert shades[1] == pytest.approx(np.full(3, 127.5), abs=3)


def test_an_image_condition_is_shown_undimmed_under_the_structures():
    skull = Condition(ConditionSpec("skull", Kind.IMAGE), blob(LAS, 0.8))
    picture = montage(conditions=[skull], controlled=blob(LAS, 0.8), title="Skull")
    assert np.array_equal(panel(picture, CORONAL_ROW, CONDITION)[60:], panel(picture, CORONAL_ROW, CONTROLLED)[60:])


@pytest.mark.parametrize("grid", [LAS, RAS, PSR], ids=lambda grid: grid.orientation)
@pytest.mark.parametrize("row", [AXIAL_ROW, CORONAL_ROW, SAGITTAL_ROW])
def test_the_completed_head_stands_between_condition_and_sample_and_on_its_side(grid, row):
    head = Volume(inside(grid, *BLOB).astype(np.uint8) * 3, grid)
    drawn = mask_condition(grid, [9, 15, 8], [15, 25, 16])
    picture = montage(conditions=[drawn], controlled=blob(grid, 0.0), completed=head, title="T")
    assert picture.width == 2 * MARGIN + 3 * CELL + 2 * GUTTER
    cell = panel(picture, row, 1)
    top, bottom, left, right = bright_box(cell)
    assert (top, bottom, left, right) == pytest.approx(expected_box(row, cell), abs=6)
    inner = cell[top + 8, left + 8]
    assert np.abs(inner - 0.9 * np.array(COMPLETED_COLOURS[2])).max() < 4
    assert not panel(picture, row, 2)[top + 8, left + 8].any(), "the third column is the sample, which is black"


def test_without_a_twin_there_are_two_columns():
    picture = montage(conditions=[mask_condition(LAS)], controlled=blob(LAS), title="Alone")
    assert picture.width == 2 * MARGIN + 2 * CELL + GUTTER


def test_equal_images_have_a_black_difference():
    picture = montage(conditions=[], controlled=blob(LAS), uncontrolled=blob(LAS), title="Twins")
    assert not without_letters(panel(picture, AXIAL_ROW, DIFFERENCE)).any()


def test_the_slice_of_paired_structures_shows_one_of_them():
    pair = inside(LAS, [6, -20, 0], [16, 0, 12]) | inside(LAS, [-22, -20, 0], [-10, 0, 12])
    facing = facing_viewer(Volume(pair, LAS)).array
    index = telling_slice(facing, SAGITTAL)
    assert facing[index].any()
    assert not facing[round(np.argwhere(facing).mean(axis=0)[0])].any()


def test_the_slices_go_through_the_smallest_condition():
    brain = mask_condition(LAS, [-26, -44, -30], [26, 44, 30], "brain")
    lesion = mask_condition(LAS, [16, 24, 18], [24, 36, 27])
    picture = montage(conditions=[brain, lesion], controlled=blob(LAS, 0), title="Lesion")
    for row in range(3):
        assert coloured(panel(picture, row, CONTROLLED), STRUCTURE_COLOURS[1]).any()


@pytest.mark.parametrize("grid", [LAS, RAS, PSR], ids=lambda grid: grid.orientation)
def test_the_position_of_a_slice_is_told_in_millimetres_of_the_patient(grid):
    facing = facing_viewer(mask_condition(grid).volume)
    said = [plane.position(facing.grid, telling_slice(facing.array != 0, plane)) for plane in PLANES]
    assert [text.split()[0] for text in said] == ["S", "A", "R"]
    for text, (low, high) in zip(said, [(6, 18), (8, 32), (4, 20)], strict=True):
        assert low < float(text.split()[1]) < high


def test_an_oblique_grid_is_drawn_along_its_own_nearest_axes():
    turn = np.eye(4)
    turn[:3, :3] = [[0.97, -0.24, 0], [0.24, 0.97, 0], [0, 0, 1]]
    oblique = Grid(PSR.shape, turn @ PSR.affine)
    assert facing_viewer(Volume(np.zeros(PSR.shape), oblique)).grid.orientation == "LPI"


def test_an_empty_mask_and_a_black_image_still_make_a_picture():
    empty = mask_condition(LAS, [0, 0, 0], [0, 0, 0])
    zeros = Volume(np.zeros(LAS.shape, np.float32), LAS)
    picture = montage(conditions=[empty], controlled=zeros, uncontrolled=zeros, title="Nothing")
    assert not without_letters(panel(picture, CORONAL_ROW, CONTROLLED)).any()


def test_a_title_that_is_too_long_or_in_foreign_letters_stays_inside_the_picture():
    picture = montage(
        conditions=[], controlled=blob(LAS), title="Größe × " * 60, subtitle="日本語 · " + "many words " * 40
    )
    pixels = np.asarray(picture).astype(int)
    assert (np.abs(pixels[:, : MARGIN - 2] - pixels[0, 0]) == 0).all()
    assert (np.abs(pixels[:, -(MARGIN - 2) :] - pixels[0, 0]) == 0).all()


def test_the_measures_change_the_header_and_nothing_below_it():
    entry = ClassAlignment("lesion", "lesion", 12.0, 11.0, 0.86, 3.2, 0.9)
    drawn = {"conditions": [mask_condition(LAS)], "controlled": blob(LAS), "title": "Scores"}
    plain, scored = montage(**drawn), montage(**drawn, alignment=Alignment((entry,), ()))
    assert np.array_equal(panel(plain, AXIAL_ROW, CONTROLLED), panel(scored, AXIAL_ROW, CONTROLLED))
    assert not np.array_equal(np.asarray(plain)[:130], np.asarray(scored)[:130])


def test_the_file_is_a_png_that_calls_itself_synthetic(tmp_path):
    save_montage(tmp_path / "montage.png", conditions=[], controlled=blob(LAS), title="File")
    with Image.open(tmp_path / "montage.png") as picture:
        assert picture.format == "PNG"
        assert picture.text["Description"] == "SYNTHETIC - research only, not for diagnosis"
    assert names(tmp_path) == ["montage.png"]


def test_a_contact_sheet_has_a_strip_for_every_sample():
    samples = [blob(LAS, shade) for shade in (0.2, 0.5, 0.8)]
    one = contact_sheet(samples[:1], ["seed 1"])
    three = contact_sheet(samples, ["seed 1", "seed 2", "seed 3"])
    ground = [(np.asarray(sheet) == 0).all(axis=2).sum() for sheet in (one, three)]
    assert ground[1] == 3 * ground[0] > 0
    assert three.width > 1.9 * one.width


def test_a_contact_sheet_needs_a_caption_for_every_sample():
    with pytest.raises(VcmError, match="2 samples and 1 captions"):
        contact_sheet([blob(LAS)] * 2, ["seed 1"])
    with pytest.raises(VcmError, match="0 samples"):
        contact_sheet([], [])


def test_planes_name_their_sides_in_radiological_convention():
    assert [(plane.left, plane.right) for plane in (AXIAL, CORONAL, SAGITTAL)] == [("R", "L"), ("R", "L"), ("A", "P")]
