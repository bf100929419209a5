"""Looking at results: one alone, beside the one without conditions and their difference, or one layout in several
contrasts, in linked views under the conditions' outline."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from VCMSlicerLib.results.results import (
    CONTRAST,
    DIFFERENCE_REFERENCE,
    DIFFERENCE_ROLE,
    TWIN_REFERENCE,
    conditionNodes,
    keepWith,
)
from VCMSlicerLib.scene.scene import cloneVolume
from VCMSlicerLib.scene.sliceViews import Look, lookAlike, looks, showInSlices

LAYOUT_ID = 20417
CONTRASTS_LAYOUT_ID = 20420
"""To which the number of contrasts is added: a layout that is in use does not change."""
USUAL_LAYOUT = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
ORIENTATIONS = ("Axial", "Coronal")
MOST_COLUMNS = 4
CONTRAST_COLORS = ("#3FB2A8", "#E5A33C", "#8C7BD8", "#9AA0A6")
VIEW_GROUP = 7
LOOK_BEFORE = "VCMSlicer.LookBefore"
COLORS_TAG = "VCMSlicerDifference"
LESS, MORE = np.array([0.25, 0.65, 1.0]), np.array([1.0, 0.62, 0.20])
SHADES = 256


MOST_CONTRASTS = 8
"""Arrangements for so many contrasts are known from the start of Slicer on."""


@dataclass(frozen=True)
class Column:
    """One volume of a comparison: the name of its views, what stands on them, and their colour."""

    name: str
    label: str
    color: str


def registerArrangements() -> None:
    """Make the arrangements known to Slicer: a scene keeps the number of its own, and not what that stands for."""
    node = _layoutNode()
    if node is not None:
        known = {CONTRASTS_LAYOUT_ID + count: contrastColumns([""] * count) for count in range(2, MOST_CONTRASTS + 1)}
        for layout, columns in {LAYOUT_ID: twinColumns(), **known}.items():
            _register(node, layout, layoutDescription(rowsOf(columns)))


def leaveArrangement() -> None:
    """Turn from an arrangement that a scene was saved in to the usual views."""
    manager = slicer.app.layoutManager()
    if manager is not None and _isOurs(manager.layout):
        manager.setLayout(USUAL_LAYOUT)


def twinColumns() -> tuple[Column, ...]:
    """With conditions, without, and the difference."""
    return (
        Column("Controlled", _("With"), "#3FB2A8"),
        Column("Uncontrolled", _("Without"), "#9AA0A6"),
        Column("Difference", _("Difference"), "#E5A33C"),
    )


def contrastColumns(names: Iterable[str]) -> tuple[Column, ...]:
    """A column for each contrast."""
    colored = zip(names, itertools.cycle(CONTRAST_COLORS))
    return tuple(Column(f"Contrast{place}", name, color) for place, (name, color) in enumerate(colored, start=1))


def _isOurs(layout: int) -> bool:
    return layout == LAYOUT_ID or CONTRASTS_LAYOUT_ID < layout <= CONTRASTS_LAYOUT_ID + MOST_CONTRASTS


def _layoutNode() -> Any:
    manager = slicer.app.layoutManager()
    return manager.layoutLogic().GetLayoutNode() if manager is not None else None


def _register(node: Any, layout: int, description: str) -> None:
    if not node.IsLayoutDescription(layout):
        node.AddLayoutDescription(layout, description)


class Comparison:
    """Shows results in the views. Slices and zoom stay as the user left them; the layout and the segmentations' look
    are changed for a comparison alone, and put back after it."""

    def __init__(self) -> None:
        self._layoutBefore: int | None = None
        self._layout = 0
        self._views: list[str] = []

    @property
    def active(self) -> bool:
        """Whether the views are arranged for a comparison."""
        return self._layoutBefore is not None

    @property
    def showsContrasts(self) -> bool:
        """Whether it is one of contrasts, and not one with and without conditions."""
        return self.active and self._layout != LAYOUT_ID

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
        self._lookAt(LAYOUT_ID, twinColumns(), (node, twin, difference(node)))
        outline(conditionNodes(node))

    def compareContrasts(self, nodes: Sequence[Any]) -> None:
        """Images of one layout in several contrasts, column by column; where they are many, axial slices alone."""
        columns = contrastColumns(node.GetAttribute(CONTRAST) or "" for node in nodes)
        self._lookAt(CONTRASTS_LAYOUT_ID + len(columns), columns, nodes)
        outline(conditionNodes(nodes[0]))

    def close(self) -> None:
        """Back to the layout and the look that were there before."""
        putLooksBack()
        if self._layoutBefore is not None:
            before, self._layoutBefore = self._layoutBefore, None
            manager = slicer.app.layoutManager()
            if manager is not None:
                manager.setLayout(before)

    def _lookAt(self, layout: int, columns: Sequence[Column], volumes: Iterable[Any]) -> None:
        """Arrange the views and fill them; unless they are arranged so already, turn them to what was looked at."""
        looked = looks()
        rows, before = rowsOf(columns), self._layout if self.active else 0
        self._views = [viewName(column.name, orientation) for row in rows for column, orientation in row]
        self._arrange(layout, layoutDescription(rows))
        for column, volume in zip(columns, volumes, strict=True):
            for each, orientation in (entry for row in rows for entry in row):
                if each == column:
                    self._fill(viewName(column.name, orientation), volume, column.label)
        if layout != before:
            self._turnTo(layout, looked)
            # Once more when Qt has given the views their size.
            qt.QTimer.singleShot(0, lambda: self._turnTo(layout, looked))

    def _arrange(self, layout: int, description: str) -> None:
        manager = slicer.app.layoutManager()
        if self._layoutBefore is None:
            self._layoutBefore = USUAL_LAYOUT if _isOurs(manager.layout) else manager.layout
        self._layout = layout
        _register(_layoutNode(), layout, description)
        manager.setLayout(layout)

    def _turnTo(self, layout: int, looked: list[Look]) -> None:
        for view in self._views if self.active and self._layout == layout else ():
            widget = slicer.app.layoutManager().sliceWidget(view)
            widget.sliceLogic().FitSliceToBackground()
            lookAlike(widget.mrmlSliceNode(), looked)

    def _fill(self, view: str, volume: Any, label: str) -> None:
        widget = slicer.app.layoutManager().sliceWidget(view)
        # The contrasts of another model may stand in the same views.
        widget.mrmlSliceNode().SetLayoutLabel(label)
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
    made = cloneVolume(node, name)
    slicer.util.updateVolumeFromArray(made, array)
    _displayAsDifference(made, array)
    keepWith(node, made, DIFFERENCE_REFERENCE, DIFFERENCE_ROLE)
    return made


def rowsOf(columns: Sequence[Column]) -> list[list[tuple[Column, str]]]:
    """The views row by row: a row an orientation, or where the columns are too many, rows of axial slices alone."""
    if len(columns) <= MOST_COLUMNS:
        return [[(column, orientation) for column in columns] for orientation in ORIENTATIONS]
    axial = [(column, ORIENTATIONS[0]) for column in columns]
    return [axial[start : start + MOST_COLUMNS] for start in range(0, len(axial), MOST_COLUMNS)]


def layoutDescription(rows: Iterable[Iterable[tuple[Column, str]]]) -> str:
    """The views in Slicer's layout language, all of one group."""
    parts = []
    for row in rows:
        views = "".join(_viewDescription(column, orientation) for column, orientation in row)
        parts.append(f'<item><layout type="horizontal">{views}</layout></item>')
    return f'<layout type="vertical">{"".join(parts)}</layout>'


def viewName(column: str, orientation: str) -> str:
    """The singleton tag of a view of the comparison."""
    return f"VCM{column}{orientation}"


def _viewDescription(column: Column, orientation: str) -> str:
    return (
        f'<item><view class="vtkMRMLSliceNode" singletontag="{viewName(column.name, orientation)}">'
        f'<property name="orientation" action="default">{orientation}</property>'
        f'<property name="viewlabel" action="default">{escape(column.label)}</property>'
        f'<property name="viewcolor" action="default">{column.color}</property>'
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
