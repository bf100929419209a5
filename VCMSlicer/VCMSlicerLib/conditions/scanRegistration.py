"""A scan carried into the model's space by a linear transform of its own, what goes with it, and the way back.

The transform stands between the scan and whatever transform the user had put it under, so that one stays, and moves
what else it moves. The scan's voxels and its own place are never changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vcm.core.errors import Code, VcmError

from VCMSlicerLib.results.belongings import SHARED, belongings
from VCMSlicerLib.results.results import DIFFERENCE_REFERENCE, TWIN_REFERENCE, conditionNodes
from VCMSlicerLib.scene.worldImages import hasCurvedTransform, worldMatrix

STATE, WORDS, VERDICT = "VCMSlicer.Registration", "VCMSlicer.RegistrationWords", "VCMSlicer.RegistrationVerdict"
OFFERED, ACCEPTED = "offered", "accepted"
REGISTRATION_REFERENCE = "VCMSlicer.registration"


def registerNode(volume: Any, scanToModel: Sequence[float], words: str, verdict: str) -> Any:
    """Put a transform over a volume that carries it, as it lies in the world, by the 16 numbers of a matrix (RAS).

    It is offered until `accept` is called. What was drawn on the volume goes with it.
    """
    if hasCurvedTransform(volume):
        sentence = _("{name} is under a transform that bends space.").format(name=volume.GetName())
        raise VcmError(Code.GEOMETRY, sentence, _("Harden that transform first."))
    above = volume.GetParentTransformNode()
    world = worldMatrix(volume)
    matrix = np.linalg.inv(world) @ np.asarray(scanToModel, float).reshape(4, 4) @ world
    name = _("{name} to the model's space").format(name=volume.GetName())
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", slicer.mrmlScene.GenerateUniqueName(name))
    slicer.util.updateTransformMatrixFromArray(node, matrix)
    node.SetAndObserveTransformNodeID(above.GetID() if above is not None else None)
    for key, value in ((STATE, OFFERED), (WORDS, words), (VERDICT, verdict)):
        node.SetAttribute(key, value)
    companions = drawnOn(volume)
    for each in (volume, *companions):
        each.SetAndObserveTransformNodeID(node.GetID())
    return node


def accept(transform: Any) -> None:
    """The user looked at it and takes it."""
    transform.SetAttribute(STATE, ACCEPTED)


def undo(transform: Any) -> None:
    """Take a registration away: everything under it is again where it was before."""
    release(transform)
    slicer.mrmlScene.RemoveNode(transform)


def release(transform: Any) -> None:
    """Put what is under a registration under the transform above it, before the registration goes."""
    above = transform.GetParentTransformNode()
    for node in under(transform):
        node.SetAndObserveTransformNodeID(above.GetID() if above is not None else None)


def registrationOf(node: Any) -> Any:
    """The registration that carries a node into the model's space, or None."""
    parent = node.GetParentTransformNode() if node is not None else None
    while parent is not None and not parent.GetAttribute(STATE):
        parent = parent.GetParentTransformNode()
    return parent


def registrations() -> list[Any]:
    """All registrations of the scene."""
    return [node for node in slicer.util.getNodesByClass("vtkMRMLLinearTransformNode") if node.GetAttribute(STATE)]


def under(transform: Any) -> list[Any]:
    """The nodes whose own parent transform this is."""
    nodes = slicer.util.getNodesByClass("vtkMRMLTransformableNode")
    return [node for node in nodes if node.GetParentTransformNode() is transform]


def scanOf(transform: Any) -> Any:
    """The volume that was registered: the first that is no image of ours; None where it is gone."""
    volumes = [node for node in under(transform) if node.IsA("vtkMRMLScalarVolumeNode")]
    return next((node for node in volumes if not node.GetAttribute("VCMSlicer.Synthetic")), None)


def drawnOn(volume: Any) -> list[Any]:
    """The segmentations that were made on a volume and lie under the same transform."""
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    return [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        if node.GetNodeReference(role) is volume and node.GetParentTransformNode() is volume.GetParentTransformNode()
    ]


def sourceVolume(node: Any) -> Any:
    """The volume that would have to be registered for a condition: itself, or what a segmentation was drawn on."""
    if node is None or not node.IsA("vtkMRMLSegmentationNode"):
        return node
    return node.GetNodeReference(slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole())


def showOwnSlices(volume: Any) -> None:
    """Turn the slice views to a volume's own planes, so that it is drawn on as it was scanned."""
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        node.RotateToVolumePlane(volume)


def rememberRegistration(results: Sequence[Any]) -> None:
    """Have results know the registration of what they were asked with."""
    for node in results:
        transform = next(filter(None, map(registrationOf, conditionNodes(node))), None)
        if transform is not None:
            node.SetNodeReferenceID(REGISTRATION_REFERENCE, transform.GetID())


def placeResult(node: Any, inScanSpace: bool) -> None:
    """Give a result and what belongs to it the scan's own millimetres, or the model's.

    In the scan's space it hangs under the registration as the scan does, so both go back together when that is removed,
    and a file of it lies on the scan's file. Where it is seen does not change.
    """
    transform = node.GetNodeReference(REGISTRATION_REFERENCE)
    if transform is None:
        return
    shared = (TWIN_REFERENCE, DIFFERENCE_REFERENCE, *SHARED)
    others = [*map(node.GetNodeReference, shared), *belongings(node)]
    for each in (node, *others):
        if each is None or not each.IsA("vtkMRMLTransformableNode"):
            continue
        if (registrationOf(each) is transform) is inScanSpace:
            continue
        toWorld = vtk.vtkMatrix4x4()
        transform.GetMatrixTransformToWorld(toWorld)
        if inScanSpace:
            toWorld.Invert()
        each.SetAndObserveTransformNodeID(None)
        each.ApplyTransformMatrix(toWorld)
        each.SetAndObserveTransformNodeID(transform.GetID() if inScanSpace else None)


class RegistrationKeeper:
    """Lets go of what a registration carries before someone else removes it, in whichever way that is done."""

    def __init__(self) -> None:
        scene = slicer.mrmlScene
        self._observation: int | None = scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._onRemoval)

    def close(self) -> None:
        """Look no more."""
        if self._observation is not None:
            slicer.mrmlScene.RemoveObserver(self._observation)
            self._observation = None

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onRemoval(self, scene: Any, _event: str, node: Any) -> None:
        isOurs = node is not None and node.IsA("vtkMRMLLinearTransformNode") and node.GetAttribute(STATE)
        if isOurs and not scene.IsClosing():
            release(node)
