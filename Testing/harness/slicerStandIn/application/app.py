"""`slicer.app`."""

import os
import types
from pathlib import Path
from typing import Any

import qt
import slicer
from PySide6 import QtCore, QtWidgets

from ..pythonQt.objects import PythonQtObject, PythonQtType
from .coreIOManager import CoreIOManager
from .mrmlApplication import MrmlApplication
from .qtMessages import quietQtMessages
from .settings import redirectSettings


class ModuleManager(PythonQtObject, QtCore.QObject, metaclass=PythonQtType):
    """Tells of modules that come and go."""

    moduleLoaded = QtCore.Signal(str)
    moduleAboutToBeUnloaded = QtCore.Signal(str)

    def module(self, name: str) -> Any:
        return getattr(slicer.modules, name.lower(), None)

    def modulesNames(self) -> list[str]:
        return [module.name for module in vars(slicer.modules).values() if hasattr(module, "widgetRepresentation")]

    loadedModuleNames = modulesNames

    def factoryManager(self) -> "ModuleManager":
        return self


class qSlicerApplication(PythonQtObject, QtWidgets.QApplication, metaclass=PythonQtType):
    """The application object: Qt's event loop and the way to the scene, the views and the files.

    It runs in testing mode, in which slicer.util shows no message boxes and answers them itself.
    """

    startupCompleted = QtCore.Signal()
    mrmlSceneChanged = QtCore.Signal(object)

    def __init__(self, temporaryFolder: Path) -> None:
        super().__init__(["Slicer stand-in"])
        quietQtMessages()
        self.setApplicationName("Slicer")
        self.setOrganizationName("slicer-stand-in")
        self._folder = temporaryFolder
        for name in ("settings", "cache", "temporary", "extensions"):
            (temporaryFolder / name).mkdir()
        redirectSettings(temporaryFolder / "settings")
        self._mrml = MrmlApplication(temporaryFolder / "cache")
        self._moduleManager = ModuleManager()
        self._ioManager = CoreIOManager()
        self._layoutManager: Any = None
        self._testing = True
        self._startupEnvironment = dict(os.environ)

    majorVersion, minorVersion, applicationVersion = 5, 13, "5.13.0"
    revision = repositoryRevision = "stand-in"
    slicerHome = property(lambda self: str(self._folder))
    temporaryPath = property(lambda self: str(self._folder / "temporary"))
    cachePath = property(lambda self: str(self._folder / "cache"))
    extensionsInstallPath = property(lambda self: str(self._folder / "extensions"))

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def mrml(self) -> MrmlApplication:
        return self._mrml

    def applicationLogic(self) -> Any:
        return self._mrml.logic

    def coreIOManager(self) -> CoreIOManager:
        return self._ioManager

    ioManager = coreIOManager

    def moduleManager(self) -> ModuleManager:
        return self._moduleManager

    def layoutManager(self) -> Any:
        """None while there is no main window, as in Slicer."""
        return self._layoutManager

    def _setLayoutManager(self, layoutManager: Any) -> None:
        self._layoutManager = layoutManager

    def testingEnabled(self) -> bool:
        return self._testing

    def commandOptions(self) -> types.SimpleNamespace:
        return types.SimpleNamespace(noMainWindow=self._layoutManager is None, testingEnabled=self._testing)

    def settings(self) -> Any:
        return qt.QSettings()

    userSettings = revisionUserSettings = settings

    def startupEnvironment(self) -> Any:
        """A QProcessEnvironment with what the process was started with."""
        environment = qt.QProcessEnvironment()
        for name, value in self._startupEnvironment.items():
            environment.insert(name, value)
        return environment

    def pauseRender(self) -> None:
        """Accepted; views render when the event loop comes round."""

    def resumeRender(self) -> None:
        """See pauseRender."""

    def translate(self, context: str, text: str) -> str:
        return text

    def moduleDocumentationUrl(self, module: str) -> str:
        return f"https://slicer.readthedocs.io/en/latest/user_guide/modules/{module.lower()}.html"
