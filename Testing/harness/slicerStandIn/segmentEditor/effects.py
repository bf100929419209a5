"""Paint and Erase: a stroke in a slice view becomes one change of the selected segment, with its undo step."""

from typing import Any

import numpy as np
import slicer
import vtk

from .brush import Brush, paintInto, strokePoints

_PARAMETERS = {
    "BrushSphere": "0",
    "BrushRelativeDiameter": "3",
    "BrushDiameterIsRelative": "1",
    "BrushAbsoluteDiameter": "5",
}


class PaintEffect:
    """Adds the voxels under the brush. Parameters have Slicer's names and are kept in the editor node."""

    name = "Paint"
    _modification = "ModificationModeAdd"

    def __init__(self, editor: Any) -> None:
        self._editor = editor
        self._stroke: list[np.ndarray] = []

    def parameter(self, name: str) -> str:
        return self._editor.mrmlSegmentEditorNode().GetAttribute(name) or _PARAMETERS[name]

    def integerParameter(self, name: str) -> int:
        return int(self.parameter(name))

    def doubleParameter(self, name: str) -> float:
        return float(self.parameter(name))

    def setParameter(self, name: str, value: Any) -> None:
        if name not in _PARAMETERS:
            raise ValueError(f"the effect {self.name} has no parameter {name!r}; it has {', '.join(_PARAMETERS)}")
        self._editor.mrmlSegmentEditorNode().SetAttribute(name, str(int(value) if isinstance(value, bool) else value))

    def setCommonParameter(self, name: str, value: Any) -> None:
        self.setParameter(name, value)

    def onMouse(self, view: Any, kind: str, x: int, y: int) -> bool:
        """Take part of a stroke; true if it was this effect's to take."""
        if kind == "press":
            self._stroke = [_worldPosition(view, x, y)]
        elif self._stroke and kind == "move":
            self._stroke.append(_worldPosition(view, x, y))
        elif self._stroke and kind == "release":
            self._stroke.append(_worldPosition(view, x, y))
            self._apply(view)
            self._stroke = []
        return True

    def _brush(self, view: Any) -> Brush:
        relative = self.integerParameter("BrushDiameterIsRelative")
        fieldHeight = view.mrmlSliceNode().GetFieldOfView()[1]
        absolute = self.doubleParameter("BrushAbsoluteDiameter")
        diameter = fieldHeight * self.doubleParameter("BrushRelativeDiameter") / 100 if relative else absolute
        return Brush(diameter, bool(self.integerParameter("BrushSphere")))

    def _apply(self, view: Any) -> None:
        logic = self._editor._logic
        segmentation, segmentID = self._editor.segmentationNode(), self._editor.currentSegmentID()
        if segmentation is None or not segmentID:
            return
        brush = self._brush(view)
        logic.SetSourceRepresentationToBinaryLabelMap()
        logic.ResetModifierLabelmapToDefault()
        labelmap = logic.GetModifierLabelmap()
        points = strokePoints(self._stroke, max(brush.diameter / 8, 0.25))
        if paintInto(labelmap, _worldMatrix(segmentation), points, _normal(view), brush) == 0:
            return
        logic.SaveStateForUndo()
        logic.ModifySegmentByLabelmap(
            segmentation, segmentID, labelmap, getattr(logic, self._modification), False, False
        )
        self._editor._modified()


class EraseEffect(PaintEffect):
    """Takes the voxels under the brush away."""

    name = "Erase"
    _modification = "ModificationModeRemove"


def _worldPosition(view: Any, x: int, y: int) -> np.ndarray:
    position = view.mrmlSliceNode().GetXYToRAS().MultiplyPoint((x, y, 0, 1))
    return np.array(position[:3])


def _normal(view: Any) -> np.ndarray:
    sliceToRAS = view.mrmlSliceNode().GetSliceToRAS()
    normal = np.array([sliceToRAS.GetElement(row, 2) for row in range(3)])
    return normal / np.linalg.norm(normal)


def _worldMatrix(node: Any) -> np.ndarray:
    """From the space of `node` to the world; nonlinear transforms are refused (Slicer's editor resamples for them)."""
    transform = node.GetParentTransformNode()
    if transform is None:
        return np.eye(4)
    if not transform.IsTransformToWorldLinear():
        raise RuntimeError("painting under a nonlinear transform is not in the stand-in")
    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)
