"""Looking at results: one alone, or beside the one without conditions and their difference, in linked views under the
conditions' outline."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from VCMSlicerLib.results.results import (
    DIFFERENCE_REFERENCE,
    DIFFERENCE_ROLE,
    TWIN_REFERENCE,
    conditionNodes,
    keepWith,
)
from VCMSlicerLib.scene.sliceViews import Look, lookAlike, looks, showInSlices

LAYOUT_ID = 20417
COLUMNS = ("Controlled", "Uncontrolled", "Difference")
ORIENTATIONS = ("Axial", "Coronal")
VIEW_GROUP = 7
LOOK_BEFORE = "VCMSlicer.LookBefore"
COLORS_TAG = "VCMSlicerDifference"
LESS, MORE = np.array([0.25, 0.65, 1.0]), np.array([1.0, 0.62, 0.20])
SHADES = 256


class Comparison:
    """Shows results in the views. Slices and zoom stay as the user left them; the layout and the segmentations' look
    are changed for a comparison alone, and put back after it."""

    def __init__(self) -> None:
        self._layoutBefore: int | None = None

    @property
    def active(self) -> bool:
        """Whether the views are arranged for a comparison."""
        return self._layoutBefore is not None

    def show(self, node: Any) -> None:
        """One volume in the usual views."""
        if self.active:
            self.close()
        showInSlices(background=node, foreground=None, label=None)

    def compare(self, node: Any) -> None:
        """The image, the one without conditions and their difference, column by column, on the slice looked at."""
        twin = node.GetNodeReference(TWIN_REFERENCE)
        if twin is None:
            raise ValueError(
                _("There is no image without conditions to compare with. Tick “Also without conditions” and generate.")
            )
        looked = None if self.active else looks()
        self._arrange()
        for column, volume in zip(COLUMNS, (node, twin, difference(node)), strict=True):
            for orientation in ORIENTATIONS:
                self._fill(viewName(column, orientation), volume)
        if looked is not None:
            self._turnTo(looked)
            # Once more when Qt has given the views their size.
            qt.QTimer.singleShot(0, lambda: self._turnTo(looked))
        outline(conditionNodes(node))

    def close(self) -> None:
        """Back to the layout and the look that were there before."""
        putLooksBack()
        if self._layoutBefore is not None:
            before, self._layoutBefore = self._layoutBefore, None
            manager = slicer.app.layoutManager()
            if manager is not None:
                manager.setLayout(before)

    def _arrange(self) -> None:
        manager = slicer.app.layoutManager()
        if self._layoutBefore is None:
            self._layoutBefore = manager.layout
        layoutNode = manager.layoutLogic().GetLayoutNode()
        if not layoutNode.IsLayoutDescription(LAYOUT_ID):
            layoutNode.AddLayoutDescription(LAYOUT_ID, layoutDescription())
        manager.setLayout(LAYOUT_ID)

    def _turnTo(self, looked: list[Look]) -> None:
        for column, orientation in itertools.product(COLUMNS, ORIENTATIONS) if self.active else ():
            widget = slicer.app.layoutManager().sliceWidget(viewName(column, orientation))
            widget.sliceLogic().FitSliceToBackground()
            lookAlike(widget.mrmlSliceNode(), looked)

    def _fill(self, view: str, volume: Any) -> None:
        widget = slicer.app.layoutManager().sliceWidget(view)
        composite = widget.mrmlSliceCompositeNode()
        composite.SetLinkedControl(True)
        composite.SetBackgroundVolumeID(volume.GetID())
        composite.SetForegroundVolumeID(None)
        composite.SetLabelVolumeID(None)


def outline(sources: list[Any]) -> None:
    """Show segmentations as outlines, so that the image in them can be seen; `putLooksBack` takes that back.

    The look of before is kept with the node: a scene may be saved meanwhile, which Slicer tells nobody of.
    """
    for node in sources:
        display = node.GetDisplayNode() if node.IsA("vtkMRMLSegmentationNode") else None
        if display is None:
            continue
        if not display.GetAttribute(LOOK_BEFORE):
            look = (display.GetVisibility2DFill(), display.GetVisibility2DOutline(), display.GetOpacity2DOutline())
            display.SetAttribute(LOOK_BEFORE, json.dumps(look))
        display.SetVisibility2DFill(False)
        display.SetVisibility2DOutline(True)
        display.SetOpacity2DOutline(1.0)


def putLooksBack() -> None:
    """Show all segmentations as they were shown before they became outlines, in this scene or when it was saved."""
    for display in slicer.util.getNodesByClass("vtkMRMLSegmentationDisplayNode"):
        kept = display.GetAttribute(LOOK_BEFORE)
        if kept:
            fill, outlined, opacity = json.loads(kept)
            display.SetVisibility2DFill(fill)
            display.SetVisibility2DOutline(outlined)
            display.SetOpacity2DOutline(opacity)
            display.RemoveAttribute(LOOK_BEFORE)


def difference(node: Any) -> Any:
    """The Sample minus its twin, as a volume of its own; made once and kept with the Sample."""
    existing = node.GetNodeReference(DIFFERENCE_REFERENCE)
    if existing is not None:
        return existing
    twin = node.GetNodeReference(TWIN_REFERENCE)
    if twin is None:
        raise ValueError(_("There is no image without conditions to differ from."))
    array = slicer.util.arrayFromVolume(node).astype(np.float32) - slicer.util.arrayFromVolume(twin)
    name = _("{name}, difference to without conditions").format(name=node.GetName())
    made = slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, node, name)
    slicer.util.updateVolumeFromArray(made, array)
    for role in (TWIN_REFERENCE, DIFFERENCE_REFERENCE):
        made.RemoveNodeReferenceIDs(role)
    made.SetAttribute("VCMSlicer.Alignment", None)
    _displayAsDifference(made, array)
    keepWith(node, made, DIFFERENCE_REFERENCE, DIFFERENCE_ROLE)
    return made


def layoutDescription() -> str:
    """Slicer's layout language: a column a volume, a row an orientation, all views of one group."""
    rows = []
    for orientation in ORIENTATIONS:
        views = "".join(_viewDescription(column, orientation) for column in COLUMNS)
        rows.append(f'<item><layout type="horizontal">{views}</layout></item>')
    return f'<layout type="vertical">{"".join(rows)}</layout>'


def viewName(column: str, orientation: str) -> str:
    """The singleton tag of a view of the comparison."""
    return f"VCM{column}{orientation}"


def _viewDescription(column: str, orientation: str) -> str:
    labels = {"Controlled": _("With"), "Uncontrolled": _("Without"), "Difference": _("Difference")}
    color = {"Controlled": "#3FB2A8", "Uncontrolled": "#9AA0A6", "Difference": "#E5A33C"}[column]
    return (
        f'<item><view class="vtkMRMLSliceNode" singletontag="{viewName(column, orientation)}">'
        f'<property name="orientation" action="default">{orientation}</property>'
        f'<property name="viewlabel" action="default">{labels[column]}</property>'
        f'<property name="viewcolor" action="default">{color}</property>'
        f'<property name="viewgroup" action="default">{VIEW_GROUP}</property></view></item>'
    )


def _displayAsDifference(node: Any, array: np.ndarray) -> None:
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    reach = float(np.percentile(np.abs(array), 99.5)) or 1.0
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(-reach, reach)
    display.SetAndObserveColorNodeID(differenceColors().GetID())


def differenceColors() -> Any:
    """Black where nothing differs, blue where the control made it darker, orange where brighter."""
    node = slicer.mrmlScene.GetSingletonNode(COLORS_TAG, "vtkMRMLColorTableNode")
    if node is not None:
        return node
    node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLColorTableNode")
    node.UnRegister(None)
    node.SetSingletonTag(COLORS_TAG)
    node.SetName(_("Difference to without conditions"))
    node.SetTypeToUser()
    node.SetNumberOfColors(SHADES)
    for index, value in enumerate(np.linspace(-1, 1, SHADES)):
        red, green, blue = abs(value) * (LESS if value < 0 else MORE)
        node.SetColor(index, f"{value:+.2f}", float(red), float(green), float(blue), 1.0)
    node.SetHideFromEditors(True)
    return slicer.mrmlScene.AddNode(node)
