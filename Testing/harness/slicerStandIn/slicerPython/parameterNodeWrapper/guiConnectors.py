"""Which widget can show which type; as in Slicer the widget's class must be exactly the one named, none derived."""

import enum
import pathlib
from collections.abc import Callable
from typing import Any

from .typeHints import findFirstAnnotation, nodeClasses, splitAnnotations, unannotatedType
from .validators import Choice, Decimals, Maximum, Minimum, RangeBounds, SingleStep, WithinRange
from .valueRange import FloatRange


class GuiConnector:
    """Reads and writes a widget through given functions and tells of changes by one of its signals."""

    def __init__(self, widget: Any, signal: str, read: Callable[[], Any], write: Callable[[Any], None]) -> None:
        self._widget, self._signal = widget, signal
        self.read, self.write = read, write
        self._callback: Callable[[], None] | None = None

    def widget(self) -> Any:
        return self._widget

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        signal = getattr(self._widget, self._signal)
        if callback is None:
            signal.disconnect(self._changed)
        else:
            signal.connect(self._changed)
        self._callback = callback

    def _changed(self, *arguments: Any) -> None:
        if self._callback is not None:
            self._callback()


def createGuiConnector(widget: Any, datatype: Any) -> GuiConnector:
    """Give the connector of a widget and a type hint; RuntimeError if Slicer has none for the two."""
    for make in (_bool, _number, _choice, _text, _path, _node, _range):
        connector = make(widget, unannotatedType(datatype), splitAnnotations(datatype)[1], datatype)
        if connector is not None:
            return connector
    raise RuntimeError(f"no widget of class {type(widget).__name__} can be bound to a parameter of {datatype}")


def _attribute(
    widget: Any, signal: str, name: str, convert: Callable[[Any], Any] = lambda value: value
) -> GuiConnector:
    return GuiConnector(
        widget, signal, lambda: convert(getattr(widget, name)), lambda value: setattr(widget, name, value)
    )


def _bool(widget: Any, base: Any, annotations: list[Any], datatype: Any) -> GuiConnector | None:
    import qt

    if base is not bool or type(widget) not in (qt.QCheckBox, qt.QPushButton):
        return None
    if type(widget) is qt.QPushButton:
        widget.checkable = True
    return _attribute(widget, "toggled", "checked")


def _number(widget: Any, base: Any, annotations: list[Any], datatype: Any) -> GuiConnector | None:
    import ctk
    import qt

    widgets = {int: (qt.QSlider, qt.QSpinBox), float: (qt.QDoubleSpinBox, ctk.ctkSliderWidget)}
    if base not in widgets or type(widget) not in widgets[base]:
        return None
    for kind, name in ((Decimals, "decimals"), (SingleStep, "singleStep")):
        found = findFirstAnnotation(annotations, kind)
        if found is not None:
            setattr(widget, name, found.value)
    lowest, highest = _bounds(annotations)
    if (lowest is None or highest is None) and type(widget) in (qt.QSlider, ctk.ctkSliderWidget):
        raise RuntimeError(f"the slider {widget.name!r} needs a parameter with a range (WithinRange)")
    widest = 2**31 - 1 if base is int else 1e300
    widget.minimum = -widest if lowest is None else lowest
    widget.maximum = widest if highest is None else highest
    return _attribute(widget, "valueChanged", "value")


def _bounds(annotations: list[Any]) -> tuple[Any, Any]:
    within = findFirstAnnotation(annotations, WithinRange)
    if within is not None:
        return within.minimum, within.maximum
    lowest, highest = findFirstAnnotation(annotations, Minimum), findFirstAnnotation(annotations, Maximum)
    return (lowest.minimum if lowest else None), (highest.maximum if highest else None)


def _choice(widget: Any, base: Any, annotations: list[Any], datatype: Any) -> GuiConnector | None:
    import qt

    if type(widget) is not qt.QComboBox:
        return None
    if isinstance(base, type) and issubclass(base, enum.Enum):
        label = getattr(base, "label", lambda member: member.name)
        labels = {member: label(member) for member in base}
    elif base in (int, float, str, bool):
        choice = findFirstAnnotation(annotations, Choice)
        if choice is None:
            raise RuntimeError(f"the combo box {widget.name!r} needs a parameter with choices (Choice)")
        labels = {value: str(value) for value in choice.choices}
    else:
        return None
    widget.clear()
    for text in labels.values():
        widget.addItem(text)
    values = list(labels)

    def write(value: Any) -> None:
        widget.currentIndex = values.index(value)

    return GuiConnector(widget, "currentIndexChanged", lambda: values[widget.currentIndex], write)


def _text(widget: Any, base: Any, annotations: list[Any], datatype: Any) -> GuiConnector | None:
    import qt

    if base is not str:
        return None
    if type(widget) is qt.QLineEdit:
        return _attribute(widget, "textChanged", "text")
    if type(widget) is qt.QTextEdit:

        def write(value: str) -> None:
            if widget.toPlainText() != value:
                widget.setPlainText(value)

        return GuiConnector(widget, "textChanged", widget.toPlainText, write)
    return None


def _path(widget: Any, base: Any, annotations: list[Any], datatype: Any) -> GuiConnector | None:
    import ctk

    if not (isinstance(base, type) and issubclass(base, pathlib.PurePath)):
        return None
    names = {ctk.ctkPathLineEdit: "currentPath", ctk.ctkDirectoryButton: "directory"}
    if type(widget) not in names:
        return None
    name = names[type(widget)]
    return GuiConnector(
        widget, f"{name}Changed", lambda: base(getattr(widget, name)), lambda path: setattr(widget, name, str(path))
    )


def _node(widget: Any, base: Any, annotations: list[Any], datatype: Any) -> GuiConnector | None:
    import slicer

    if type(widget) is not slicer.qMRMLNodeComboBox or not nodeClasses(datatype):
        return None
    widget.nodeTypes = nodeClasses(datatype)
    return GuiConnector(widget, "currentNodeChanged", widget.currentNode, widget.setCurrentNode)


def _range(widget: Any, base: Any, annotations: list[Any], datatype: Any) -> GuiConnector | None:
    import ctk

    if base is not FloatRange or type(widget) is not ctk.ctkRangeWidget:
        return None
    bounds = findFirstAnnotation(annotations, RangeBounds)
    if bounds is not None:
        widget.setRange(bounds.minimum, bounds.maximum)
    return GuiConnector(
        widget,
        "valuesChanged",
        lambda: FloatRange(widget.minimumValue, widget.maximumValue),
        lambda value: widget.setValues(value.minimum, value.maximum),
    )
