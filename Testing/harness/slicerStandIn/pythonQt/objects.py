"""What every object of the stand-in's `qt` has in common with PythonQt's."""

from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore

from .signals import BoundSignal, Connections, findSignal


class PythonQtType(type(QtCore.QObject)):  # type: ignore[misc]
    """Type of the stand-in's classes; `isinstance(label, qt.QWidget)` answers by the Qt classes beneath."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> type:
        # PySide6 has its own `connect` for every QObject; only one in the class's own dictionary goes before it.
        for method in ("connect", "disconnect"):
            namespace.setdefault(method, PythonQtObject.__dict__[method])
        return super().__new__(mcs, name, bases, namespace, **options)

    def __instancecheck__(cls, instance: Any) -> bool:
        base = cls.__dict__.get("_qtClass")
        return isinstance(instance, base) if base else super().__instancecheck__(instance)

    def __subclasscheck__(cls, subclass: type) -> bool:
        base = cls.__dict__.get("_qtClass")
        return issubclass(subclass, base) if base else super().__subclasscheck__(subclass)


class PythonQtObject:
    """Mixed into every class: signals by signature, `name`, `delete()`, and no attributes made by misspelling."""

    def connect(self, signature: str, receiver: Any, method: str = "") -> bool:
        """Connect `signature` to a callable, or to `method` of another object as in C++."""
        receiver = getattr(receiver, method.split("(", maxsplit=1)[0]) if method else receiver
        signal, offered = findSignal(self, signature)
        Connections.of(self).add(signature, signal, receiver, offered)
        return True

    def disconnect(self, signature: str, receiver: Any = None, method: str = "") -> bool:
        """Disconnect what `connect` connected; False if it was not."""
        receiver = getattr(receiver, method.split("(", maxsplit=1)[0]) if method else receiver
        findSignal(self, signature)
        return Connections.of(self).remove(signature, receiver)

    def __getattribute__(self, attribute: str) -> Any:
        value = super().__getattribute__(attribute)
        return BoundSignal(self, attribute, value) if type(value) is QtCore.SignalInstance else value

    @property
    def name(self) -> str:
        return QtCore.QObject.property(self, "objectName")

    @name.setter
    def name(self, value: str) -> None:
        self.setObjectName(value)

    def className(self) -> str:
        return type(self).__name__

    def delete(self) -> None:
        shiboken6.delete(self)

    def exec_(self, *arguments: Any) -> Any:
        return self.exec(*arguments)

    def findChildren(self, kind: Any = QtCore.QObject, *arguments: Any) -> list[Any]:
        if isinstance(kind, str):
            return self._childrenOfClass(kind, *arguments)
        return super().findChildren(getattr(kind, "_qtClass", kind), *arguments)

    def findChild(self, kind: Any = QtCore.QObject, *arguments: Any) -> Any:
        if isinstance(kind, str):
            return next(iter(self._childrenOfClass(kind, *arguments)), None)
        return super().findChild(getattr(kind, "_qtClass", kind), *arguments)

    def _childrenOfClass(self, className: str, name: str | None = None) -> list[Any]:
        children = [child for child in super().findChildren(QtCore.QObject) if child.inherits(className)]
        return [child for child in children if name is None or child.objectName == name]

    def __setattr__(self, attribute: str, value: Any) -> None:
        if not hasattr(type(self), attribute) and _refuses(type(self), attribute) and not _isChild(attribute, value):
            raise AttributeError(f"{type(self).__name__} has no attribute {attribute!r}")
        super().__setattr__(attribute, value)


def _refuses(cls: type, attribute: str) -> bool:
    """A plain Qt class takes no new attribute, a stand-in written here only private ones, a module's own class any."""
    if "_qtClass" in cls.__dict__:
        return True
    return cls.__module__.startswith(__package__.split(".")[0]) and not attribute.startswith("_")


def _isChild(attribute: str, value: Any) -> bool:
    """PythonQt finds a child by its name as an attribute; PySide6's .ui loader puts the children there."""
    return isinstance(value, QtCore.QObject) and QtCore.QObject.property(value, "objectName") == attribute


def deriveClass(
    base: type[QtCore.QObject], name: str = "", members: dict[str, Callable[..., Any]] | None = None
) -> type[Any]:
    """Make a PythonQt-like class of the PySide6 class `base`, under its own or another name."""
    namespace = {"_qtClass": base, "__module__": "qt", **(members or {})}
    return PythonQtType(name or base.__name__, (PythonQtObject, base), namespace)
