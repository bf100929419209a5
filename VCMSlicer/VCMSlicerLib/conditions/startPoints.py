"""Where painting can start: the demo case, the template, a blank on the model's grid, a segmented scan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _
from vcm.anatomy.structures import SEGMENTED, is_named, plain_name
from vcm.core.grid import Grid
from vcm.core.plain_text import capital
from vcm.volumes.brightness import brightness

from VCMSlicerLib.conditions.anatomy import isStructure, segmentIds, setStructure
from VCMSlicerLib.models.packInfo import ConditionInfo
from VCMSlicerLib.scene.niftiFile import readNifti
from VCMSlicerLib.scene.scene import addLabelVolume, addVolume, cloneVolume, removeNode
from VCMSlicerLib.scene.worldImages import liesOn

RESOURCES = Path(__file__).resolve().parents[2] / "Resources"
DEMO_MASK = RESOURCES / "DemoCase" / "ventricles.nii.gz"
TEMPLATE_HEAD = RESOURCES / "Template" / "head.nii.gz"
TEMPLATE_LABELS = RESOURCES / "Template" / "labels.nii.gz"
VENTRICLES, AROUND_VENTRICLES = 4, 1
TEMPLATE_STRUCTURES = {value: capital(name) for value, (name, _numbers) in SEGMENTED.items()} | {
    VENTRICLES: "Ventricles"
}
COLORS = {
    "white matter": (0.93, 0.90, 0.82),
    "grey matter": (0.70, 0.62, 0.58),
    "deep grey matter": (0.55, 0.47, 0.66),
    "ventricles": (0.25, 0.70, 0.66),
    "lateral ventricles": (0.25, 0.70, 0.66),
    "hippocampus": (0.90, 0.64, 0.24),
    "amygdala": (0.85, 0.45, 0.35),
    "extra ventricular csf": (0.40, 0.60, 0.85),
    "brain stem": (0.60, 0.75, 0.45),
    "third and fourth ventricle": (0.20, 0.50, 0.75),
    "skull": (0.95, 0.85, 0.55),
    "brain": (0.95, 0.75, 0.35),
}
DEFAULT_COLOR = (0.90, 0.45, 0.40)
FILL_OPACITY, SEVERAL = 0.2, 3
TYPICAL_HEAD = "VCMSlicer.TypicalHead"
LARGEST_IN_UNITS = 1.05


@dataclass(frozen=True)
class StartPoint:
    """What was put into the scene: a segmentation to paint in, the volume under it, and images for image conditions."""

    segmentation: Any
    volume: Any
    images: Mapping[str, Any] = field(default_factory=dict)


def demoCase(conditions: Sequence[ConditionInfo] = (), whole: bool = False) -> StartPoint:
    """Enlarged ventricles over a typical head: a mask that is worth a first Generate.

    With `whole`, and for a label map, which would be nothing without the rest, all other structures of `conditions`
    come along from the typical head.
    """
    volume = _loadHead()
    segmentation = newSegmentation(_("Demo case"), volume)
    labels = _labelArray(TEMPLATE_LABELS)
    labels[labels == VENTRICLES] = AROUND_VENTRICLES
    labels[_labelArray(DEMO_MASK) > 0] = VENTRICLES
    whole = whole or any(condition.kind == "labels" for condition in conditions)
    names = TEMPLATE_STRUCTURES if whole else {VENTRICLES: TEMPLATE_STRUCTURES[VENTRICLES]}
    _draw(segmentation, labels, names, conditions if whole else (), volume)
    return StartPoint(segmentation, volume, _skulls(conditions, volume, labels > 0) if whole else {})


def template(conditions: Sequence[ConditionInfo] = ()) -> StartPoint:
    """A typical head with the structures of these conditions, to be painted larger or smaller.

    None given means all structures that this head has.
    """
    volume = _loadHead()
    segmentation = newSegmentation(_("Template"), volume)
    labels = _labelArray(TEMPLATE_LABELS)
    _draw(segmentation, labels, TEMPLATE_STRUCTURES, conditions, volume)
    return StartPoint(segmentation, volume, _skulls(conditions, volume, labels > 0))


def blank(grid: Grid, structures: Iterable[str]) -> StartPoint:
    """An empty segment for each structure on the model's grid, over an empty volume of the same grid."""
    name = slicer.mrmlScene.GenerateUniqueName(_("Model grid"))
    volume = slicer.util.addVolumeFromArray(np.zeros(grid.shape[::-1], np.uint8), grid.affine, name)
    volume.CreateDefaultDisplayNodes()
    segmentation = newSegmentation(_("Blank"), volume)
    for name in structures:
        addSegment(segmentation, name)
    return StartPoint(segmentation, volume)


def fromSegmentedScan(
    volume: Any, labelsPath: str | Path, structures: Iterable[Any], conditions: Sequence[ConditionInfo] = ()
) -> StartPoint:
    """The label map that the worker made of a loaded scan, as segments over it for these conditions, or all of it.

    `structures` are the `vcm.protocol.Structure`s of the answer.
    """
    segmentation = newSegmentation(_("{name}, segmented").format(name=volume.GetName()), volume)
    parent = volume.GetParentTransformNode()
    segmentation.SetAndObserveTransformNodeID(parent.GetID() if parent is not None else None)
    names = {entry.value: entry.name for entry in structures}
    image = readNifti(labelsPath)
    if liesOn(image, volume):
        _draw(segmentation, image.array, names, conditions, volume)
        return StartPoint(segmentation, volume, _skulls(conditions, volume, image.array > 0))
    labels = addLabelVolume(image, _("Structures"))
    try:
        array = slicer.util.arrayFromVolume(labels)
        _draw(segmentation, array, names, conditions, labels)
        wantsSkull = any(condition.isSkull for condition in conditions)
        images = _skulls(conditions, volume, _onVolume(array > 0, labels, volume)) if wantsSkull else {}
    finally:
        removeNode(labels)
    return StartPoint(segmentation, volume, images)


def skullImage(scan: Any, brain: np.ndarray) -> Any:
    """The scan in 0–1 with the brain taken out: what an image condition of the skull wants.

    `brain` is true where the brain and the fluid around it are, as `array[k, j, i]` on the image's own voxels. The
    whole scan sets the scale, as it did for the models' heads: without the brain, fat would, and all be too bright.
    """
    if not brain.any():
        raise ValueError(_("The brain mask is empty within {name}.").format(name=scan.GetName()))
    image = slicer.util.arrayFromVolume(scan)
    name = slicer.mrmlScene.GenerateUniqueName(_("{name}, skull only").format(name=scan.GetName()))
    skull = cloneVolume(scan, name)
    slicer.util.updateVolumeFromArray(skull, np.where(brain, 0, _inUnits(image)).astype(np.float32))
    display = skull.GetScalarVolumeDisplayNode()
    if display is not None:  # the scan's window is of the scan's unit
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(0, 1)
    return skull


def _inUnits(image: np.ndarray) -> np.ndarray:
    """A scan in 0–1, its 99.5th percentile 1; one that is in 0–1, but for what interpolation overshoots, is kept."""
    if image.max() <= LARGEST_IN_UNITS:
        return image.clip(0, 1)
    positive = image.astype(np.float32).clip(min=0)
    bright = brightness(positive) or float(positive.max())
    return (positive / bright).clip(0, 1) if bright > 0 else positive


def hasVentricles(conditions: Iterable[ConditionInfo]) -> bool:
    """Whether the demo case, which is ventricles, has something to say to these conditions."""
    classes = (entry for condition in conditions if condition.isDrawn for entry in condition.classes)
    return any(is_named(TEMPLATE_STRUCTURES[VENTRICLES], entry.name) for entry in classes)


def ventriclesIn(segmentation: Any) -> str:
    """The segment that most users paint in first; empty where there is none."""
    drawn, name = segmentation.GetSegmentation(), TEMPLATE_STRUCTURES[VENTRICLES]
    return next((id for id in segmentIds(drawn) if isStructure(drawn.GetSegment(id), name)), "")


def newSegmentation(name: str, volume: Any) -> Any:
    """An empty segmentation that has the volume's grid for its own."""
    unique = slicer.mrmlScene.GenerateUniqueName(name)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", unique)
    segmentation.CreateDefaultDisplayNodes()
    # Light enough to see the image under it, the one painted on and the one that is made.
    segmentation.GetDisplayNode().SetOpacity2DFill(FILL_OPACITY)
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    return segmentation


def addSegment(segmentation: Any, name: str) -> str:
    """A segment with the structure's name, colour and terminology; returns its id."""
    color = COLORS.get(plain_name(name), DEFAULT_COLOR)
    segmentId = segmentation.GetSegmentation().AddEmptySegment("", capital(name), color)
    setStructure(segmentation.GetSegmentation().GetSegment(segmentId), name)
    return segmentId


def _loadHead() -> Any:
    """The typical head; the one that a start point before has brought, where it still lies where it was.

    It is no file of the user's: it is read here and not by Slicer, which would list it among those loaded recently, and
    whose storage node would point into the extension's folder.
    """
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        if node.GetAttribute(TYPICAL_HEAD) and node.GetParentTransformNode() is None:
            return node
    attributes = {"VCMSlicer.Synthetic": "true", TYPICAL_HEAD: "true"}
    volume = addVolume(readNifti(TEMPLATE_HEAD), _("Typical head (synthetic)"), attributes)
    volume.GetDisplayNode().SetWindowLevelMinMax(0, 255)
    return volume


def _labelArray(path: Path) -> np.ndarray:
    """The values of a label map that comes with the program, as `array[k, j, i]` on the typical head's voxels."""
    return np.array(readNifti(path).array)


def _draw(
    segmentation: Any, labels: np.ndarray, names: Mapping[int, str], conditions: Sequence[ConditionInfo], grid: Any
) -> None:
    """A segment for each structure that the conditions take, out of a label map whose values have these names.

    Where a larger structure is painted over a smaller one, the smaller stands higher in the list and wins.
    """
    masks = [(name, np.isin(labels, values), isOutline) for name, values, isOutline in wanted(conditions, names)]
    for name, mask, isOutline in sorted(masks, key=lambda entry: int(entry[1].sum())):
        if mask.any():
            segmentId = addSegment(segmentation, name)
            slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), segmentation, segmentId, grid)
            # What encloses others would hide them and the image.
            segmentation.GetDisplayNode().SetSegmentVisibility2DFill(segmentId, not isOutline)
    # Many together would cover the whole image, the one painted on and the one that is made.
    segmentation.GetDisplayNode().SetVisibility2DFill(len(masks) < SEVERAL)


def wanted(conditions: Sequence[ConditionInfo], names: Mapping[int, str]) -> list[tuple[str, tuple[int, ...], bool]]:
    """The structures that conditions take: name, the values of a label map that make it, whether it encloses others.

    >>> from vcm.conditions.condition import ClassSpec, Kind
    >>> classes, names = (ClassSpec(1, "brain", (1, 2)),), {1: "white matter", 2: "lateral ventricles"}
    >>> brain = ConditionInfo("brain", Kind.MASK, classes, labelNames=names)
    >>> wanted([brain], {1: "White matter", 4: "Ventricles", 7: "CSF"})
    [('brain', (1, 4), True)]
    """
    drawn = [condition for condition in conditions if condition.isDrawn]
    if not drawn:
        return [(name, (value,), False) for value, name in names.items()]
    found: dict[str, tuple[str, tuple[int, ...], bool]] = {}
    for condition in drawn:
        for entry in condition.classes:
            known = condition.parts(entry) or (entry.name,)
            values = tuple(value for value, name in names.items() if any(is_named(name, part) for part in known))
            if values:
                found.setdefault(
                    plain_name(entry.name), (entry.name, values, condition.kind == "mask" and len(values) > 1)
                )
    return list(found.values())


def _skulls(conditions: Iterable[ConditionInfo], volume: Any, brain: np.ndarray) -> dict[str, Any]:
    return {condition.name: skullImage(volume, brain) for condition in conditions if condition.isSkull and brain.any()}


def _onVolume(mask: np.ndarray, grid: Any, volume: Any) -> np.ndarray:
    """A mask on a label map's voxels, brought to those of a volume."""
    passing = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    try:
        passing.GetSegmentation().AddEmptySegment("mask")
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), passing, "mask", grid)
        return slicer.util.arrayFromSegmentBinaryLabelmap(passing, "mask", volume) > 0
    finally:
        slicer.mrmlScene.RemoveNode(passing)
