"""An off-screen VTK window in which MRML's own displayable managers draw."""

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
import vtk
from vtkmodules.util.numpy_support import vtk_to_numpy

from .rendering import renderWindowClass


class RenderView:
    """Window, renderer, interactor and the displayable managers of one view node."""

    def __init__(self, factoryClass: Any, managers: list[str], onRenderWanted: Callable[[], None]) -> None:
        renderWindowClass()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.renderer = vtk.vtkRenderer()
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.SetEnableRender(False)
        self.managers = slicer.vtkMRMLDisplayableManagerGroup()
        self.managers.Initialize(_factory(factoryClass, managers), self.renderer)
        self.managers.AddObserver(vtk.vtkCommand.UpdateEvent, lambda caller, event: onRenderWanted())

    def resize(self, width: int, height: int) -> None:
        self.window.SetSize(width, height)
        self.interactor.SetSize(width, height)
        self.interactor.InvokeEvent("WindowResizeEvent")

    def pixels(self) -> np.ndarray:
        """Render and give the picture: height × width × 3, uint8, the first row at the top."""
        self.window.Render()
        width, height = self.window.GetSize()
        values = vtk.vtkUnsignedCharArray()
        self.window.GetPixelData(0, 0, width - 1, height - 1, 0, values, 0)
        return np.ascontiguousarray(vtk_to_numpy(values).reshape(height, width, 3)[::-1])


def _factory(factoryClass: Any, managers: list[str]) -> Any:
    factory = factoryClass.GetInstance()
    factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
    for manager in managers:
        if hasattr(slicer, manager) and not factory.IsDisplayableManagerRegistered(manager):
            factory.RegisterDisplayableManager(manager)
    return factory
