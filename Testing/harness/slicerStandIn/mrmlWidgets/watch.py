"""VTK observations that end with the widget they are made for, as those of Slicer's own widgets do."""

from collections.abc import Callable, Sequence
from typing import Any

import slicer
from PySide6 import QtCore

SCENE_EVENTS = (
    slicer.vtkMRMLScene.NodeAddedEvent,
    slicer.vtkMRMLScene.NodeRemovedEvent,
    slicer.vtkMRMLScene.EndBatchProcessEvent,
    slicer.vtkMRMLScene.EndCloseEvent,
    slicer.vtkMRMLScene.EndImportEvent,
)
SEGMENT_EVENTS = (
    slicer.vtkSegmentation.SegmentAdded,
    slicer.vtkSegmentation.SegmentRemoved,
    slicer.vtkSegmentation.SegmentModified,
    slicer.vtkSegmentation.SegmentsOrderModified,
)


class Watch:
    """Observes VTK objects on behalf of a widget.

    A scene that is being closed or read tells of every node; what follows waits for the event at the end.
    """

    def __init__(self, owner: QtCore.QObject, onChanged: Callable[[], None]) -> None:
        self._onChanged = onChanged
        self._observations: list[tuple[Any, int]] = []
        owner.destroyed.connect(lambda: self.observe([], ()))

    def observe(self, watched: Sequence[Any], events: Sequence[int]) -> None:
        """Watch the objects `watched` (None among them is passed over) and no longer those before."""
        for observed, tag in self._observations:
            observed.RemoveObserver(tag)
        objects = [observed for observed in watched if observed is not None]
        self._observations = [(each, each.AddObserver(event, self._onEvent)) for each in objects for event in events]

    def _onEvent(self, caller: Any, event: str) -> None:
        if not (isinstance(caller, slicer.vtkMRMLScene) and caller.IsBatchProcessing()):
            self._onChanged()
