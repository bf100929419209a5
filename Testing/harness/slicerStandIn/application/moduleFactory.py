"""What Slicer's factory does with a scripted module: loads, registers, makes the panel, enters, leaves, forgets."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import qt
import slicer

from ..mrmlWidgets.mrmlWidget import qMRMLWidget


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The C++ side of a panel, which the module's Python widget gets as its `parent`."""

    def __init__(self, module: "qSlicerScriptedLoadableModule") -> None:
        super().__init__()
        self._module = module
        self._pythonWidget: Any = None
        self._entered = False
        self.setObjectName(f"{module.name}ModuleWidget")
        qt.QVBoxLayout(self)

    isEntered = property(lambda self: self._entered)

    def self(self) -> Any:
        """The Python widget, as in `slicer.modules.mymodule.widgetRepresentation().self()`."""
        return self._pythonWidget

    def reload(self) -> None:
        """Make a new Python widget from the module's present code."""
        widgetClass = getattr(sys.modules[self._module.name], f"{self._module.name}Widget")
        self._pythonWidget = widgetClass(self)
        setattr(slicer.modules, f"{self._module.name}Widget", self._pythonWidget)
        self._pythonWidget.setup()

    def enter(self) -> None:
        self._entered = True
        self._pythonWidget.enter()

    def exit(self) -> None:
        self._entered = False
        self._pythonWidget.exit()


class qSlicerScriptedLoadableModule:
    """The C++ side of a module, which the module's Python class gets as its `parent`."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, str(path)
        self.title, self.helpText, self.acknowledgementText = name, "", ""
        self.categories: list[str] = []
        self.dependencies: list[str] = []
        self.contributors: list[str] = []
        self.associatedNodeTypes: list[str] = []
        self.hidden, self.index, self.icon = False, -1, None
        self.widgetRepresentationCreationEnabled = True
        self._widget: qSlicerScriptedLoadableModuleWidget | None = None

    def widgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        """The panel, made at the first call."""
        if self._widget is None:
            self._widget = self.createNewWidgetRepresentation()
        return self._widget

    def createNewWidgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        widget = qSlicerScriptedLoadableModuleWidget(self)
        widget.setMRMLScene(slicer.mrmlScene)
        widget.reload()
        return widget

    def logic(self) -> None:
        """A scripted module has no C++ logic of its own worth calling."""


def loadModule(path: Path | str) -> qSlicerScriptedLoadableModule:
    """Load the scripted module of the file `path` and register it as `slicer.modules.<name>`."""
    path = Path(path).resolve()
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    specification = importlib.util.spec_from_file_location(name, path)
    code = sys.modules[name] = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(code)
    module = qSlicerScriptedLoadableModule(name, path)
    setattr(slicer.modules, name.lower(), module)
    setattr(slicer.moduleNames, name, name)
    instance = getattr(code, name)(module)
    setattr(slicer.modules, f"{name}Instance", instance)
    if hasattr(instance, "setup"):
        instance.setup()
    slicer.app.moduleManager().moduleLoaded.emit(name)
    return module


def unloadModule(module: qSlicerScriptedLoadableModule) -> None:
    """Leave the panel, clean it up and forget the module, as Slicer does when it ends."""
    widget = module._widget
    if widget is not None:
        if widget.isEntered:
            widget.exit()
        slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(module.name)
        widget.setMRMLScene(None)
        widget.hide()
        widget.deleteLater()
        module._widget = None
    for attribute in (module.name.lower(), f"{module.name}Instance", f"{module.name}Widget"):
        if attribute in vars(slicer.modules):
            delattr(slicer.modules, attribute)
    if hasattr(slicer.moduleNames, module.name):
        delattr(slicer.moduleNames, module.name)
