"""Between the scene and the worker's files: what a condition is drawn in, whether it can be used, and volumes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vcm.errors import Code, VcmError
from vtk.util.numpy_support import numpy_to_vtk

from VCMSlicerLib.anatomy import classOf
from VCMSlicerLib.niftiFile import WorldImage, isNifti, readNifti, writeNifti
from VCMSlicerLib.packCatalogue import ConditionInfo, GridInfo
from VCMSlicerLib.worldImages import segmentsImage, volumeImage

NOTHING_LOST = 0


@dataclass(frozen=True)
class ConditionChoice:
    """What a user chose for one condition: segments, or a volume.

    Where segments overlap, the one that stands first in `segmentIds` wins. `labels` are the class values of the
    segments of a label map, in the same order; without them each segment is told by its terminology, else its name.
    """

    name: str
    enabled: bool = True
    kind: str = "mask"
    segmentationNode: Any = None
    segmentIds: tuple[str, ...] = ()
    volumeNode: Any = None
    strength: float = 1.0
    labels: tuple[int, ...] = ()


class Check(NamedTuple):
    """Whether a choice can be used, in words for its row, and how many of its voxels the model cannot see."""

    usable: bool
    words: str
    lostVoxels: int = NOTHING_LOST


def check(choice: ConditionChoice, condition: ConditionInfo, grid: GridInfo) -> Check:
    """Look at a choice without writing anything."""
    try:
        image = conditionImage(choice, condition)
    except VcmError as error:
        return Check(False, str(error))
    lost = countLostVoxels(image, grid)
    drawn = int(np.count_nonzero(image.array))
    if drawn and lost == drawn:
        words = _("It lies entirely outside the model's field of view, about {distance:.0f} mm from its centre.")
        return Check(False, words.format(distance=_distance(image, grid)), lost)
    words = _size(choice, condition, image)
    if lost:
        outside = _("{lost} of {drawn} voxels lie outside the model's field of view and will be lost.")
        words = f"{words} {outside.format(lost=f'{lost:,}', drawn=f'{drawn:,}')}"
    return Check(True, words, lost)


def exportCondition(choice: ConditionChoice, condition: ConditionInfo, folder: str | Path) -> Path:
    """Write what was chosen as a file for the worker, on its own voxels and in its place in the world.

    The engine brings it to the model's grid, and counts by volume there; resampling here as well would blur twice.
    """
    image = conditionImage(choice, condition)
    image = image if condition.kind == "image" else image.padded()
    return writeNifti(Path(folder) / f"{condition.name}.nii", image, f"{condition.name}, for VCMSlicer, research only")


def conditionImage(choice: ConditionChoice, condition: ConditionInfo) -> WorldImage:
    """The voxels of a choice in the world; a VcmError whose sentence says why there are none."""
    if choice.segmentationNode is not None and condition.kind != "image":
        return _segmentsOf(choice, condition)
    if choice.volumeNode is not None:
        return _volumeOf(choice, condition)
    wanted = _("Choose a volume.") if condition.kind == "image" else _("Choose a segment.")
    raise VcmError(Code.CONDITION, _("Nothing is chosen."), wanted)


def countLostVoxels(image: WorldImage, grid: GridInfo) -> int:
    """How many of the voxels that are not 0 have their centre outside the grid."""
    image = image.cropped()
    toGrid = np.linalg.inv(np.array(grid.affine)) @ image.ijkToRas
    if not image.array.size or _allInside(toGrid, image.array.shape, grid):
        return 0
    lost = 0
    for k, layer in enumerate(image.array):
        j, i = np.nonzero(layer)
        index = toGrid[:3, :3] @ np.stack([i, j, np.full_like(i, k)]) + toGrid[:3, 3:]
        lost += int(i.size - _inside(index, grid).sum())
    return lost


def importVolume(path: str | Path, name: str, attributes: Mapping[str, str] | None = None) -> Any:
    """A volume node from a worker's file, with node attributes, black at its darkest and white at its brightest."""
    path = Path(path)
    if not isNifti(path):
        return _importOther(path, name, attributes or {})
    image = _preloaded.pop(str(path), None) or readNifti(path)
    return addVolume(image, name, attributes)


def preload(path: str | Path, image: WorldImage) -> None:
    """Have `importVolume` take voxels that were read in pieces before, so that no one waits for the file."""
    _preloaded[str(Path(path))] = image


def forgetPreloaded() -> None:
    """Let go of what was read and not imported."""
    _preloaded.clear()


_preloaded: dict[str, WorldImage] = {}


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
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(image.ijkToRas, float).ravel())
    node.SetIJKToRASMatrix(matrix)
    for key, value in (attributes or {}).items():
        node.SetAttribute(key, value)
    node.SetAndObserveDisplayNodeID(display.GetID())
    node.SetAndObserveImageData(data)
    return scene.AddNode(node)


def _importOther(path: Path, name: str, attributes: Mapping[str, str]) -> Any:
    node = slicer.modules.volumes.logic().AddArchetypeVolume(str(path), name)
    if node is None:
        raise VcmError(Code.FILE_UNREADABLE, _("{name} cannot be read as an image.").format(name=path.name))
    for key, value in attributes.items():
        node.SetAttribute(key, value)
    return node


def _segmentsOf(choice: ConditionChoice, condition: ConditionInfo) -> WorldImage:
    segmentation = choice.segmentationNode.GetSegmentation()
    if not choice.segmentIds:
        raise VcmError(Code.CONDITION, _("No segment is chosen."), _("Choose one, or add one in the Segment Editor."))
    for id in choice.segmentIds:
        if segmentation.GetSegment(id) is None:
            raise VcmError(Code.CONDITION, _("A chosen segment is gone."), _("Choose another."))
    image = segmentsImage(choice.segmentationNode, _labelled(choice, condition))
    if image is None:
        names = ", ".join(segmentation.GetSegment(id).GetName() for id in choice.segmentIds)
        raise VcmError(Code.CONDITION, _("{names}: nothing is drawn yet.").format(names=names), _("Paint something."))
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
    if condition.kind != "image" and not _isWhole(image.array):
        words = _("{name} is an image, not a segmentation.").format(name=node.GetName())
        raise VcmError(Code.CONDITION, words, _("Choose a segment, or segment the image first."))
    if not image.array.any():
        raise VcmError(Code.CONDITION, _("{name} is empty.").format(name=node.GetName()), _("Choose another."))
    return image if condition.kind == "image" else image.cropped()


def _isWhole(array: np.ndarray) -> bool:
    return array.dtype.kind in "iub" or np.array_equal(array, array.round())


def _size(choice: ConditionChoice, condition: ConditionInfo, image: WorldImage) -> str:
    if condition.kind == "image":
        return _("Ready.")
    return _("Ready: {ml:.1f} ml.").format(ml=np.count_nonzero(image.array) * image.voxelMl)


def _distance(image: WorldImage, grid: GridInfo) -> float:
    affine = np.array(grid.affine)
    centre = affine[:3, :3] @ ((np.array(grid.shape) - 1) / 2) + affine[:3, 3]
    own = image.ijkToRas[:3, :3] @ ((np.array(image.array.shape[::-1]) - 1) / 2) + image.ijkToRas[:3, 3]
    return float(np.linalg.norm(own - centre))


def _allInside(toGrid: np.ndarray, shape: tuple[int, ...], grid: GridInfo) -> bool:
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in shape[::-1]], indexing="ij")).reshape(3, -1)
    return bool(_inside(toGrid[:3, :3] @ corners + toGrid[:3, 3:], grid).all())


def _inside(index: np.ndarray, grid: GridInfo) -> np.ndarray:
    high = np.array(grid.shape)[:, None] - 0.5
    return ((index >= -0.5) & (index <= high)).all(axis=0)
