"""`qMRMLSliceWidget`: a slice view of the layout, drawn by Slicer's slice logic and displayable managers."""

from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from .controllers import ViewController
from .renderView import RenderView
from .viewWidget import ViewWidget

_MANAGERS = [
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLTransformsDisplayableManager2D",
]


_BAR_HEIGHT = 18


class qMRMLSliceWidget(ViewWidget):
    """One slice node with its logic, layers and interaction."""

    def __init__(self, sliceNode: Any, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._node = sliceNode
        self.setObjectName(f"qMRMLSliceWidget{sliceNode.GetLayoutName()}")
        self._renderView = RenderView(slicer.vtkMRMLSliceViewDisplayableManagerFactory, _MANAGERS, self.scheduleRender)
        self._renderView.renderer.GetActiveCamera().ParallelProjectionOn()
        self._controller = ViewController()
        self._logic = self._makeLogic()
        self._renderView.managers.SetMRMLDisplayableNode(sliceNode)
        self._addImage()
        self._addInteraction()

    def _makeLogic(self) -> Any:
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        logic.SetMRMLScene(slicer.mrmlScene)
        logic.SetSliceNode(self._node)
        slicer.app.applicationLogic().GetSliceLogics().AddItem(logic)
        logic.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: self._updateImage())
        return logic

    def _addImage(self) -> None:
        """The slice logic blends the layers into 8-bit colours; they are drawn as they are."""
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._actor = vtk.vtkActor2D()
        self._actor.SetMapper(self._mapper)
        self._actor.GetProperty().SetDisplayLocationToBackground()
        self._updateImage()

    def _updateImage(self) -> None:
        connection = self._logic.GetImageDataConnection()
        self._mapper.SetInputConnection(connection)
        shown = bool(self._renderView.renderer.HasViewProp(self._actor))
        if connection is not None and not shown:
            self._renderView.renderer.AddViewProp(self._actor)
        elif connection is None and shown:
            self._renderView.renderer.RemoveViewProp(self._actor)
        self.scheduleRender()

    def _addInteraction(self) -> None:
        self._style = slicer.vtkMRMLSliceViewInteractorStyle()
        self._style.SetSliceLogic(self._logic)
        self._style.SetDisplayableManagers(self._renderView.managers)
        self._renderView.interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        self._style.SetInteractor(self._renderView.interactor)

    def _resizeView(self, width: int, height: int) -> None:
        super()._resizeView(width, height)
        self._logic.ResizeSliceNode(width, height)

    def sliceLogic(self) -> Any:
        return self._logic

    def mrmlSliceNode(self) -> Any:
        return self._node

    def mrmlSliceCompositeNode(self) -> Any:
        return self._logic.GetSliceCompositeNode()

    def sliceView(self) -> "qMRMLSliceWidget":
        return self

    def sliceController(self) -> ViewController:
        return self._controller

    def interactorStyle(self) -> Any:
        return self._style

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()
        self._logic.SnapSliceOffsetToIJK()

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        """The slices, with what tells views apart in Slicer: the bar with the view's label, the name of the image."""
        super().paintEvent(event)
        painter = QtGui.QPainter(self)
        bar = QtCore.QRect(0, 0, self.width, _BAR_HEIGHT)
        painter.fillRect(bar, QtGui.QColor.fromRgbF(*self._node.GetLayoutColor()))
        painter.drawText(
            bar.adjusted(6, 0, 0, 0), QtCore.Qt.AlignmentFlag.AlignVCenter, self._node.GetLayoutLabel() or ""
        )
        image = slicer.mrmlScene.GetNodeByID(self.mrmlSliceCompositeNode().GetBackgroundVolumeID() or "")
        if image is not None:
            painter.setPen(QtGui.QColor("#d8d8a0"))
            below = QtCore.Qt.AlignmentFlag.AlignLeft | QtCore.Qt.AlignmentFlag.AlignBottom
            painter.drawText(self.rect.adjusted(6, 0, 0, -4), below, f"B: {image.GetName()}")
        painter.end()
