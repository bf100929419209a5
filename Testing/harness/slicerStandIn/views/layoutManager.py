"""`slicer.app.layoutManager()`: Slicer's own layout logic decides the views, Qt arranges them."""

from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from ..pythonQt.objects import PythonQtObject, PythonQtType
from .arrangement import Arrangement, arrange
from .placeholder import PlaceholderView
from .sliceWidget import qMRMLSliceWidget
from .threeDWidget import qMRMLThreeDWidget

NO_VIEWS = '<layout type="vertical"></layout>'


class qSlicerLayoutManager(PythonQtObject, QtWidgets.QWidget, metaclass=PythonQtType):
    """All of Slicer's layouts, and those that a module adds to the layout node."""

    layoutChanged = QtCore.Signal(int)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._views: dict[tuple[str, str], Any] = {}
        self._arrangement: Arrangement | None = None
        self._shown = -1
        box = QtWidgets.QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._logic.SetMRMLScene(slicer.mrmlScene)
        node = self._logic.GetLayoutNode()
        node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: self._update())
        node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self._update()

    def layoutLogic(self) -> Any:
        return self._logic

    def setLayout(self, layout: int) -> None:
        self._logic.GetLayoutNode().SetViewArrangement(int(layout))

    def _update(self) -> None:
        node = self._logic.GetLayoutNode()
        wanted = node.GetViewArrangement()
        # As in Slicer: an arrangement that nobody has described has no views.
        description = node.GetLayoutDescription(wanted) if node.IsLayoutDescription(wanted) else NO_VIEWS
        if not description or wanted == self._shown:
            return
        self._shown = wanted
        old, self._arrangement = self._arrangement, arrange(description, self._viewOf)
        QtWidgets.QWidget.layout(self).addWidget(self._arrangement.widget)
        self._arrangement.widget.show()
        if old is not None:
            self._putAway(old)
        for view in self._views.values():
            if (viewNode := getattr(view, "_node", None)) is not None:
                viewNode.SetMappedInLayout(view in self._arrangement.views)
        self.layoutChanged.emit(wanted)

    def _putAway(self, old: Arrangement) -> None:
        for view in old.views:
            if view not in self._arrangement.views:
                view.hide()
                view.setParent(self)
        QtWidgets.QWidget.layout(self).removeWidget(old.widget)
        if old.widget not in self._arrangement.views:
            old.widget.deleteLater()

    def _viewOf(self, nodeClass: str, tag: str) -> Any:
        key = (nodeClass, tag)
        if key not in self._views:
            self._views[key] = self._makeView(nodeClass, tag)
        return self._views[key]

    def _makeView(self, nodeClass: str, tag: str) -> Any:
        if not tag:  # layouts for any number of views ("compare") name none
            return PlaceholderView(nodeClass, self)
        node = slicer.mrmlScene.GetSingletonNode(tag, nodeClass)
        if nodeClass == "vtkMRMLSliceNode":
            return qMRMLSliceWidget(node, self)
        if nodeClass == "vtkMRMLViewNode":
            return qMRMLThreeDWidget(node, self)
        return PlaceholderView(nodeClass, self)

    def sliceViewNames(self) -> list[str]:
        """Names of the slice views made so far, shown or not."""
        return [tag for (_, tag), view in self._views.items() if isinstance(view, qMRMLSliceWidget)]

    def sliceWidget(self, name: str) -> qMRMLSliceWidget | None:
        return self._views.get(("vtkMRMLSliceNode", name))

    def _threeDWidgets(self) -> list[qMRMLThreeDWidget]:
        return [view for view in self._views.values() if isinstance(view, qMRMLThreeDWidget)]

    def threeDWidget(self, which: int | str) -> qMRMLThreeDWidget | None:
        if isinstance(which, str):
            return self._views.get(("vtkMRMLViewNode", which))
        widgets = self._threeDWidgets()
        return widgets[which] if 0 <= which < len(widgets) else None

    threeDViewCount = QtCore.Property(int, lambda self: len(self._threeDWidgets()))
    tableViewCount = plotViewCount = QtCore.Property(int, lambda self: 0)

    def mrmlSliceLogics(self) -> Any:
        return slicer.app.applicationLogic().GetSliceLogics()

    def resetSliceViews(self) -> None:
        for name in self.sliceViewNames():
            self.sliceWidget(name).fitSliceToBackground()

    def resetThreeDViews(self) -> None:
        """Accepted."""

    def viewport(self) -> "qSlicerLayoutManager":
        return self


def _currentLayout(self: qSlicerLayoutManager) -> int:
    return self._logic.GetLayoutNode().GetViewArrangement()


# `layout` is a property of Slicer's layout manager and a method of every QWidget: put on afterwards, when Qt is done.
qSlicerLayoutManager.layout = property(_currentLayout, qSlicerLayoutManager.setLayout)
