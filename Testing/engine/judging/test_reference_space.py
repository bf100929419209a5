"""Generated volumes lie in MNI space: the affine of the full-size BrainLDM, and the check that tells a right one."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from command_line import vcm
from phantoms import rotation
from vcm.conditions.condition import ClassSpec
from vcm.core.errors import VcmError
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.judging.reference_head import template_of
from vcm.judging.reference_space import REFERENCE_MM, TOLERANCE_DEGREES, TOLERANCE_MM, SpaceCheck, check_space
from vcm.packs.published_config import read_config
from vcm.packs.store import find_pack
from vcm.registration.scan import register_scan
from vcm.volumes.volume_files import read_volume

BESIDE = Path(__file__).resolve().parents[4] / "shared" / "data" / "real"
ICBM = Path(os.environ.get("VCM_REAL_SCANS", BESIDE)) / "icbm152_t1w.nii.gz"

# The centroid of the white matter of an image in BrainLDM's own voxels, 160×224×160, LAS.
WHITE_MATTER_VOXEL = (80.48, 100.48, 73.56)
PUBLISHED_OFFSET = (96.48149872, -141.47715759, -156.55375671)


def distance_of_white_matter(grid: Grid) -> float:
    return float(np.linalg.norm(grid.to_world(WHITE_MATTER_VOXEL) - np.asarray(REFERENCE_MM["white matter"])))


def test_the_full_size_pack_puts_white_matter_where_mni_space_has_it():
    # One centroid tells a place and no turn: BrainLDM's own images have not been measured.
    assert distance_of_white_matter(read_config({}).grid) < TOLERANCE_MM


def test_the_published_affine_would_put_it_far_outside():
    affine = np.diag([-1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = PUBLISHED_OFFSET
    assert distance_of_white_matter(Grid((160, 224, 160), affine)) > 90


def head(move: np.ndarray, leave_out: int = 0) -> tuple[Volume, tuple[ClassSpec, ...]]:
    grid = Grid((90, 90, 90), [[-2, 0, 0, 91], [0, 2, 0, -110], [0, 0, 2, -90], [0, 0, 0, 1]])
    labels = np.zeros(grid.shape, np.uint8)
    classes = tuple(ClassSpec(value, name) for value, name in enumerate(REFERENCE_MM, start=3))[leave_out:]
    for spec in classes:
        place = move[:3, :3] @ np.asarray(REFERENCE_MM[spec.name]) + move[:3, 3]
        i, j, k = np.round(grid.to_voxel(place)).astype(int)
        labels[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2] = spec.value
    return Volume(labels, grid), classes


def checked(move: np.ndarray, leave_out: int = 0) -> SpaceCheck:
    volume, classes = head(move, leave_out)
    return check_space([volume], classes)


def moved(degrees: float, axis: tuple[float, ...], shift: tuple[float, ...]) -> np.ndarray:
    """Turned about the middle of the structures, where their mean does not move, then shifted."""
    there, turn = np.eye(4), rotation(degrees, axis)
    there[:3, 3] = np.mean(list(REFERENCE_MM.values()), axis=0)
    move = there @ turn @ np.linalg.inv(there)
    move[:3, 3] += shift
    return move


@pytest.mark.parametrize("shift", [(0, 0, 0), (4, -10, 16), (-20, 2, 0)])
def test_a_shift_is_found_again_with_its_sign_and_axis(shift):
    check = checked(moved(0, (1, 0, 0), shift))
    assert np.abs(np.asarray(check.shift_mm) - shift).max() <= 1.0
    assert check.passed == (np.linalg.norm(shift) < TOLERANCE_MM)


@pytest.mark.parametrize("axis", [(1, 0, 0), (-1, 0, 0), (0.2, 1, -0.3)])
def test_a_turn_about_the_middle_is_seen_though_no_mean_moves(axis):
    check = checked(moved(35, axis, (0, 0, 0)))
    assert check.distance_mm < 1.5
    assert check.degrees == pytest.approx(35, abs=3) and not check.passed
    found, expected = (np.asarray(each) / np.linalg.norm(each) for each in (check.turn_axis, axis))
    assert np.dot(found, expected) > 0.98


def test_where_a_turn_cannot_be_told_the_space_is_not_confirmed():
    check = checked(np.eye(4), leave_out=3)
    assert check.degrees is None and not check.passed and check.distance_mm < 1


def test_an_image_without_any_known_structure_is_refused():
    volume, _ = head(np.eye(4))
    with pytest.raises(VcmError, match="white matter"):
        check_space([volume], (ClassSpec(1, "left ear"),))


def test_of_several_heads_one_that_lies_askew_or_lacks_a_structure_does_not_count():
    (first, classes), (askew, _), (third, _) = head(np.eye(4)), head(moved(60, (0, 1, 0), (30, 0, 0))), head(np.eye(4))
    third.array[third.array == classes[2].value] = 0
    check = check_space([first, askew, third], classes)
    assert check.passed and check.distance_mm < 3 and check.degrees < 5


@pytest.fixture(scope="module")
def embedded():
    """What the command says of the model that ships."""
    return vcm("packs", "check-space", "brainldm-mini", "--steps", "10", "--device", "cpu", "--json")


def test_the_command_says_how_the_embedded_model_lies(embedded):
    found = embedded.json
    assert set(found["structures"]) == set(REFERENCE_MM)
    assert embedded.code == (0 if found["passed"] else 1)
    assert found["passed"] == (found["distance_mm"] <= TOLERANCE_MM and found["degrees"] <= TOLERANCE_DEGREES)


@pytest.mark.skipif(not ICBM.exists(), reason="the ICBM 152 average is not on this machine")
def test_the_turn_of_the_embedded_model_is_that_of_the_icbm_average_laid_on_it(embedded):
    """Two measurements that have nothing in common: centroids of labels, and a registration of a real template."""
    laid = register_scan(read_volume(ICBM), template_of(find_pack("brainldm-mini")).reference)
    assert embedded.json["degrees"] == pytest.approx(laid.pose.degrees, abs=8)
