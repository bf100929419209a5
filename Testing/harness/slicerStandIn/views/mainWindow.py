"""Slicer's main window as far as a module's user sees it: the module's panel at the left, the views at the right."""

from typing import Any

import qt
import slicer
from PySide6 import QtWidgets

from ..pythonQt.objects import PythonQtObject, PythonQtType
from .layoutManager import qSlicerLayoutManager
from .modulePanel import qSlicerModulePanel

_NAME = "qSlicerMainWindow"


class qSlicerMainWindow(PythonQtObject, QtWidgets.QMainWindow, metaclass=PythonQtType):
    """Made once in a process; `open` and `close_` let a test have it or not."""

    def __init__(self) -> None:
        super().__init__()
        self.setWindowTitle("Slicer stand-in")
        self.setStatusBar(qt.QStatusBar())
        self._module: Any = None
        self._layoutManager = qSlicerLayoutManager()
        self._panel = qSlicerModulePanel()
        splitter = QtWidgets.QSplitter()
        splitter.addWidget(self._panel)
        splitter.addWidget(self._layoutManager)
        splitter.setStretchFactor(1, 1)
        self.setCentralWidget(splitter)
        self.resize(1280, 860)
        slicer.app.moduleManager().moduleAboutToBeUnloaded.connect(self._onModuleAboutToBeUnloaded)

    def layoutManager(self) -> qSlicerLayoutManager:
        return self._layoutManager

    def open(self) -> None:
        """Show the window; from now on slicer.util.mainWindow() finds it."""
        self.setObjectName(_NAME)
        slicer.app._setLayoutManager(self._layoutManager)
        self._layoutManager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self.show()
        slicer.app.processEvents()

    def close_(self) -> None:
        """Leave the module shown and hide the window."""
        self.selectModule(None)
        self.hide()
        self.setObjectName("")
        slicer.app._setLayoutManager(None)

    def selectModule(self, module: Any) -> None:
        """Leave the module shown so far, then show and enter `module` (None for no module)."""
        if self._module is not None:
            self._module.widgetRepresentation().exit()
            self._takePanelOut()
        self._module = module
        if module is not None:
            self._panel.addModule(module)

    def _onModuleAboutToBeUnloaded(self, name: str) -> None:
        if self._module is not None and self._module.name == name:
            self._takePanelOut()

    def _takePanelOut(self) -> None:
        self._module = None
        self._panel.takeModule()

    def selectedModule(self) -> str:
        return self._module.name if self._module is not None else ""

    def moduleSelector(self) -> "ModuleSelector":
        return ModuleSelector(self)


class ModuleSelector:
    """What slicer.util.selectModule talks to."""

    def __init__(self, window: qSlicerMainWindow) -> None:
        self._window = window
        self.selectedModule = window.selectedModule()

    def selectModule(self, name: str) -> None:
        self._window.selectModule(getattr(slicer.modules, name.lower()))
