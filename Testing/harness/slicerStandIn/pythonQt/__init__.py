"""A `qt` module that behaves like Slicer's PythonQt one, made from PySide6."""

from .immortalSingletons import keepSingletonsAlive
from .objects import PythonQtObject, deriveClass
from .qtModule import makeQtModule
from .uiLoader import registerWidgetClasses

__all__ = ["PythonQtObject", "deriveClass", "keepSingletonsAlive", "makeQtModule", "registerWidgetClasses"]
