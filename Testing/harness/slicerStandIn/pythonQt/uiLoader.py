"""`qt.QUiLoader`: reads a .ui file into the stand-in's classes and makes its `<connections>`."""

import xml.etree.ElementTree as ElementTree
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from .signals import findSignal

_widgetClasses: dict[str, type] = {}


def registerWidgetClasses(classes: dict[str, type]) -> None:
    """Let .ui files name these classes."""
    _widgetClasses.update(classes)


class UiLoader(QtUiTools.QUiLoader):
    """Loads .ui files; a class that the stand-in does not know is an error, in Slicer a hole in the panel."""

    def __init__(self, parent: QtCore.QObject | None = None) -> None:
        super().__init__(parent)
        self._made: dict[str, Any] = {}

    def createWidget(self, className: str, parent: Any = None, name: str = "") -> Any:
        if className == "Line":
            return super().createWidget(className, parent, name)
        if className not in _widgetClasses:
            raise RuntimeError(f"the stand-in has no widget class {className!r} (object {name!r} of the .ui file)")
        widget = _widgetClasses[className](parent) if parent is not None else _widgetClasses[className]()
        widget.setObjectName(name)
        self._made[name] = widget
        return widget

    def createLayout(self, className: str, parent: Any = None, name: str = "") -> Any:
        cls = _widgetClasses[className]
        layout = cls(parent) if isinstance(parent, QtWidgets.QWidget) and parent.layout() is None else cls()
        layout.setObjectName(name)
        self._made[name or str(id(layout))] = layout
        return layout

    def createAction(self, parent: Any = None, name: str = "") -> Any:
        action = _widgetClasses["QAction"](parent)
        action.setObjectName(name)
        self._made[name] = action
        return action

    def load(self, device: Any, parent: Any = None) -> Any:
        """Load the .ui file open in `device`; layouts and widgets stay alive as long as the result."""
        self._made = {}
        root = ElementTree.fromstring(bytes(device.readAll()))
        wires = _takeConnections(root)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        widget = super().load(buffer, parent)
        if widget is None:
            return None
        for sender, signal, receiver, slot in wires:
            self._connect(sender, signal, receiver, slot)
        widget.__dict__["_loadedFromUi"] = self._made
        return widget

    def _connect(self, sender: str, signal: str, receiver: str, slot: str) -> None:
        for name in (sender, receiver):
            if name not in self._made:
                raise RuntimeError(f"<connections> of the .ui file names {name!r}, which is not in it")
        bound, _ = findSignal(self._made[sender], signal)
        bound.raw.connect(getattr(self._made[receiver], slot.split("(", maxsplit=1)[0]))


def _takeConnections(root: ElementTree.Element) -> list[tuple[str, str, str, str]]:
    """Remove the connections: Qt's own loader does not know slots that take a `vtkMRMLScene*`."""
    section = root.find("connections")
    if section is None:
        return []
    root.remove(section)
    fields = ("sender", "signal", "receiver", "slot")
    return [tuple(entry.findtext(field, "") for field in fields) for entry in section]  # type: ignore[misc]
