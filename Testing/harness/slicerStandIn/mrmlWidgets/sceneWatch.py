"""Calls back when nodes come, go or are renamed, and keeps still while the scene is being closed or read."""

from collections.abc import Callable
from typing import Any

import slicer
import vtk


class SceneWatch:
    """Observes one scene at a time on behalf of a widget."""

    def __init__(self, onChanged: Callable[[], None]) -> None:
        self._onChanged = onChanged
        self._scene: Any = None
        self._tags: list[int] = []
        self._nodeTags: dict[Any, int] = {}

    def observe(self, scene: Any) -> None:
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        for node, tag in self._nodeTags.items():
            node.RemoveObserver(tag)
        self._scene, self._tags, self._nodeTags = scene, [], {}
        if scene is None:
            return
        events = slicer.vtkMRMLScene
        for event in (events.NodeAddedEvent, events.NodeRemovedEvent):
            self._tags.append(scene.AddObserver(event, self._onNode))
        for event in (events.EndBatchProcessEvent, events.EndCloseEvent, events.EndImportEvent):
            self._tags.append(scene.AddObserver(event, lambda caller, name: self._onChanged()))

    def follow(self, node: Any) -> None:
        """Call back too when `node` is modified (its name, for example)."""
        if node not in self._nodeTags:
            self._nodeTags[node] = node.AddObserver(
                vtk.vtkCommand.ModifiedEvent, lambda caller, name: self._onChanged()
            )

    def _onNode(self, caller: Any, name: str) -> None:
        if not self._scene.IsBatchProcessing():
            self._onChanged()
