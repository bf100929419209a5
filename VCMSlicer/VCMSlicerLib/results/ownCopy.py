"""A result's segmentations are records of it: what the user edits is a copy."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from VCMSlicerLib.results.measuredSegmentation import (
    ASKED_REFERENCE,
    ASKED_ROLE,
    LAYOUT_REFERENCE,
    LAYOUT_ROLE,
    MEASURED_REFERENCE,
    MEASURED_ROLE,
)
from VCMSlicerLib.results.results import ROLE, SAMPLE_ROLE, SYNTHETIC, nodesWithRole


def ownCopy(node: Any) -> Any:
    """What the user may edit in place of a node: a copy of a result's segmentation, which is a record; else itself."""
    if node is None or node.GetAttribute(ROLE) not in (MEASURED_ROLE, ASKED_ROLE, LAYOUT_ROLE):
        return node
    name = slicer.mrmlScene.GenerateUniqueName(_("{name}, copy").format(name=node.GetName()))
    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    copy.GetSegmentation().DeepCopy(node.GetSegmentation())
    copy.CreateDefaultDisplayNodes()
    copy.SetAttribute(SYNTHETIC, node.GetAttribute(SYNTHETIC))
    if node.GetTransformNodeID():
        copy.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    if (image := _imageOf(node)) is not None:  # the Segment Editor paints on its voxels
        copy.SetReferenceImageGeometryParameterFromVolumeNode(image)
    return copy


def _imageOf(record: Any) -> Any:
    """The first result that a record belongs to."""
    roles = (MEASURED_REFERENCE, ASKED_REFERENCE, LAYOUT_REFERENCE)
    results = nodesWithRole(SAMPLE_ROLE)
    return next((node for node in results if any(node.GetNodeReference(role) is record for role in roles)), None)
