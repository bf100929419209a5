"""Asks for a scan and a segment of the brain, and makes of them the image of the skull that a condition wants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from VCMSlicerLib.conditions.anatomy import segmentIds
from VCMSlicerLib.conditions.startPoints import skullImage


class SkullDialog:
    """A window beside the panel; `onMade(volume)` hears of the image.

    It is made for one opening: closed in whatever way, it lets go of the scene and is gone.
    """

    def __init__(self, form: Any, parent: Any, onMade: Callable[[Any], None]) -> None:
        self._onMade = onMade
        self.open = True
        self.dialog = qt.QDialog(parent)
        self.dialog.setWindowTitle(_("Image of the skull"))
        self.dialog.objectName = "VCMSlicerSkull"
        layout = qt.QVBoxLayout(self.dialog)
        layout.addWidget(form)
        self.form = form
        self.ui = slicer.util.childWidgetVariables(form)
        for box in (self.ui.skullScanBox, self.ui.skullBrainBox):
            box.setMRMLScene(slicer.mrmlScene)
            box.connect("currentNodeChanged(vtkMRMLNode*)", self._update)
        self.ui.skullMakeButton.connect("clicked()", self._make)
        self.ui.skullCancelButton.connect("clicked()", self.dialog.reject)
        # The title bar's button and Escape reject a dialog, too.
        self.dialog.connect("finished(int)", self._onFinished)
        self._update()

    def show(self) -> None:
        """Open it, or bring it to the front, and let the user do other things meanwhile."""
        self.dialog.show()
        self.dialog.raise_()

    def close(self) -> None:
        """Put it away."""
        if self.open:
            self.dialog.reject()

    def _onFinished(self, _result: int) -> None:
        self.open = False
        for box in (self.ui.skullScanBox, self.ui.skullBrainBox):
            box.setMRMLScene(None)
        self.dialog.deleteLater()

    def _update(self, *_arguments: Any) -> None:
        brain, box = self.ui.skullBrainBox.currentNode(), self.ui.skullSegmentBox
        box.clear()
        for id in segmentIds(brain.GetSegmentation()) if brain is not None else ():
            box.addItem(brain.GetSegmentation().GetSegment(id).GetName(), id)
        possible = box.count > 0 and self.ui.skullScanBox.currentNode() is not None
        self.ui.skullMakeButton.enabled = possible
        tip = _("Make the image and choose it for the condition.")
        self.ui.skullMakeButton.toolTip = tip if possible else _("Load a scan, and segment the brain in it first.")

    def _make(self) -> None:
        box = self.ui.skullSegmentBox
        try:
            scan, segmentation = self.ui.skullScanBox.currentNode(), self.ui.skullBrainBox.currentNode()
            id = box.itemData(box.currentIndex)
            made = skullImage(scan, slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, id, scan) > 0)
        except ValueError as error:
            slicer.util.errorDisplay(str(error), _("The image could not be made"))
            return
        self._onMade(made)
        self.close()
