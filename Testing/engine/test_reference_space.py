"""Generated volumes lie in MNI space: the affine of the full-size BrainLDM, and the check that tells a right one."""

from __future__ import annotations

import json

import numpy as np
import pytest
from vcm.cli import main
from vcm.conditions import ClassSpec
from vcm.errors import VcmError
from vcm.grid import Grid
from vcm.judging.reference_space import REFERENCE_MM, TOLERANCE_MM, check_space
from vcm.packs.published_config import read_config
from vcm.volume import Volume

# The centroid of the white matter of an image in BrainLDM's own voxels, 160×224×160, LAS.
WHITE_MATTER_VOXEL = (80.48, 100.48, 73.56)
PUBLISHED_OFFSET = (96.48149872, -141.47715759, -156.55375671)


def distance_of_white_matter(grid: Grid) -> float:
    return float(np.linalg.norm(grid.to_world(WHITE_MATTER_VOXEL) - np.asarray(REFERENCE_MM["white matter"])))


def test_the_full_size_pack_puts_white_matter_where_mni_space_has_it():
    assert distance_of_white_matter(read_config({}).grid) < 3.0


def test_the_published_affine_would_put_it_far_outside():
    affine = np.diag([-1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = PUBLISHED_OFFSET
    assert distance_of_white_matter(Grid((160, 224, 160), affine)) > 90


def head(shift: np.ndarray) -> tuple[Volume, tuple[ClassSpec, ...]]:
    grid = Grid((90, 60, 70), [[-2, 0, 0, 91], [0, 2, 0, -72], [0, 0, 2, -60], [0, 0, 0, 1]])
    labels = np.zeros(grid.shape, np.uint8)
    classes = tuple(ClassSpec(value, name) for value, name in enumerate(REFERENCE_MM, start=3))
    for spec in classes:
        i, j, k = np.round(grid.to_voxel(np.asarray(REFERENCE_MM[spec.name]) + shift)).astype(int)
        labels[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2] = spec.value
    return Volume(labels, grid), classes


@pytest.mark.parametrize("shift", [(0, 0, 0), (4, -10, 16), (-20, 2, 0)])
def test_a_shift_is_found_again_with_its_sign_and_axis(shift):
    check = check_space(*head(np.asarray(shift)))
    assert np.abs(np.asarray(check.shift_mm) - shift).max() <= 1.0
    assert check.passed == (np.linalg.norm(shift) < TOLERANCE_MM)


def test_an_image_without_any_known_structure_is_refused():
    volume, _ = head(np.zeros(3))
    with pytest.raises(VcmError, match="white matter"):
        check_space(volume, (ClassSpec(1, "left ear"),))


def test_the_embedded_model_draws_in_mni_space(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["packs", "check-space", "brainldm-mini", "--steps", "10", "--device", "cpu", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0 and found["passed"] is True
    assert set(found["structures"]) == set(REFERENCE_MM)
