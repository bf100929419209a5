"""Where painting can start: the demo case, the template, a blank on the model's grid, a segmented T1w."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from VCMSlicerLib.anatomy import plainName, setStructure

RESOURCES = Path(__file__).resolve().parents[1] / "Resources"
DEMO_MASK = RESOURCES / "DemoCase" / "ventricles.nii.gz"
TEMPLATE_HEAD = RESOURCES / "Template" / "head.nii.gz"
TEMPLATE_LABELS = RESOURCES / "Template" / "labels.nii.gz"
TEMPLATE_STRUCTURES = {
    1: "White matter",
    2: "Grey matter",
    3: "Deep grey matter",
    4: "Ventricles",
    5: "Hippocampus",
    6: "Amygdala",
    7: "Extra-ventricular CSF",
    8: "Brain stem",
    9: "Third and fourth ventricle",
}
COLORS = {
    "white matter": (0.93, 0.90, 0.82),
    "grey matter": (0.70, 0.62, 0.58),
    "deep grey matter": (0.55, 0.47, 0.66),
    "ventricles": (0.25, 0.70, 0.66),
    "lateral ventricles": (0.25, 0.70, 0.66),
    "hippocampus": (0.90, 0.64, 0.24),
    "amygdala": (0.85, 0.45, 0.35),
    "extra-ventricular csf": (0.40, 0.60, 0.85),
    "brain stem": (0.60, 0.75, 0.45),
    "third and fourth ventricle": (0.20, 0.50, 0.75),
    "skull": (0.95, 0.85, 0.55),
}
DEFAULT_COLOR = (0.90, 0.45, 0.40)


@dataclass(frozen=True)
class StartPoint:
    """What was put into the scene: a segmentation to paint in and the volume under it."""

    segmentation: Any
    volume: Any


def demoCase() -> StartPoint:
    """Enlarged ventricles over the model's average head: a mask that is worth a first Generate."""
    volume = _loadHead()
    segmentation = newSegmentation(_("Demo case"), volume)
    _addFromFile(segmentation, DEMO_MASK, {1: "Ventricles"}, volume)
    return StartPoint(segmentation, volume)


def template(structures: Sequence[str] = ()) -> StartPoint:
    """The model's average head with its structures, to be painted larger or smaller.

    Of `structures` those are taken that the average head has; none given means all.
    """
    volume = _loadHead()
    segmentation = newSegmentation(_("Template"), volume)
    wanted = {plainName(name) for name in structures}
    chosen = {v: name for v, name in TEMPLATE_STRUCTURES.items() if not wanted or plainName(name) in wanted}
    _addFromFile(segmentation, TEMPLATE_LABELS, chosen or TEMPLATE_STRUCTURES, volume)
    return StartPoint(segmentation, volume)


def blank(shape: Sequence[int], affine: Sequence[Sequence[float]], structures: Iterable[str]) -> StartPoint:
    """An empty segment for each structure on the model's grid, over an empty volume of the same grid.

    `shape` is in voxels i, j, k and `affine` leads from voxel index to RAS millimetres.
    """
    matrix = vtk.vtkMatrix4x4()
    for r in range(4):
        for c in range(4):
            matrix.SetElement(r, c, affine[r][c])
    empty = np.zeros(tuple(reversed(tuple(shape))), np.uint8)
    volume = slicer.util.addVolumeFromArray(empty, matrix, slicer.mrmlScene.GenerateUniqueName(_("Model grid")))
    volume.CreateDefaultDisplayNodes()
    segmentation = newSegmentation(_("Blank"), volume)
    for name in structures:
        addSegment(segmentation, name)
    return StartPoint(segmentation, volume)


def fromSegmentedT1w(volume: Any, labelsPath: str | Path, structures: Iterable[Any]) -> StartPoint:
    """The label map that the worker made of a loaded T1w, as segments over it.

    `structures` are the `vcm.protocol.Structure`s of the answer.
    """
    segmentation = newSegmentation(_("{name}, segmented").format(name=volume.GetName()), volume)
    _addFromFile(segmentation, Path(labelsPath), {entry.value: entry.name for entry in structures}, volume)
    return StartPoint(segmentation, volume)


def skullImage(t1w: Any, segmentation: Any, segmentId: str) -> Any:
    """The T1w image with the brain taken out: what an image condition of the skull wants."""
    image = slicer.util.arrayFromVolume(t1w)
    brain = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segmentId, t1w) > 0
    if not brain.any():
        raise ValueError(_("The brain mask is empty within {name}.").format(name=t1w.GetName()))
    skull = slicer.modules.volumes.logic().CloneVolume(
        slicer.mrmlScene, t1w, _("{name}, skull only").format(name=t1w.GetName())
    )
    slicer.util.updateVolumeFromArray(skull, np.where(brain, image.min(), image))
    return skull


def newSegmentation(name: str, volume: Any) -> Any:
    """An empty segmentation that has the volume's grid for its own."""
    unique = slicer.mrmlScene.GenerateUniqueName(name)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", unique)
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    return segmentation


def addSegment(segmentation: Any, name: str) -> str:
    """A segment with the structure's name, colour and terminology; returns its id."""
    shown = name[:1].upper() + name[1:]
    segmentId = segmentation.GetSegmentation().AddEmptySegment("", shown, COLORS.get(plainName(name), DEFAULT_COLOR))
    setStructure(segmentation.GetSegmentation().GetSegment(segmentId), name)
    return segmentId


def _loadHead() -> Any:
    volume = slicer.util.loadVolume(str(TEMPLATE_HEAD), properties={"name": _("Average head (synthetic)")})
    volume.SetAttribute("VCMSlicer.Synthetic", "true")
    volume.CreateDefaultDisplayNodes()
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevelMinMax(0, 255)
    return volume


def _addFromFile(segmentation: Any, path: Path, structures: dict[int, str], volume: Any) -> None:
    """A segment for each value of a label map that is there."""
    labels = slicer.util.loadLabelVolume(str(path))
    try:
        array = slicer.util.arrayFromVolume(labels)
        for value, name in structures.items():
            mask = (array == value).astype(np.uint8)
            if mask.any():
                segmentId = addSegment(segmentation, name)
                slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, segmentId, labels)
    finally:
        slicer.mrmlScene.RemoveNode(labels)
