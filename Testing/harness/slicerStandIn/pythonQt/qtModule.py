"""Puts the `qt` module together: QtCore, QtGui, QtWidgets, QtUiTools and QtTest in one namespace, as in Slicer."""

import functools
import types
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtGui, QtTest, QtUiTools, QtWidgets

from .objects import deriveClass
from .properties import exposeProperties
from .uiLoader import UiLoader, registerWidgetClasses

# One application object exists and cannot be derived a second time; slicer.app is it.
_KEPT_AS_THEY_ARE = {"QCoreApplication", "QGuiApplication", "QApplication"}

_singleShotOfQt = QtCore.QTimer.singleShot


def _collectNames() -> dict[str, Any]:
    names: dict[str, Any] = {}
    for module in (QtCore, QtGui, QtWidgets, QtUiTools, QtTest):
        for name in dir(module):
            if name.startswith("_"):
                continue
            member = getattr(module, name)
            if isinstance(member, type) and issubclass(member, QtCore.QObject):
                exposeProperties(member)
                member = member if name in _KEPT_AS_THEY_ARE else _derived(member)
            names[name] = member
    names["QUiLoader"] = UiLoader
    names["QScrollArea"] = _withItsOwnBars(names["QScrollArea"], names["QScrollBar"])
    QtCore.QTimer.__dict__["singleShot"].hiddenMethod = _singleShot
    return names


def _singleShot(milliseconds: int, receiver: Callable[[], Any]) -> None:
    """As PythonQt's (static_QTimer_singleShot in PythonQtStdDecorators.cpp): holds the receiver until it was called."""
    _singleShotOfQt(milliseconds, functools.partial(receiver))


def _derived(cls: type[QtCore.QObject]) -> type:
    try:
        return deriveClass(cls)
    except TypeError:  # a few classes are final in PySide6
        return cls


def _withItsOwnBars(areaClass: type, barClass: type) -> type:
    """A scroll area makes its bars in C++, and PySide6 knows none of PythonQt's manners for what is made there."""

    class QScrollArea(areaClass):  # type: ignore[misc]
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.setVerticalScrollBar(barClass(QtCore.Qt.Orientation.Vertical))
            self.setHorizontalScrollBar(barClass(QtCore.Qt.Orientation.Horizontal))

    return QScrollArea


def makeQtModule() -> types.ModuleType:
    """Make the module to be imported as `qt`. Changes the PySide6 classes, so once in a process."""
    module = types.ModuleType("qt", "Stand-in for Slicer's PythonQt module `qt`, over PySide6.")
    module.__dict__.update(_collectNames())
    registerWidgetClasses({name: member for name, member in vars(module).items() if isinstance(member, type)})
    return module
