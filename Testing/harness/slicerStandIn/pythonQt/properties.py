"""Qt properties as attributes: `button.enabled = False`, `slider.value + 1`, as PythonQt has them.

PySide6 offers getters and setters only (its own `true_property` switch works for each importing module, so a module
written for Slicer cannot be made to use it). Here the properties are put on the PySide6 classes themselves, once.
"""

from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtWidgets

# Their getters are C++ virtuals: Qt calls them by name and would find the property instead of the method.
_VIRTUAL_GETTERS = {"sizeHint", "minimumSizeHint"}


class _QtProperty(property):
    """A property on objects which, asked of the class, gives the method it hides (e.g. `QTimer.singleShot`)."""

    hiddenMethod: Any = None

    def __get__(self, obj: Any, owner: type | None = None) -> Any:
        if obj is None:
            return self if self.hiddenMethod is None else self.hiddenMethod
        return super().__get__(obj, owner)


def _getter(cls: type, name: str) -> Callable[[Any], Any]:
    method = cls.__dict__.get(name) or cls.__dict__.get(f"is{name[0].upper()}{name[1:]}")
    if method is None or isinstance(method, (staticmethod, property)):
        return lambda self: QtCore.QObject.property(self, name)
    return lambda self: method.__get__(self)()


def _setter(cls: type, name: str, isText: bool) -> Callable[[Any, Any], Any]:
    method = getattr(cls, f"set{name[0].upper()}{name[1:]}", None)
    if method is None:
        return lambda self, value: self.setProperty(name, value)
    if isText:  # PythonQt makes a text of whatever it is given
        return lambda self, value: method(self, value if isinstance(value, str) else str(value))
    return method


def exposeProperties(cls: type[QtCore.QObject]) -> None:
    """Make each Qt property that `cls` declares readable and, where Qt allows, writable as an attribute."""
    meta = cls.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        declared = meta.property(index)
        name = declared.name()
        if name in _VIRTUAL_GETTERS or (cls is QtWidgets.QProgressBar and name == "text"):
            continue
        exposed = _QtProperty(
            _getter(cls, name), _setter(cls, name, declared.typeName() == "QString") if declared.isWritable() else None
        )
        exposed.hiddenMethod = getattr(cls, name, None)
        setattr(cls, name, exposed)
