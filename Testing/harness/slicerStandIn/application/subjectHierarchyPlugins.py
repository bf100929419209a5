"""Plugins of the subject hierarchy: the handler that knows them, and the C++ side of one that is written in Python.

Of the plugins' methods only those of the context menu are called, as the tree view of the module Data calls them.
"""

import importlib.util
import sys
from pathlib import Path
from typing import Any, ClassVar

import slicer
from PySide6 import QtCore, QtGui

from ..pythonQt.objects import PythonQtObject, PythonQtType

SUFFIX = "SubjectHierarchyPlugin"


class qSlicerSubjectHierarchyScriptedPlugin(PythonQtObject, QtCore.QObject, metaclass=PythonQtType):
    """Hands the calls of the handler on to an instance of the Python class that `setPythonSource` names."""

    def __init__(self, parent: QtCore.QObject | None = None) -> None:
        super().__init__(parent)
        self._name, self._self, self._source = "UnnamedScriptedPlugin", None, ""

    def _setName(self, name: str) -> None:
        self._name = name

    name = QtCore.Property(str, lambda self: self._name, _setName)

    def setPythonSource(self, filePath: str) -> bool:
        """Load the file as a module of its base name and make an instance of its class of that name, with us in hand.

        A module that is loaded already is not loaded again.
        """
        if not filePath.endswith((".py", ".pyc")):
            return False
        moduleName = Path(filePath).name.split(".")[0]
        className = moduleName if moduleName.endswith(SUFFIX) else moduleName + SUFFIX
        module = sys.modules.get(moduleName)
        if module is None or not hasattr(module, className):
            specification = importlib.util.spec_from_file_location(moduleName, filePath)
            module = sys.modules[moduleName] = importlib.util.module_from_spec(specification)
            specification.loader.exec_module(module)
        if not hasattr(module, className):
            raise RuntimeError(f"class {className} was not found in {filePath}")
        self._self = getattr(module, className)(self)
        self._source = filePath
        setattr(slicer, className, self._self)
        return True

    def pythonSource(self) -> str:
        return self._source

    def self(self) -> Any:
        return self._self

    def canOwnSubjectHierarchyItem(self, item: int) -> float:
        return float(self._call("canOwnSubjectHierarchyItem", item) or 0.0)

    def itemContextMenuActions(self) -> list[QtGui.QAction]:
        return list(self._call("itemContextMenuActions") or [])

    def showContextMenuActionsForItem(self, item: int) -> None:
        self._call("showContextMenuActionsForItem", item)

    def hideAllContextMenuActions(self) -> None:
        for action in self.itemContextMenuActions():
            action.setVisible(False)

    def _call(self, name: str, *arguments: Any) -> Any:
        """A method of the Python side; one that it leaves out does nothing."""
        method = getattr(self._self, name, None)
        return method(*arguments) if method is not None else None


class qSlicerSubjectHierarchyPluginHandler:
    """Knows the plugins that were registered, and the item that is chosen in the tree."""

    _instance: ClassVar["qSlicerSubjectHierarchyPluginHandler | None"] = None

    def __init__(self) -> None:
        self._plugins: list[Any] = []
        self._currentItem = 0

    @classmethod
    def instance(cls) -> "qSlicerSubjectHierarchyPluginHandler":
        """The only one."""
        if cls._instance is None:
            cls._instance = cls()
        return cls._instance

    def registerPlugin(self, plugin: Any) -> bool:
        """False where the name is empty, or taken by another."""
        if not plugin.name or any(plugin.name == other.name for other in self._plugins):
            return False
        self._plugins.append(plugin)
        return True

    def registeredPlugins(self) -> list[Any]:
        return list(self._plugins)

    allPlugins = registeredPlugins

    def subjectHierarchyNode(self) -> Any:
        return slicer.mrmlScene.GetSubjectHierarchyNode()

    def currentItem(self) -> int:
        return self._currentItem

    def setCurrentItem(self, item: int) -> None:
        self._currentItem = item


def contextMenu(item: int) -> dict[str, QtGui.QAction]:
    """What a right click on an item of the tree offers, by text; entries of Slicer's own plugins are not there."""
    handler = qSlicerSubjectHierarchyPluginHandler.instance()
    for plugin in handler.allPlugins():
        plugin.hideAllContextMenuActions()
    handler.setCurrentItem(item)
    for plugin in handler.allPlugins():
        plugin.showContextMenuActionsForItem(item)
    actions = [action for plugin in handler.allPlugins() for action in plugin.itemContextMenuActions()]
    return {action.text: action for action in actions if action.visible}
