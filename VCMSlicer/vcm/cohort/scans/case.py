"""One real scan with its segmentation becomes a case on the backbone's Grid, or is refused with a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vcm.anatomy.structures import joint_ml
from vcm.cohort.scans.attributes import VOLUMES, scan_attributes
from vcm.cohort.scans.checks import check_brain, check_pose, check_sides
from vcm.cohort.scans.image import normalised, skull_image
from vcm.cohort.scans.label_reading import LabelReading
from vcm.cohort.scans.pairs import Scan
from vcm.cohort.scans.registration import register, shows_a_head
from vcm.conditions.attributes import AttributeSpec
from vcm.conditions.condition import ClassSpec, ConditionSpec, Kind
from vcm.conditions.doctor.labels import whole_labels
from vcm.conditions.doctor.notebook import Notebook
from vcm.conditions.doctor.place import placed
from vcm.conditions.doctor.structures import drawn_volumes, examine_structures
from vcm.core.errors import Code, VcmError
from vcm.core.findings import Finding
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.judging.reference_head import Template
from vcm.registration.pose import Pose
from vcm.volumes.volume_files import read_volume_file

OF_ONE_FILE = {Code.FILE_MISSING, Code.FILE_UNREADABLE, Code.GEOMETRY, Code.CONDITION, Code.NO_PERMISSION}
"""What can be wrong with one scan; everything else ends the whole run."""


@dataclass(frozen=True, eq=False)
class Intake:
    """What all scans of one run have in common: where they go and how they are read.

    `whole_scans` says that intensities are scaled as by `Backbone.scales_whole_scans`.
    """

    grid: Grid
    contrast: str
    classes: tuple[ClassSpec, ...]
    attributes: tuple[AttributeSpec, ...]
    template: Template | None
    registration: str
    reading: LabelReading
    whole_scans: bool = False


@dataclass(frozen=True, eq=False)
class Intaken:
    """What became of one scan; `parts` is empty where it was refused, which an error among the findings says."""

    scan: Scan
    findings: tuple[Finding, ...]
    parts: Mapping[str, Volume]
    attributes: Mapping[str, float]
    ventricles_ml: float = 0.0
    brain_ml: float = 0.0
    overlap: float | None = None
    pose: Pose | None = None


class _RefusedError(Exception):
    """An error stands among the findings."""


def take_in(scan: Scan, intake: Intake) -> Intaken:
    """Read, register, check and resample one scan; what was found stands in the findings either way."""
    image_notes = Notebook("image", scan.image_name)
    label_notes = Notebook("segmentation", scan.segmentation_name)
    try:
        return _take_in(scan, intake, image_notes, label_notes)
    except _RefusedError:
        pass
    except VcmError as error:
        if error.code not in OF_ONE_FILE:
            raise
        image_notes.error(error.code.value, scan.in_words(error.sentence), scan.in_words(error.remedy))
    return Intaken(scan, (*image_notes.findings, *label_notes.findings), {}, {})


def _take_in(scan: Scan, intake: Intake, image_notes: Notebook, label_notes: Notebook) -> Intaken:
    def go_on() -> None:
        if image_notes.failed or label_notes.failed:
            raise _RefusedError

    file, label_file = read_volume_file(scan.image), read_volume_file(scan.segmentation)
    image = placed(file, intake.grid, image_notes)
    given = placed(label_file, image.grid, label_notes)
    numbers = whole_labels(given.array, label_notes)
    go_on()
    assert numbers is not None
    labels = Volume(intake.reading.translate(numbers, label_file.segment_names, label_notes), given.grid)
    go_on()
    check_brain(labels, image, intake.contrast, label_notes, image_notes)
    go_on()
    whole = shows_a_head(image, labels)
    pose = (
        register(image, labels, intake.template, intake.registration, whole=whole)
        if intake.template
        else Pose.nowhere()
    )
    placed_image, placed_labels = pose.applied(image), pose.applied(labels)
    check_sides(Volume(numbers, placed_labels.grid), intake.reading, label_notes)
    go_on()
    segmentation = ConditionSpec("segmentation", Kind.LABELS, intake.classes)
    drawn = drawn_volumes(segmentation, placed_labels)
    on_grid = examine_structures(segmentation, placed_labels, drawn, intake.grid, label_notes)
    seen = normalised(placed_image, intake.grid, image_notes, intake.whole_scans)
    go_on()
    assert on_grid is not None and seen is not None
    overlap = check_pose(pose, on_grid, intake.template, image_notes) if intake.template else None
    go_on()
    counts = np.bincount(placed_labels.array.ravel(), minlength=10)
    ml = {value: float(count) * placed_labels.grid.voxel_ml for value, count in enumerate(counts)}
    ventricles, brain = (joint_ml(structures, ml) for structures in VOLUMES.values())
    attributes = scan_attributes(intake.attributes, scan.given, ml, image_notes)
    parts = {"image": seen, "labels": Volume(on_grid.array.astype(np.uint8), intake.grid)}
    if whole:
        parts["skull"] = skull_image(seen, parts["labels"])
    else:
        image_notes.warning(
            "BRAIN_ONLY",
            f"{image_notes.who} shows no head around the brain, so the case has no skull image.",
            "Give the whole head where a control is to learn from the skull.",
        )
    findings = (*image_notes.findings, *label_notes.findings)
    return Intaken(scan, findings, parts, attributes, ventricles, brain, overlap, pose)
