"""`qMRMLWidget`: the root of a panel's .ui file, which hands the scene on to the widgets in it."""

from typing import Any

from PySide6 import QtCore, QtWidgets

from ..pythonQt.objects import PythonQtObject, PythonQtType


class qSlicerWidget(PythonQtObject, QtWidgets.QWidget, metaclass=PythonQtType):
    """Its signal `mrmlSceneChanged(vtkMRMLScene*)` is what the .ui file's connections start from."""

    mrmlSceneChanged = QtCore.Signal(object)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._scene: Any = None

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class qMRMLWidget(qSlicerWidget):
    """The newer of the two, which also tells its scene. In Slicer neither is derived from the other."""

    def mrmlScene(self) -> Any:
        return self._scene
