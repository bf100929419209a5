"""Voxels of MRML nodes with their place in the world: parent transforms honoured, nothing in the scene changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from VCMSlicerLib.scene.niftiFile import WorldImage

LABELMAP = "Binary labelmap"
FACE_POINTS = 24


def volumeImage(node: Any) -> WorldImage | None:
    """A volume as it lies in the world, or None while it has no voxels."""
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or image.GetNumberOfScalarComponents() != 1:
        return None
    own = WorldImage(voxels(image), ownMatrix(node))
    if hasCurvedTransform(node):
        return _bent(own, node, linear=not node.IsA("vtkMRMLLabelMapVolumeNode"))
    return WorldImage(own.array, worldMatrix(node) @ own.ijkToRas)


def segmentsImage(node: Any, values: Sequence[tuple[str, int]]) -> WorldImage | None:
    """Segments as one label map on their own voxels; where they overlap, the one that is named first wins.

    `values` are the segments' ids with the label each gets. None where nothing is drawn in any of them.
    """
    layers = [_Layer(image, value, label) for id, label in values for image, value in _labelmaps(node, id)]
    if not layers:
        return None
    layers = [layer.onTheVoxelsOf(layers[0]) for layer in layers]
    box = _union([layer.image.GetExtent() for layer in layers])
    array = np.zeros(_shape(box), np.uint8 if max(layer.label for layer in layers) < 256 else np.int16)
    for layer in reversed(layers):
        view = array[_within(layer.image.GetExtent(), box)]
        view[voxels(layer.image) == layer.value] = layer.label
    found = _atExtent(WorldImage(array, _imageToWorld(layers[0].image)), box).cropped()
    if not found.array.size:
        return None
    if hasCurvedTransform(node):
        return _bent(found, node, linear=False)
    return WorldImage(found.array, worldMatrix(node) @ found.ijkToRas)


def liesOn(image: WorldImage, volume: Any) -> bool:
    """Whether the voxels of an image in the world are those of a volume, one by one."""
    if image.array.shape != volume.GetImageData().GetDimensions()[::-1] or hasCurvedTransform(volume):
        return False
    return bool(np.allclose(worldMatrix(volume) @ ownMatrix(volume), image.ijkToRas, atol=1e-3))


def ownMatrix(volume: Any) -> np.ndarray:
    """From a volume's voxel index (i, j, k) to its own RAS millimetres, without its parent transforms."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return np.asarray(slicer.util.arrayFromVTKMatrix(matrix))


def worldMatrix(node: Any) -> np.ndarray:
    """From the node's own millimetres to the world's, through all its linear parent transforms."""
    parent = node.GetParentTransformNode()
    return np.eye(4) if parent is None else np.asarray(slicer.util.arrayFromTransformMatrix(parent, toWorld=True))


def hasCurvedTransform(node: Any) -> bool:
    """Whether a parent transform bends space, so that no matrix can say where the voxels lie."""
    parent = node.GetParentTransformNode()
    return parent is not None and not parent.IsTransformToWorldLinear()


def orientedImage(image: WorldImage) -> Any:
    """The same for Slicer's segmentation library."""
    oriented = slicer.vtkOrientedImageData()
    oriented.SetDimensions(*image.array.shape[::-1])
    contiguous = np.ascontiguousarray(image.array)
    oriented.GetPointData().SetScalars(numpy_to_vtk(contiguous.ravel(), deep=True))
    oriented.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(image.ijkToRas))
    return oriented


def voxels(image: Any) -> np.ndarray:
    """The voxels of a vtkImageData as `array[k, j, i]`, not copied."""
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


@dataclass(frozen=True)
class _Layer:
    """A labelmap of Slicer's, the value that stands for one segment in it, and the label that segment shall get."""

    image: Any
    value: int
    label: int

    def onTheVoxelsOf(self, other: _Layer) -> _Layer:
        """Itself, or resampled where the other lies on different voxels."""
        if np.allclose(_imageToWorld(self.image), _imageToWorld(other.image), atol=1e-6):
            return self
        alone = slicer.vtkOrientedImageData()
        alone.DeepCopy(self.image)
        scalars = voxels(alone)
        scalars[...] = scalars == self.value
        resampled = slicer.vtkOrientedImageData()
        resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
        resample(alone, other.image, resampled, False, True)
        return _Layer(resampled, 1, self.label)


def _labelmaps(node: Any, segmentId: str) -> list[tuple[Any, int]]:
    """The labelmap of a segment and its value there, made from its surface if need be; nothing if it is empty."""
    segmentation = node.GetSegmentation()
    segment = segmentation.GetSegment(segmentId)
    if segment is None:
        return []
    image = segment.GetRepresentation(LABELMAP)
    if image is None:
        converted = slicer.vtkSegmentation()
        converted.SetSourceRepresentationName(segmentation.GetSourceRepresentationName())
        converted.CopyConversionParameters(segmentation)
        converted.CopySegmentFromSegmentation(segmentation, segmentId)
        if not converted.CreateRepresentation(LABELMAP):
            return []
        segment = converted.GetSegment(segmentId)
        image = segment.GetRepresentation(LABELMAP)
    if image is None or image.IsEmpty():
        return []
    return [(image, segment.GetLabelValue())]


def isEmpty(node: Any, segmentId: str) -> bool:
    """Whether a segment of a segmentation has no voxel."""
    return not any((voxels(image) == value).any() for image, value in _labelmaps(node, segmentId))


def _bent(image: WorldImage, node: Any, linear: bool) -> WorldImage:
    """Resampled to where a transform that bends space puts it, on voxels of the same size and direction."""
    transform = vtk.vtkGeneralTransform()
    node.GetParentTransformNode().GetTransformToWorld(transform)
    box = _boxAfter(image, transform)
    reference = _atExtent(WorldImage(np.zeros(_shape(box), np.uint8), image.ijkToRas), box)
    bent = slicer.vtkOrientedImageData()
    resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
    resample(orientedImage(image), orientedImage(reference), bent, linear, False, transform)
    return WorldImage(voxels(bent).copy(), reference.ijkToRas)


def _boxAfter(image: WorldImage, transform: Any) -> tuple[int, ...]:
    """The extent, counted in the image's own voxels, that it needs once it is transformed."""
    axes = [np.linspace(-1, n, min(n + 2, FACE_POINTS)) for n in image.array.shape[::-1]]
    raster = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    points = vtk.vtkPoints()
    points.SetData(numpy_to_vtk(raster @ image.ijkToRas[:3, :3].T + image.ijkToRas[:3, 3], deep=True))
    moved = vtk.vtkPoints()
    transform.TransformPoints(points, moved)
    index = (vtk_to_numpy(moved.GetData()) - image.ijkToRas[:3, 3]) @ np.linalg.inv(image.ijkToRas[:3, :3]).T
    low, high = np.floor(index.min(axis=0)).astype(int), np.ceil(index.max(axis=0)).astype(int)
    return (low[0], high[0], low[1], high[1], low[2], high[2])


def _imageToWorld(image: Any) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return np.asarray(slicer.util.arrayFromVTKMatrix(matrix))


def _atExtent(image: WorldImage, extent: Sequence[int]) -> WorldImage:
    """Slicer counts voxels from anywhere; here the first one is (0, 0, 0)."""
    moved = image.ijkToRas.copy()
    moved[:3, 3] += image.ijkToRas[:3, :3] @ (extent[0], extent[2], extent[4])
    return WorldImage(image.array, moved)


def _union(extents: Sequence[Sequence[int]]) -> tuple[int, ...]:
    both = np.array(extents)
    low, high = both.min(axis=0), both.max(axis=0)
    return (low[0], high[1], low[2], high[3], low[4], high[5])


def _shape(box: Sequence[int]) -> tuple[int, int, int]:
    return (box[5] - box[4] + 1, box[3] - box[2] + 1, box[1] - box[0] + 1)


def _within(extent: Sequence[int], box: Sequence[int]) -> tuple[slice, slice, slice]:
    return (
        slice(extent[4] - box[4], extent[5] - box[4] + 1),
        slice(extent[2] - box[2], extent[3] - box[2] + 1),
        slice(extent[0] - box[0], extent[1] - box[0] + 1),
    )
