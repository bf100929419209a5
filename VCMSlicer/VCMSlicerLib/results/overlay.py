"""Asked for and obtained in one picture: where they agree, what is missed, what is extra; in slices and in 3D."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _
from vcm.core.errors import Code, VcmError

from VCMSlicerLib.results.measuredSegmentation import (
    ASKED_REFERENCE,
    MEASURED_REFERENCE,
    Comparable,
    comparables,
    hiddenSegmentation,
    measuredSegments,
)
from VCMSlicerLib.results.results import ROLE, keepWith
from VCMSlicerLib.scene.niftiFile import WorldImage
from VCMSlicerLib.scene.worldImages import LABELMAP, orientedImage, ownMatrix, segmentsImage, worldMatrix

OVERLAY_REFERENCE = "VCMSlicer.overlay"
OVERLAY_ROLE = "overlay"
HIDDEN = "VCMSlicer.HiddenByOverlay"
"""Kept with the node: a scene may be saved meanwhile, which Slicer tells nobody of."""
AGREED, MISSED, EXTRA = "agreed", "missed", "extra"
# Distinct with every kind of colour vision, and by their brightness alone.
COLORS = {AGREED: (0.34, 0.71, 0.91), MISSED: (0.94, 0.89, 0.26), EXTRA: (0.84, 0.37, 0.0)}
OPACITY_2D, OPACITY_3D = 0.55, {AGREED: 0.35, MISSED: 1.0, EXTRA: 1.0}
CLOSED_SURFACE = "Closed surface"


class Overlay:
    """Shows the overlay of one result at a time, and puts back the visibility of the segmentations it found."""

    def __init__(self) -> None:
        self._nodeId = ""

    @property
    def active(self) -> bool:
        """Whether an overlay is being shown."""
        return bool(self._nodeId)

    @property
    def node(self) -> Any:
        """The segmentation that is being shown, or None."""
        return slicer.mrmlScene.GetNodeByID(self._nodeId) if self._nodeId else None

    def show(self, node: Any, structure: Comparable | None = None) -> Any:
        """The overlay of a structure, by default the first, over the result; all other segmentations are hidden."""
        overlay = overlayOf(node, structure)
        self._hideOthers(overlay)
        if self._nodeId not in ("", overlay.GetID()):
            self._setVisible(self._nodeId, False)
        self._nodeId = overlay.GetID()
        self._setVisible(self._nodeId, True)
        return overlay

    def close(self) -> None:
        """Hide the overlay, which stays with its result, and show again what was shown before."""
        self._setVisible(self._nodeId, False)
        self._nodeId = ""
        showHidden()

    def _hideOthers(self, overlay: Any) -> None:
        for other in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
            display = other.GetDisplayNode()
            if other is not overlay and display is not None and display.GetVisibility():
                display.SetVisibility(False)
                if other.GetID() != self._nodeId:
                    display.SetAttribute(HIDDEN, "true")

    @staticmethod
    def _setVisible(nodeId: str, visible: bool) -> None:
        node = slicer.mrmlScene.GetNodeByID(nodeId) if nodeId else None
        if node is not None and node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetVisibility(visible)


def showHidden() -> None:
    """Show again what an overlay hid, in this scene or when it was saved; overlays themselves are hidden."""
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        display = node.GetDisplayNode()
        if display is not None and display.GetAttribute(HIDDEN):
            display.RemoveAttribute(HIDDEN)
            display.SetVisibility(True)
        elif display is not None and node.GetAttribute(ROLE) == OVERLAY_ROLE:
            display.SetVisibility(False)


def overlayOf(node: Any, structure: Comparable | None = None) -> Any:
    """The segmentation with the segments *Agreed*, *Missed* and *Extra* of a structure; one a result, filled anew.

    VcmError says why there is none.
    """
    known = comparables(node)
    if not known:
        words = _("{name} was not measured by a segmentation, so there is nothing to lay over it.")
        raise VcmError(Code.CONDITION, words.format(name=node.GetName()))
    structure = structure or known[0]
    overlay = node.GetNodeReference(OVERLAY_REFERENCE) or _newOverlay(node)
    title = _("{image}, {structure}: asked and obtained").format(image=node.GetName(), structure=structure.name)
    overlay.SetName(title)
    overlay.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    _fill(overlay, overlayImage(node, structure))
    return overlay


def partVolumes(overlay: Any) -> dict[str, float]:
    """Millilitres of each part of an overlay."""
    images = {part: segmentsImage(overlay, [(part, 1)]) for part in COLORS}
    return {part: image.array.sum() * image.voxelMl if image is not None else 0.0 for part, image in images.items()}


def overlayImage(node: Any, structure: Comparable) -> WorldImage:
    """A label map on the result's own voxels, cut to what is drawn: 1 agreed, 2 missed, 3 extra."""
    asked = _onVoxelsOf(node, node.GetNodeReference(ASKED_REFERENCE), [structure.segmentId])
    measured = measuredSegments(node, structure.labels)
    obtained = _onVoxelsOf(node, node.GetNodeReference(MEASURED_REFERENCE), measured)
    values = np.zeros(asked.shape, np.uint8)
    values[asked & obtained] = 1
    values[asked & ~obtained] = 2
    values[~asked & obtained] = 3
    return WorldImage(values, ownMatrix(node)).cropped()


def _onVoxelsOf(node: Any, segmentation: Any, ids: list[str]) -> np.ndarray:
    """Segments as an array on the voxels of a volume, which are of the same grid."""
    shape = node.GetImageData().GetDimensions()[::-1]
    array = np.zeros(shape, bool)
    image = segmentsImage(segmentation, [(id, 1) for id in ids])
    if image is None:
        return array
    # Where they are seen counts: a result may hang under a registration that what it was asked for does not.
    place = np.linalg.inv(worldMatrix(node) @ ownMatrix(node)) @ image.ijkToRas
    image = _unflipped(WorldImage(image.array, place))
    place = image.ijkToRas
    corner = np.rint(place[:3, 3]).astype(int)
    if not np.allclose(place[:3, :3], np.eye(3), atol=1e-3) or not np.allclose(place[:3, 3], corner, atol=1e-2):
        words = _("{name} no longer lies on the voxels of its image, so the two cannot be laid over each other.")
        raise VcmError(Code.GEOMETRY, words.format(name=segmentation.GetName()), _("Generate again."))
    there = [slice(max(c, 0), c + n) for c, n in zip(corner[::-1], image.array.shape, strict=True)]
    mine = [slice(max(-c, 0), None) for c in corner[::-1]]
    part = image.array[tuple(mine)] > 0
    seen = array[tuple(there)]
    seen |= part[: seen.shape[0], : seen.shape[1], : seen.shape[2]]
    return array


def _unflipped(image: WorldImage) -> WorldImage:
    """The same with no axis backwards: a file that is read may come with its axes turned over."""
    array, matrix = image.array, image.ijkToRas.copy()
    for axis in range(3):
        if matrix[axis, axis] < 0:
            array = np.flip(array, 2 - axis)
            matrix[:3, 3] += matrix[:3, axis] * (array.shape[2 - axis] - 1)
            matrix[:3, axis] *= -1
    return WorldImage(array, matrix)


def _newOverlay(node: Any) -> Any:
    overlay = hiddenSegmentation(node.GetName(), {})
    keepWith(node, overlay, OVERLAY_REFERENCE, OVERLAY_ROLE)
    return overlay


def _fill(overlay: Any, image: WorldImage) -> None:
    segmentation, display = overlay.GetSegmentation(), overlay.GetDisplayNode()
    segmentation.RemoveAllSegments()
    names = {AGREED: _("Agreed"), MISSED: _("Missed"), EXTRA: _("Extra")}
    oriented = orientedImage(image) if image.array.size else None
    for value, id in enumerate((AGREED, MISSED, EXTRA), start=1):
        segment = slicer.vtkSegment()
        segment.SetName(names[id])
        segment.SetColor(*COLORS[id])
        segment.SetLabelValue(value)
        if oriented is not None:
            segment.AddRepresentation(LABELMAP, oriented)
        segmentation.AddSegment(segment, id)
        display.SetSegmentOpacity2DFill(id, OPACITY_2D)
        display.SetSegmentOpacity3D(id, OPACITY_3D[id])
    if oriented is not None:
        segmentation.CreateRepresentation(CLOSED_SURFACE)
        display.SetPreferredDisplayRepresentationName3D(CLOSED_SURFACE)
