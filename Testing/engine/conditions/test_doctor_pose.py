"""The input doctor notices how an image of a head is turned, not only where its middle is."""

import numpy as np
import pytest
from phantoms import grid_in, noise
from test_registration import LABELS, REFERENCE, moved_by, scan
from vcm.conditions.condition import ConditionSpec, Kind
from vcm.conditions.doctor import examine
from vcm.core.findings import Level
from vcm.core.volume import Volume

SKULL = ConditionSpec("skull", Kind.IMAGE)


def examined(image):
    return examine(SKULL, image, LABELS.grid, source="given.nii.gz", reference=REFERENCE)


def pose_findings(image):
    return [finding for finding in examined(image).findings if finding.code.startswith("POSE")]


def turned(degrees, shift=(0, 0, 0)):
    """A head turned about the middle of the brain, where the brain's centroid does not move."""
    move, there, back = moved_by(degrees, (0, 0, 0), (1, 0.1, 0)), np.eye(4), np.eye(4)
    there[:3, 3], back[:3, 3] = REFERENCE.middle + shift, -REFERENCE.middle
    return there @ move @ back


def skull_of(image):
    return Volume(np.where(LABELS.array > 0, 0, image.array), image.grid)


@pytest.mark.parametrize("make", [lambda head: head, skull_of], ids=["a head", "a skull"])
def test_a_head_that_is_pitched_about_its_middle_is_noticed(make):
    (found,) = pose_findings(make(scan(turned(25))))
    assert (found.level, found.code, found.subject) == (Level.WARNING, "POSE", "skull")
    degrees = int(found.sentence.split("turned by ")[1].split("°")[0])
    assert degrees == pytest.approx(25, abs=4)
    assert "given.nii.gz" in found.sentence and "egister" in found.remedy


def test_a_shift_is_told_in_millimetres():
    (found,) = pose_findings(scan(turned(0, (18, 0, 12))))
    assert int(found.sentence.split("moved by ")[1].split(" mm")[0]) == pytest.approx(22, abs=3)


@pytest.mark.parametrize("make", [lambda head: head, skull_of], ids=["a head", "a skull"])
def test_nothing_is_said_of_a_head_that_lies_right(make):
    assert pose_findings(make(scan(turned(3, (2, -3, 1))))) == []


def test_of_what_is_no_head_the_pose_is_said_to_be_unknown():
    (found,) = pose_findings(noise(grid_in("LAS", (80, 112, 80), (2, 2, 2), REFERENCE.image.grid.centre), np.uint8))
    assert (found.level, found.code) == (Level.NOTE, "POSE_UNKNOWN")


def test_without_a_reference_nothing_is_measured():
    assert not [f for f in examine(SKULL, scan(turned(25)), LABELS.grid).findings if f.code.startswith("POSE")]
