"""The label maps of a run as segmentations of the scene: what was asked for, the whole head that was completed around
it, and what the image was found to hold.

All lie on the model's grid, so that all that was measured can be seen and computed again from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import slicer
import vtk
from vcm.anatomy.structures import plain_name
from vcm.protocol import GivenCondition, Label

from VCMSlicerLib.conditions.anatomy import segmentIds, setStructure
from VCMSlicerLib.conditions.startPoints import COLORS, DEFAULT_COLOR
from VCMSlicerLib.scene.niftiFile import WorldImage
from VCMSlicerLib.scene.scene import takeImage
from VCMSlicerLib.scene.worldImages import LABELMAP, orientedImage

MEASURED_REFERENCE = "VCMSlicer.measured"
ASKED_REFERENCE = "VCMSlicer.asked"
LAYOUT_REFERENCE = "VCMSlicer.layout"
MEASURED_ROLE, ASKED_ROLE, LAYOUT_ROLE = "measured", "asked", "layout"
CONDITION_TAG, LABELS_TAG = "VCMSlicer.condition", "VCMSlicer.labels"


@dataclass(frozen=True)
class Comparable:
    """A structure that was asked for: its segment there, and the labels of the measured segmentation that it became."""

    condition: str
    name: str
    segmentId: str
    labels: tuple[int, ...]


def addMeasured(path: str, labels: Iterable[Label], name: str, attributes: Mapping[str, str]) -> Any:
    """A label map of a result, such as the one by which it was measured, hidden at first; its segments share it."""
    node = hiddenSegmentation(name, attributes)
    _addLayer(node, takeImage(path), labels, {})
    return node


def addAsked(conditions: Iterable[GivenCondition], name: str, attributes: Mapping[str, str]) -> Any:
    """The masks and label maps as the model was given them, hidden at first: a copy that no later edit changes."""
    node = hiddenSegmentation(name, attributes)
    for condition in conditions:
        _addLayer(node, takeImage(condition.path), condition.labels, {CONDITION_TAG: condition.name})
    return node


def comparables(node: Any) -> list[Comparable]:
    """The structures that a result was asked with, where it was measured; without those no segmenter knows."""
    asked = node.GetNodeReference(ASKED_REFERENCE)
    if asked is None or node.GetNodeReference(MEASURED_REFERENCE) is None:
        return []
    segmentation = asked.GetSegmentation()
    found = []
    for id in segmentIds(segmentation):
        segment = segmentation.GetSegment(id)
        condition, labels = tagOf(segment, CONDITION_TAG), tagOf(segment, LABELS_TAG)
        if condition and labels:
            found.append(Comparable(condition, segment.GetName(), id, tuple(map(int, labels.split()))))
    return found


def measuredSegments(node: Any, labels: Iterable[int]) -> list[str]:
    """The segments of a result's measured segmentation that are these labels."""
    segmentation = node.GetNodeReference(MEASURED_REFERENCE).GetSegmentation()
    wanted = {str(label) for label in labels}
    return [id for id in segmentIds(segmentation) if tagOf(segmentation.GetSegment(id), LABELS_TAG) in wanted]


def tagOf(segment: Any, name: str) -> str:
    """A tag of a segment; empty where it has none."""
    value = vtk.reference("")
    return str(value) if segment.GetTag(name, value) else ""


def hiddenSegmentation(name: str, attributes: Mapping[str, str]) -> Any:
    """A segmentation of label maps that is not shown at first."""
    unique = slicer.mrmlScene.GenerateUniqueName(name)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", unique)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetVisibility(False)
    node.GetSegmentation().SetSourceRepresentationName(LABELMAP)
    for key, value in attributes.items():
        node.SetAttribute(key, value)
    return node


def _addLayer(node: Any, image: WorldImage, labels: Iterable[Label], tags: Mapping[str, str]) -> None:
    """A segment for each label of a label map; one that has no voxel is there too, and empty."""
    oriented, segmentation = orientedImage(image), node.GetSegmentation()
    for label in labels:
        segment = slicer.vtkSegment()
        segment.SetName(label.name)
        segment.SetColor(*COLORS.get(plain_name(label.name), DEFAULT_COLOR))
        segment.SetLabelValue(label.value)
        segment.AddRepresentation(LABELMAP, oriented)
        setStructure(segment, label.name)
        values = label.segmenter if CONDITION_TAG in tags else (label.value,)
        for tag, value in {**tags, LABELS_TAG: " ".join(map(str, values))}.items():
            segment.SetTag(tag, value)
        segmentation.AddSegment(segment)
