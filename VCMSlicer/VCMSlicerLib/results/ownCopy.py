"""A result's segmentations are records of it: what the user edits is a copy."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from VCMSlicerLib.results.measuredSegmentation import ASKED_ROLE, LAYOUT_ROLE, MEASURED_ROLE
from VCMSlicerLib.results.results import ROLE, SYNTHETIC


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
    return copy
