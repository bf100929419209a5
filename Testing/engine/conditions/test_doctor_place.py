"""The input doctor on where an input lies."""

import numpy as np
import pytest
from doctor_cases import IMAGE, LABELS, MASK, MODEL, ball, codes, file_of, finding, refused
from phantoms import STRUCTURES, grid_in, nifti_bytes, noise, ramp, tilted, write_bytes
from vcm.conditions.doctor import examine
from vcm.core.findings import Level
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.volumes.volume_files import read_volume_file


@pytest.mark.parametrize("orientation", ["RPI", "SAR", "PIL"])
def test_a_mask_from_any_orientation_lands_on_the_same_structure(orientation):
    own = grid_in(orientation, (60, 61, 62), (1.3, 1.4, 1.5))
    examination = examine(MASK, ball(own), MODEL)
    assert finding(examination, "REORIENTED").level is Level.NOTE
    array = examination.condition.volume.array
    middle = MODEL.to_world(np.argwhere(array).mean(axis=0))
    assert np.allclose(middle, STRUCTURES[1][0], atol=0.3)


def test_an_oblique_grid_is_noted_and_its_structure_stays_in_place():
    examination = examine(MASK, ball(tilted(grid_in("LAS", (60, 61, 62), (1.3, 1.4, 1.5)), 25)), MODEL)
    assert "°" in finding(examination, "OBLIQUE").sentence
    middle = MODEL.to_world(np.argwhere(examination.condition.volume.array).mean(axis=0))
    assert np.allclose(middle, STRUCTURES[1][0], atol=0.3)


def test_a_file_without_orientation_but_of_the_models_size_is_laid_on_its_grid():
    mask = Volume(ball(MODEL).array, Grid(MODEL.shape, np.diag([*MODEL.spacing, 1])))
    examination = examine(MASK, file_of(mask, has_orientation=False), MODEL)
    assert "model's grid" in finding(examination, "NO_ORIENTATION").sentence
    assert np.array_equal(examination.condition.volume.array, ball(MODEL).array)


@pytest.mark.parametrize("unset", [np.eye(4), np.diag([-1.0, -1, 1, 1])])
def test_an_affine_that_nobody_set_is_no_orientation(unset):
    mask = Volume(ball(MODEL).array, Grid(MODEL.shape, unset))
    examination = examine(MASK, file_of(mask), MODEL)
    assert finding(examination, "NO_ORIENTATION").level is Level.WARNING
    assert np.array_equal(examination.condition.volume.array, ball(MODEL).array)


@pytest.mark.parametrize(
    ("orientation", "words"),
    [("RAS", "the right, the front and the top"), ("LIA", "the left, the bottom and the front")],
)
def test_a_file_without_orientation_of_another_size_is_taken_as_it_comes(orientation, words):
    own = grid_in(orientation, (25, 26, 27), (2, 2, 2))
    examination = examine(MASK, file_of(ball(own, structure=3), has_orientation=False), MODEL)
    assert words in finding(examination, "NO_ORIENTATION").sentence
    assert examination.condition.volume.array.any()


def test_two_different_places_in_one_file_are_told(tmp_path):
    data = nifti_bytes(ball(MODEL).array, sform=MODEL.affine, qform=(0, 0, 0, 1, 2, 3), pixdim=MODEL.spacing)
    examination = examine(MASK, read_volume_file(write_bytes(tmp_path / "two.nii.gz", data)), MODEL)
    assert str(tmp_path / "two.nii.gz") in finding(examination, "TWO_PLACES").sentence
    assert np.array_equal(examination.condition.volume.array, ball(MODEL).array)


@pytest.mark.parametrize("spec", [MASK, LABELS, IMAGE])
def test_an_input_far_from_the_model_is_refused_with_the_distance(spec):
    far = grid_in("RAS", (20, 21, 22), (2, 2, 2), centre=(301.5, 2, 3))
    assert "300 mm" in refused(examine(spec, noise(far, np.uint8), MODEL, label=None), "NO_OVERLAP").sentence


def test_an_input_smaller_than_the_raster_of_the_overlap_check_is_still_seen():
    speck = grid_in("LAS", (3, 4, 2), (0.2, 0.2, 0.2), centre=STRUCTURES[1][0])
    examination = examine(MASK, Volume(np.ones(speck.shape, np.uint8), speck), MODEL)
    assert "NO_OVERLAP" not in codes(examination)
    assert "too thin" in refused(examination, "VANISHED").sentence


def test_far_coarser_voxels_are_warned_of():
    thick = grid_in("LAS", (40, 41, 12), (2, 2, 6))
    assert "6.0 mm" in finding(examine(MASK, ball(thick), MODEL), "COARSE").sentence
    assert "COARSE" not in codes(examine(MASK, ball(grid_in("LAS", (30, 31, 24), (3, 3, 4))), MODEL))


def test_an_image_of_a_part_of_the_head_is_warned_of_and_a_cut_out_segmentation_only_noted():
    part = grid_in("LAS", (20, 30, 20), (2, 1.5, 1.75), centre=(4, -9, 6))
    image = examine(IMAGE, ramp(part, dtype=np.float32), MODEL)
    assert finding(image, "SMALL_FIELD_OF_VIEW").level is Level.WARNING
    wider = grid_in("LAS", (37, 53, 25), (2, 1.5, 1.75))
    assert "61%" in finding(examine(IMAGE, ramp(wider, dtype=np.float32), MODEL), "SMALL_FIELD_OF_VIEW").sentence
    mask = examine(MASK, ball(part), MODEL)
    assert finding(mask, "SMALL_FIELD_OF_VIEW").level is Level.NOTE
    assert mask.condition is not None
