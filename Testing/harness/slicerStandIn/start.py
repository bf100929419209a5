"""Starts the stand-in: after `start()` a script may `import slicer, qt, ctk` as it would in Slicer."""

import atexit
import importlib
import os
import shutil
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_IMPORTABLE_MODULES = _HERE / "importableModules"
_SLICER_PYTHON = "SLICER_PYTHON"


def start() -> Any:
    """Start the application of this process, once, and give `slicer.app`."""
    import slicer

    if hasattr(slicer, "app"):
        return slicer.app
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    _installQt()
    # Only now: what is on the path while `slicer` itself is imported would be imported with it.
    slicer.__path__.append(str(pythonOfSlicer()))
    sys.path.append(str(_IMPORTABLE_MODULES))
    _installWidgets(slicer)
    return _makeApplication(slicer)


def pythonOfSlicer() -> Path:
    """Folder of `ScriptedLoadableModule` and its like: Slicer's own, where SLICER_PYTHON names it, else ours."""
    named = os.environ.get(_SLICER_PYTHON)
    if not named:
        return _HERE / "slicerPython"
    folder = Path(named).resolve()
    if not (folder / "ScriptedLoadableModule.py").is_file():
        raise FileNotFoundError(
            f"{_SLICER_PYTHON} names {folder}, which is not the folder Base/Python/slicer of Slicer"
        )
    return folder


def _installQt() -> None:
    from .pythonQt import keepSingletonsAlive, makeQtModule

    keepSingletonsAlive()
    sys.modules["qt"] = makeQtModule()


def _installWidgets(slicer: types.ModuleType) -> None:
    from .pythonQt import registerWidgetClasses

    ctkWidgets = importlib.import_module(".ctkWidgets", __package__)
    mrmlWidgets = importlib.import_module(".mrmlWidgets", __package__)
    sys.modules["ctk"] = ctkWidgets.makeCtkModule()
    registerWidgetClasses(ctkWidgets.CTK_CLASSES | mrmlWidgets.MRML_CLASSES)
    slicer.__dict__.update(mrmlWidgets.MRML_CLASSES)


def _makeApplication(slicer: types.ModuleType) -> Any:
    from .application.app import qSlicerApplication
    from .application.coreModules import Modules
    from .application.moduleFactory import qSlicerScriptedLoadableModule, qSlicerScriptedLoadableModuleWidget
    from .application.subjectHierarchyPlugins import (
        qSlicerSubjectHierarchyPluginHandler,
        qSlicerSubjectHierarchyScriptedPlugin,
    )

    folder = Path(tempfile.mkdtemp(prefix="slicer-stand-in-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    slicer.app = qSlicerApplication(folder)
    slicer.mrmlScene = slicer.app.mrml().scene
    slicer.modules = Modules(slicer.app.mrml().moduleLogics)
    slicer.moduleNames = types.SimpleNamespace()
    slicer.qSlicerScriptedLoadableModule = qSlicerScriptedLoadableModule
    slicer.qSlicerScriptedLoadableModuleWidget = qSlicerScriptedLoadableModuleWidget
    slicer.qSlicerSubjectHierarchyPluginHandler = qSlicerSubjectHierarchyPluginHandler
    slicer.qSlicerSubjectHierarchyScriptedPlugin = qSlicerSubjectHierarchyScriptedPlugin
    slicer.util.__dict__.setdefault("slicer", slicer)
    return slicer.app
