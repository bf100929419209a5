"""Whether what was chosen for a condition can be used, in words for its row, and what the model will not see of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from slicer.i18n import tr as _
from vcm.core.errors import VcmError
from vcm.core.grid import Grid
from vcm.volumes.field_of_view import MOST_LOST, lost_voxels
from vcm.volumes.label_values import label_counts

from VCMSlicerLib.conditions.anatomy import segmentIds
from VCMSlicerLib.conditions.conditionSource import ConditionChoice, conditionImage, readingOf
from VCMSlicerLib.models.packInfo import ConditionInfo
from VCMSlicerLib.scene.niftiFile import WorldImage
from VCMSlicerLib.scene.worldImages import isEmpty

NOTHING_LOST = 0
# Up to this share outside is reported, and nothing to worry about.
NEXT_TO_NOTHING = 0.001
MOST_NAMED = 6


class Check(NamedTuple):
    """`words` say whether the choice can be used, and if not, why; `remarks` are what should be known of a usable one.

    `empty` tells that only nothing is drawn yet. `millilitres` hold the volume of each class, by its value.
    """

    usable: bool
    words: str
    lostVoxels: int = NOTHING_LOST
    empty: bool = False
    remarks: tuple[str, ...] = ()
    millilitres: Mapping[int, float] = {}


def check(
    choice: ConditionChoice,
    condition: ConditionInfo,
    grid: Grid,
    image: WorldImage | None = None,
    *,
    completes: bool = False,
) -> Check:
    """Look at a choice without writing anything; `image` are its voxels, where they are at hand. Where a layout
    `completes` the head, what is not drawn is nothing to look into."""
    try:
        image = image or conditionImage(choice, condition)
    except VcmError as error:
        return Check(False, str(error), empty=bool(error.details.get("empty")))
    lost, drawn = lost_voxels(image.volume, grid), int(np.count_nonzero(image.array))
    if drawn and lost == drawn:
        words = _("It lies entirely outside the model's field of view, about {distance:.0f} mm from its centre.")
        return Check(False, words.format(distance=np.linalg.norm(image.volume.grid.centre - grid.centre)), lost)
    outside = _("{lost} of {drawn} voxels lie outside the model's field of view and will be lost.")
    lostWords = outside.format(lost=f"{lost:,}", drawn=f"{drawn:,}") if lost else ""
    if condition.isDrawn and lost > MOST_LOST * drawn:
        return Check(False, " ".join([lostWords, _("Register it to the model's space.")]), lost)
    if condition.kind == "image":
        # Of a head the neck always lies outside; that is nothing to look into.
        return Check(True, " ".join(filter(None, [_("Ready."), lostWords])), lost)
    millilitres = _millilitres(condition, image)
    missing, leftOut = [], []
    if condition.kind == "labels":
        missing, leftOut = _missing(condition, millilitres, completes), _leftOut(choice, condition)
    words = " ".join(filter(None, [_size(condition, millilitres), lostWords, *missing, *leftOut]))
    remarks = leftOut if completes else [*missing, *leftOut]
    if lost > NEXT_TO_NOTHING * drawn:
        remarks.append(lostWords)
    return Check(True, words, lost, remarks=tuple(remarks), millilitres=millilitres)


def listed(names: list[str]) -> str:
    """Names for a sentence, the first few of many.

    >>> listed(["amygdala"]), listed(list("abcdefgh"))
    ('amygdala', 'a, b, c, d, e, f and 2 more')
    """
    if len(names) <= MOST_NAMED:
        return ", ".join(names)
    shown = ", ".join(names[:MOST_NAMED])
    return _("{names} and {count} more").format(names=shown, count=len(names) - MOST_NAMED)


def _millilitres(condition: ConditionInfo, image: WorldImage) -> dict[int, float]:
    """Of a mask the whole under its class's value; of a label map each class."""
    if condition.kind == "mask":
        value = condition.classes[0].value if condition.classes else 1
        return {value: np.count_nonzero(image.array) * image.voxelMl}
    return {value: count * image.voxelMl for value, count in label_counts(image.array).items()}


def _size(condition: ConditionInfo, millilitres: Mapping[int, float]) -> str:
    total = sum(millilitres.values())
    if condition.kind == "mask":
        return _("Ready: {ml:.1f} ml.").format(ml=total)
    words = _("Ready: {found} of {count} structures, {ml:,.0f} ml.")
    return words.format(found=len(millilitres), count=len(condition.classes), ml=total)


def _missing(condition: ConditionInfo, millilitres: Mapping[int, float], completes: bool) -> list[str]:
    names = [entry.name for entry in condition.classes if not millilitres.get(entry.value)]
    absent = _("Not drawn, so the model takes it as absent: {names}.")
    words = _("Not drawn, so it will be completed: {names}.") if completes else absent
    return [words.format(names=listed(names))] if names else []


def _leftOut(choice: ConditionChoice, condition: ConditionInfo) -> list[str]:
    """What is in the source and no structure of the model."""
    if choice.segmentationNode is None:
        values = [str(value) for value in readingOf(choice, condition).unknown]
        words = _("Values that the model does not know count as background: {names}.")
        return [words.format(names=listed(values))] if values else []
    node, segmentation = choice.segmentationNode, choice.segmentationNode.GetSegmentation()
    others = [id for id in segmentIds(segmentation) if id not in choice.segmentIds and not isEmpty(node, id)]
    names = [segmentation.GetSegment(id).GetName() for id in others]
    words = _("Left out, as the model has no such structure: {names}.")
    return [words.format(names=listed(names))] if names else []
