"""Registration of real T1w scans to the model that ships: known transforms undone, and masks that find their way back.

The scans are no part of the repository: they lie beside it, or where VCM_REAL_SCANS says.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from phantoms import rotation
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.judging.reference_head import template_of
from vcm.packs.store import default_backbone, find_pack
from vcm.registration.pose import Pose
from vcm.registration.scan import Verdict, register_scan
from vcm.volumes.resampling import resample_image, resample_labels
from vcm.volumes.volume_files import read_volume

BESIDE = Path(__file__).resolve().parents[4] / "shared" / "data" / "real"
SCANS = Path(os.environ.get("VCM_REAL_SCANS", BESIDE))
NAMES = ("colin27_t1w", "icbm152_t1w")
pytestmark = pytest.mark.skipif(
    not (SCANS / f"{NAMES[0]}.nii.gz").exists(), reason="the real scans are not on this machine"
)


@pytest.fixture(scope="module")
def template():
    return template_of(find_pack(default_backbone()))


@pytest.fixture(scope="module", params=NAMES)
def registered(request, template):
    """A scan in MNI space and where it lies relative to the model."""
    scan = read_volume(SCANS / f"{request.param}.nii.gz")
    return scan, register_scan(scan, template.reference)


def moved_by(degrees, axis, shift):
    move = rotation(degrees, axis)
    move[:3, 3] = shift
    return move


TILTED = moved_by(30, (1, 2, -0.5), (24, -26, 19))


@pytest.fixture(scope="module")
def tilted(registered, template):
    """The same scan tilted by 30° about an oblique axis and shifted by 40 mm."""
    scan, _ = registered
    moved = Volume(scan.array, Grid(scan.grid.shape, TILTED @ scan.grid.affine))
    return moved, register_scan(moved, template.reference)


def test_a_known_transform_is_undone(registered, tilted, template):
    _, own = registered
    _, found = tilted
    error = Pose(found.pose.matrix @ TILTED @ own.pose.inverse.matrix)
    assert error.degrees < 2 and error.shift_of(template.reference.middle) < 2
    corners = np.argwhere(template.brain)
    corners = template.image.grid.to_world(np.stack([corners.min(axis=0), corners.max(axis=0)]))
    assert np.linalg.norm(error.moved(corners) - corners, axis=1).max() < 4
    assert own.verdict is found.verdict is Verdict.GOOD, (own.words, found.words)


def test_the_ventricles_of_the_model_are_dark_on_the_scan_and_its_white_matter_bright(registered, template):
    """Where the model has fluid the scan has it too: a pose that is wrong by a few degrees fails."""
    scan, found = registered
    seen = resample_image(found.pose.applied(scan), template.image.grid).array
    ventricles, white = (np.median(seen[template.labels.array == value]) for value in (4, 1))
    assert ventricles < 0.75 * white


def test_a_mask_drawn_on_the_tilted_scan_is_given_as_if_it_were_drawn_on_the_scan_in_its_place(
    registered, tilted, template
):
    """The model gets one brain from both; and what it was given, brought back, is what was drawn on the tilted scan."""
    (scan, own), (moved, found) = registered, tilted
    grid = template.image.grid
    drawn = resample_labels(
        Volume(template.brain.astype(np.uint8), own.pose.inverse.applied(template.image).grid), scan.grid
    )
    one = resample_labels(own.pose.applied(drawn), grid).array > 0
    other = resample_labels(found.pose.applied(Volume(drawn.array, moved.grid)), grid).array > 0
    assert dice(one, other) > 0.96
    given = Volume(other.astype(np.uint8), found.pose.inverse.applied(template.image).grid)
    assert dice(resample_labels(given, moved.grid).array > 0, drawn.array > 0) > 0.96


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())
