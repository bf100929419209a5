"""pytest fixtures. A conftest.py imports them by name: `from slicerStandIn.testing.fixtures import *`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import slicer
from PySide6 import QtCore, QtWidgets

from ..application.moduleFactory import loadModule as _loadModule
from ..application.moduleFactory import unloadModule as _unloadModule
from ..application.settings import clearSettings
from ..start import start
from .dialogs import Dialogs, answeredDialogs
from .errorWatch import ErrorWatch
from .pip import Pip, refusedPip
from .vtkErrorWatch import VtkErrorWatch

__all__ = [
    "_window",
    "dialogs",
    "loadModule",
    "mainWindow",
    "noUncaughtExceptions",
    "noVtkErrors",
    "pip",
    "scene",
    "slicerApp",
]

_MODULE_STATE = ("vtkMRMLScriptedModuleNode", "vtkMRMLSegmentEditorNode")


@pytest.fixture(scope="session")
def slicerApp() -> Any:
    """`slicer.app`, one for all tests of the process."""
    return start()


@pytest.fixture(autouse=True)
def noUncaughtExceptions(slicerApp: Any) -> Iterator[ErrorWatch]:
    """Fails a test in which a slot, an observer or a thread raised; `take()` of it gives and forgives the errors."""
    watch = ErrorWatch()
    watch.start()
    try:
        yield watch
        _letPendingEventsHappen(slicerApp)
    finally:
        watch.stop()
    watch.raiseIfAny()


@pytest.fixture(autouse=True)
def noVtkErrors(slicerApp: Any) -> Iterator[VtkErrorWatch]:
    """Fails a test in which VTK or MRML reported an error; `take()` of it gives and forgives the errors."""
    watch = VtkErrorWatch()
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()
    watch.raiseIfAny()


@pytest.fixture(autouse=True)
def dialogs(slicerApp: Any) -> Iterator[Dialogs]:
    """`dialogs.answer(...)` answers the modal dialogs to come; one that nobody answers fails instead of hanging."""
    with answeredDialogs() as answered:
        yield answered


@pytest.fixture(autouse=True)
def pip(slicerApp: Any) -> Iterator[Pip]:
    """Without `pip.runner = …` a test in which pip is run for Slicer's Python fails."""
    with refusedPip() as refused:
        yield refused


@pytest.fixture
def scene(slicerApp: Any) -> Iterator[Any]:
    """`slicer.mrmlScene`, empty but for what Slicer itself keeps in it."""
    _emptyScene()
    clearSettings()
    yield slicer.mrmlScene
    _emptyScene()


@pytest.fixture(scope="session")
def _window(slicerApp: Any) -> Any:
    from ..views.mainWindow import qSlicerMainWindow

    return qSlicerMainWindow()


@pytest.fixture
def mainWindow(scene: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Slicer's main window with live slice views; without this fixture there is none, as with --no-main-window."""
    from ..views.rendering import NoRendering

    try:
        window = request.getfixturevalue("_window")
    except NoRendering as reason:
        pytest.fail(str(reason), pytrace=False)
    window.open()
    yield window
    window.close_()


@pytest.fixture
def loadModule(scene: Any) -> Iterator[Callable[[Path | str], Any]]:
    """`loadModule(path)` loads a scripted module; it is left, cleaned up and forgotten after the test."""
    loaded: list[Any] = []

    def load(path: Path | str) -> Any:
        loaded.append(_loadModule(path))
        return loaded[-1]

    yield load
    for module in reversed(loaded):
        _unloadModule(module)


def _emptyScene() -> None:
    slicer.mrmlScene.Clear(0)
    for className in _MODULE_STATE:
        for node in slicer.util.getNodesByClass(className):
            slicer.mrmlScene.RemoveNode(node)


def _letPendingEventsHappen(application: Any) -> None:
    application.processEvents()
    QtWidgets.QApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete.value)
    application.processEvents()
