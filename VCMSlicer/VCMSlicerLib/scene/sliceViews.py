"""Images in the slice views, without taking the user's slices and zoom away: only a view that shows nothing of an image
is moved to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import slicer
import vtk

KEEP = "keep-current"


def showInSlices(background: Any = KEEP, foreground: Any = KEEP, label: Any = KEEP, **opacities: float) -> None:
    """Show volumes in all slice views; None empties a layer, and a layer that is not named stays.

    Slices and zoom stay as they are, but in views that were empty and those that the image would lie outside of.
    """
    named = [volume for volume in (background, foreground, label) if volume is not None and volume is not KEEP]
    empty = [logic for logic in sliceLogics() if not _shows(logic.GetSliceCompositeNode())]
    slicer.util.setSliceViewerLayers(background=background, foreground=foreground, label=label, **opacities)
    if not named:
        return
    for logic in sliceLogics():
        if logic in empty or not isInView(logic.GetSliceNode(), named[0]):
            logic.FitSliceToBackground()


def _shows(layers: Any) -> bool:
    """Whether a slice view has any image."""
    return any((layers.GetBackgroundVolumeID(), layers.GetForegroundVolumeID(), layers.GetLabelVolumeID()))


def sliceLogics() -> Iterator[Any]:
    """The logic of each slice view, shown or not; none without a main window."""
    manager = slicer.app.layoutManager()
    logics = manager.mrmlSliceLogics() if manager is not None else vtk.vtkCollection()
    for index in range(logics.GetNumberOfItems()):
        logic = logics.GetItemAsObject(index)
        if logic is not None and logic.GetSliceNode() is not None:
            yield logic


def isInView(sliceNode: Any, volume: Any) -> bool:
    """Whether a view shows something of a volume as it stands: its plane cuts it, and the part in sight too."""
    toSlice, bounds = vtk.vtkMatrix4x4(), [0.0] * 6
    vtk.vtkMatrix4x4.Invert(sliceNode.GetSliceToRAS(), toSlice)
    volume.GetSliceBounds(bounds, toSlice)
    across, down, _depth = sliceNode.GetFieldOfView()
    left, bottom, _front = sliceNode.GetXYZOrigin()
    seen = ((left - across / 2, left + across / 2), (bottom - down / 2, bottom + down / 2), (0.0, 0.0))
    return all(low <= bounds[2 * axis + 1] and bounds[2 * axis] <= high for axis, (low, high) in enumerate(seen))


@dataclass(frozen=True)
class Look:
    """What a slice view shows: its plane, and the part of it, in millimetres."""

    orientation: str
    sliceToRas: Any
    fieldOfView: tuple[float, float, float]
    origin: tuple[float, float, float]


def looks() -> list[Look]:
    """What the slice views in sight show, those of the present layout."""
    found = []
    for logic in sliceLogics():
        node = logic.GetSliceNode()
        if node.IsMappedInLayout():
            plane = vtk.vtkMatrix4x4()
            plane.DeepCopy(node.GetSliceToRAS())
            found.append(Look(node.GetOrientation(), plane, tuple(node.GetFieldOfView()), tuple(node.GetXYZOrigin())))
    return found


def lookAlike(target: Any, sources: list[Look]) -> None:
    """Turn a slice node to what one of these shows that has its orientation, else to the place that they show.

    All that is in sight there comes into sight, as large as it can be.
    """
    alike = [source for source in sources if source.orientation == target.GetOrientation()]
    if not alike:
        for source in sources[:1]:
            target.JumpSlice(*(source.sliceToRas.GetElement(axis, 3) for axis in range(3)))
        return
    source = alike[0]
    target.GetSliceToRAS().DeepCopy(source.sliceToRas)
    width, height, _slices = target.GetDimensions()
    across, down, depth = source.fieldOfView
    pixel = max(across / max(width, 1), down / max(height, 1))
    target.SetFieldOfView(pixel * width, pixel * height, depth)
    target.SetXYZOrigin(*source.origin)
    target.UpdateMatrices()
