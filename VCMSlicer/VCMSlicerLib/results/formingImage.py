"""The image of a Sample while it forms: one volume in the slice views, replaced step by step, gone at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from vcm.core.errors import VcmError

from VCMSlicerLib.scene.niftiFile import readNifti
from VCMSlicerLib.scene.scene import addVolume, removeNode
from VCMSlicerLib.scene.sliceViews import sliceLogics


class FormingImage:
    """Shows previews; whatever was in the views before comes back when it is put away."""

    def __init__(self) -> None:
        self._nodeId, self._wanted = "", False
        self._waiting: tuple[Path, int] | None = None
        self._backgroundsBefore: dict[str, str] = {}

    def begin(self) -> None:
        """A job has begun: its previews are shown until `putAway`, so none comes into a scene that follows."""
        self.putAway()
        self._wanted = True

    def showSoon(self, path: str | Path, _sample: int = 0, step: int = 0) -> None:
        """Show the preview in that file at the next turn of the event loop, unless a newer one has come by then.

        Several at once would hold the window up.
        """
        if self._waiting is not None:
            self._waiting[0].unlink(missing_ok=True)
        else:
            qt.QTimer.singleShot(0, self._showWaiting)
        self._waiting = Path(path), step

    def _showWaiting(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self.show(*waiting)

    def show(self, path: str | Path, step: int = 0) -> None:
        """Show the preview in that file, and remove the file. One that cannot be read is passed over."""
        if not self._wanted:
            Path(path).unlink(missing_ok=True)
            return
        try:
            image = readNifti(path)
        except VcmError:
            return
        Path(path).unlink(missing_ok=True)
        before = slicer.mrmlScene.GetNodeByID(self._nodeId) if self._nodeId else None
        node = addVolume(image, _("Forming image, step {step} (synthetic)").format(step=step))
        node.SetSaveWithScene(False)
        node.SetAttribute("VCMSlicer.Synthetic", "true")
        node.GetDisplayNode().SetSaveWithScene(False)
        node.GetDisplayNode().SetWindowLevelMinMax(0.0, 1.0)
        self._nodeId = node.GetID()
        for composite in _composites():
            self._backgroundsBefore.setdefault(composite.GetID(), composite.GetBackgroundVolumeID() or "")
            composite.SetBackgroundVolumeID(node.GetID())
        if before is not None:
            removeNode(before)

    def putAwaySoon(self) -> None:
        """Show no further preview, and put the last one away at the next turn of the event loop: by then the views may
        show what came of the job, and need not go back to a former background in between."""
        self._wanted = False
        qt.QTimer.singleShot(0, self._putAwayUnlessBegun)

    def _putAwayUnlessBegun(self) -> None:
        if not self._wanted:
            self.putAway()

    def putAway(self) -> None:
        """Remove the preview and put the former backgrounds back."""
        node = slicer.mrmlScene.GetNodeByID(self._nodeId) if self._nodeId else None
        for compositeId, background in self._backgroundsBefore.items():
            composite = slicer.mrmlScene.GetNodeByID(compositeId)
            if composite is not None and composite.GetBackgroundVolumeID() == self._nodeId:
                composite.SetBackgroundVolumeID(background or None)
        self._nodeId, self._wanted = "", False
        self._backgroundsBefore.clear()
        if node is not None:
            removeNode(node)


def _composites() -> list[Any]:
    """Those of the slice views that can be seen; those of other arrangements show results."""
    return [logic.GetSliceCompositeNode() for logic in sliceLogics() if logic.GetSliceNode().IsMappedInLayout()]
