"""Images of the worker's as volumes of the scene."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vcm.core.errors import Code, VcmError
from vtk.util.numpy_support import numpy_to_vtk

from VCMSlicerLib.scene.niftiFile import WorldImage, isNifti, readNifti


def importVolume(path: str | Path, name: str, attributes: Mapping[str, str] | None = None) -> Any:
    """A volume node from a worker's file, with node attributes, black at its darkest and white at its brightest."""
    path = Path(path)
    if not isNifti(path):
        return _importOther(path, name, attributes or {})
    return addVolume(takeImage(path), name, attributes)


def takeImage(path: str | Path) -> WorldImage:
    """The voxels of a NIfTI file, read now unless they were read before; those are handed out once."""
    return _preloaded.pop(str(Path(path)), None) or readNifti(path)


def preload(path: str | Path, image: WorldImage) -> None:
    """Have `takeImage` find voxels that were read in pieces before, so that no one waits for the file."""
    _preloaded[str(Path(path))] = image


def forgetPreloaded() -> None:
    """Let go of what was read and not imported."""
    _preloaded.clear()


OURS = "VCMSlicer."
STORABLE, DISPLAYABLE = "vtkMRMLStorableNode", "vtkMRMLDisplayableNode"
_preloaded: dict[str, WorldImage] = {}


def cloneVolume(node: Any, name: str) -> Any:
    """A volume like another one, without what that is to this module: a clone takes over attributes and references."""
    made = slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, node, name)
    for attribute in made.GetAttributeNames():
        if attribute.startswith(OURS) and attribute != f"{OURS}Synthetic":
            made.RemoveAttribute(attribute)
    roles: list[str] = []
    made.GetNodeReferenceRoles(roles)
    for role in roles:
        if role.startswith(OURS):
            made.RemoveNodeReferenceIDs(role)
    return made


def addVolume(image: WorldImage, name: str, attributes: Mapping[str, str] | None = None) -> Any:
    """A volume node that shares the array's memory; its display is ready, so that Slicer need not search its range."""
    array = np.ascontiguousarray(image.array)
    data = vtk.vtkImageData()
    data.SetDimensions(*array.shape[::-1])
    data.GetPointData().SetScalars(numpy_to_vtk(array.ravel(), deep=False))
    scene = slicer.mrmlScene
    display = scene.AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.AutoWindowLevelOff()
    low, high = float(array.min()), float(array.max())
    display.SetWindowLevelMinMax(low, high if high > low else low + 1.0)
    node = scene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
    node.UnRegister(None)
    node.SetName(name)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.asarray(image.ijkToRas, float)))
    for key, value in (attributes or {}).items():
        node.SetAttribute(key, value)
    node.SetAndObserveDisplayNodeID(display.GetID())
    node.SetAndObserveImageData(data)
    return scene.AddNode(node)


def addLabelVolume(image: WorldImage, name: str) -> Any:
    """A label map volume node; Slicer knows no whole numbers of 64 bits, as the engine writes them."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", slicer.mrmlScene.GenerateUniqueName(name))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.asarray(image.ijkToRas, float)))
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(image.array).astype(np.int16))
    node.CreateDefaultDisplayNodes()
    return node


def _importOther(path: Path, name: str, attributes: Mapping[str, str]) -> Any:
    node = slicer.modules.volumes.logic().AddArchetypeVolume(str(path), name)
    if node is None:
        raise VcmError(Code.FILE_UNREADABLE, _("{name} cannot be read as an image.").format(name=path.name))
    for key, value in attributes.items():
        node.SetAttribute(key, value)
    return node


def removeLeftBehind(node: Any) -> None:
    """Remove what said how a node that has left the scene was shown and stored; it would keep the voxels."""
    identities = (
        [node.GetNthStorageNodeID(n) for n in range(node.GetNumberOfStorageNodes())] if node.IsA(STORABLE) else []
    )
    if node.IsA(DISPLAYABLE):
        identities += [node.GetNthDisplayNodeID(n) for n in range(node.GetNumberOfDisplayNodes())]
    for identity in filter(None, identities):
        other = slicer.mrmlScene.GetNodeByID(identity)
        if other is not None:
            slicer.mrmlScene.RemoveNode(other)


def removeNode(node: Any) -> None:
    """Remove a node with what said how it was shown and stored."""
    slicer.mrmlScene.RemoveNode(node)
    removeLeftBehind(node)
