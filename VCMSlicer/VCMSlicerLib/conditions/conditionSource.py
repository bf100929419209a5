"""What a condition is drawn in: segments or a volume of the scene, and the file the worker gets of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from slicer.i18n import tr as _
from vcm.core.errors import Code, VcmError

from VCMSlicerLib.conditions.anatomy import classOf
from VCMSlicerLib.conditions.labelVolume import LabelReading, labelNames, readLabels
from VCMSlicerLib.models.packInfo import ConditionInfo
from VCMSlicerLib.scene.niftiFile import WorldImage, writeNifti
from VCMSlicerLib.scene.worldImages import segmentsImage, volumeImage


@dataclass(frozen=True)
class ConditionChoice:
    """What a user chose for one condition: segments, or a volume.

    Where segments overlap, the one that stands first in `segmentIds` wins. `labels` are the class values of the
    segments of a label map, in the same order; without them a segment is known by its terminology, else its name.
    `volumeLabels` are the values that together make a mask in a label map volume; without them, its only one.
    """

    name: str
    enabled: bool = True
    kind: str = "mask"
    segmentationNode: Any = None
    segmentIds: tuple[str, ...] = ()
    volumeNode: Any = None
    strength: float = 1.0
    labels: tuple[int, ...] = ()
    volumeLabels: tuple[int, ...] = ()

    @property
    def node(self) -> Any:
        """The node that its voxels come from, or None."""
        return self.segmentationNode if self.segmentationNode is not None else self.volumeNode


def exportCondition(
    choice: ConditionChoice, condition: ConditionInfo, folder: str | Path, image: WorldImage | None = None
) -> Path:
    """Write what was chosen as a file for the worker, on its own voxels and in its place in the world; `image` are
    these voxels, where they are at hand.

    The engine brings it to the model's grid, and counts by volume there; resampling here as well would blur twice.
    """
    image = image or conditionImage(choice, condition)
    image = image if condition.kind == "image" else image.padded()
    return writeNifti(Path(folder) / f"{condition.name}.nii", image, f"{condition.name}, for VCMSlicer, research only")


def conditionImage(choice: ConditionChoice, condition: ConditionInfo) -> WorldImage:
    """The voxels of a choice in the world: 0 and 1 for a mask, class values for a label map, an image's intensities.

    A VcmError says why there are none; its `details` hold `empty` where only nothing is drawn yet.
    """
    if choice.segmentationNode is not None and condition.isDrawn:
        return _segmentsOf(choice, condition)
    if choice.volumeNode is not None:
        return _volumeOf(choice, condition)
    wanted = _("Choose a segment.") if condition.isDrawn else _("Choose a volume.")
    raise VcmError(Code.CONDITION, _("Nothing is chosen."), wanted)


def _segmentsOf(choice: ConditionChoice, condition: ConditionInfo) -> WorldImage:
    segmentation = choice.segmentationNode.GetSegmentation()
    if not choice.segmentIds and condition.kind == "labels":
        expected = ", ".join(entry.name for entry in condition.classes)
        words = _("No segment of {name} is one of the model's structures.").format(
            name=choice.segmentationNode.GetName()
        )
        raise VcmError(Code.CONDITION, words, _("Name the segments as these: {expected}.").format(expected=expected))
    if not choice.segmentIds:
        raise VcmError(Code.CONDITION, _("No segment is chosen."), _("Choose one, or add one in the Segment Editor."))
    for id in choice.segmentIds:
        if segmentation.GetSegment(id) is None:
            raise VcmError(Code.CONDITION, _("A chosen segment is gone."), _("Choose another."))
    image = segmentsImage(choice.segmentationNode, _labelled(choice, condition))
    if image is None:
        names = ", ".join(segmentation.GetSegment(id).GetName() for id in choice.segmentIds)
        words = _("{names}: nothing is drawn yet.").format(names=names)
        raise VcmError(Code.CONDITION, words, _("Paint something."), empty=True)
    return image


def _labelled(choice: ConditionChoice, condition: ConditionInfo) -> list[tuple[str, int]]:
    """The segments with the label each gets."""
    if condition.kind == "mask":
        return [(id, 1) for id in choice.segmentIds]
    if choice.labels:
        return list(zip(choice.segmentIds, choice.labels, strict=True))
    segmentation = choice.segmentationNode.GetSegmentation()
    classes = [(id, classOf(segmentation.GetSegment(id), condition)) for id in choice.segmentIds]
    unknown = [segmentation.GetSegment(id).GetName() for id, entry in classes if entry is None]
    if unknown:
        expected = ", ".join(entry.name for entry in condition.classes)
        words = _("It is not known which structure {names} is.").format(names=", ".join(unknown))
        remedy = _("Give each segment the name or terminology of one of these: {expected}.").format(expected=expected)
        raise VcmError(Code.CONDITION, words, remedy)
    return [(id, entry.value) for id, entry in classes if entry is not None]


def _volumeOf(choice: ConditionChoice, condition: ConditionInfo) -> WorldImage:
    node = choice.volumeNode
    image = volumeImage(node)
    if image is None:
        raise VcmError(Code.CONDITION, _("{name} has no voxels.").format(name=node.GetName()), _("Choose another."))
    if not image.array.any():
        raise VcmError(Code.CONDITION, _("{name} is empty.").format(name=node.GetName()), _("Choose another."))
    if not condition.isDrawn:
        return image
    if not _isWhole(image.array):
        words = _("{name} is an image, not a segmentation.").format(name=node.GetName())
        raise VcmError(Code.CONDITION, words, _("Choose a segment, or segment the image first."))
    image = image.cropped()
    chosen = (
        _maskOf(choice, image) if condition.kind == "mask" else readingOf(choice, condition, image).applied(image.array)
    )
    return WorldImage(chosen, image.ijkToRas)


def readingOf(choice: ConditionChoice, condition: ConditionInfo, image: WorldImage | None = None) -> LabelReading:
    """Which class each value of a label map volume stands for; a VcmError where none stands for any."""
    node = choice.volumeNode
    image = image or volumeImage(node)
    assert image is not None
    reading = readLabels(condition, image.array, labelNames(node))
    if not reading.table:
        known = ", ".join(f"{entry.value} {entry.name}" for entry in condition.classes)
        words = _("{name} holds no value that the model knows.").format(name=node.GetName())
        raise VcmError(Code.CONDITION, words, _("It knows these: {known}.").format(known=known))
    return reading


def _maskOf(choice: ConditionChoice, image: WorldImage) -> np.ndarray:
    """0 and 1: the chosen values, or the only one there is."""
    if choice.volumeLabels:
        found = np.isin(image.array, choice.volumeLabels)
        if not found.any():
            values = ", ".join(map(str, choice.volumeLabels))
            words = _("{name} no longer holds the label {values}.").format(
                name=choice.volumeNode.GetName(), values=values
            )
            raise VcmError(Code.CONDITION, words, _("Choose another."))
        return found.astype(np.uint8)
    first = image.array[image.array != 0][0]
    if (image.array[image.array != 0] != first).any():
        words = _("{name} holds several structures.").format(name=choice.volumeNode.GetName())
        raise VcmError(Code.CONDITION, words, _("Choose which of its labels is meant."))
    return (image.array != 0).astype(np.uint8)


def _isWhole(array: np.ndarray) -> bool:
    return array.dtype.kind in "iub" or np.array_equal(array, array.round())
