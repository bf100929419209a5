"""`slicer.parameterNodeWrapper` in brief: typed parameters in a node of the scene, bound to widgets.

Booleans, numbers, texts, enumerations and nodes, as the modules tested here declare them, kept in the scene in Slicer's
form. For all else Slicer's own package is there (SLICER_PYTHON); what this one does not have it refuses.
"""

import enum
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import slicer
import vtk

SlicerParameterNamePropertyName = "SlicerParameterName"


@dataclass
class Default:
    """The value of a parameter not set yet."""

    value: Any


@dataclass
class WithinRange:
    """Ends included."""

    minimum: float
    maximum: float

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"expected {self.minimum}…{self.maximum}, found {value}")


@dataclass
class Choice:
    """The values allowed."""

    choices: list[Any]

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"expected one of {self.choices}, found {value!r}")


class _Parameter:
    """Name, type, checks and default of a declared parameter; writes and reads its text or its reference."""

    def __init__(self, name: str, hint: Any, owner: type) -> None:
        self.name, self.hint = name, hint
        annotated = typing.get_origin(hint) is typing.Annotated
        self.type, *annotations = typing.get_args(hint) if annotated else (hint,)
        self.isNode = isinstance(self.type, type) and issubclass(self.type, slicer.vtkMRMLNode)
        self.isEnum = isinstance(self.type, type) and issubclass(self.type, enum.Enum)
        if not (self.isNode or self.isEnum or self.type in (bool, int, float, str)):
            raise TypeError(f"the stand-in keeps no parameter of type {hint!r}: run with Slicer's own (SLICER_PYTHON)")
        self.validators = [each for each in annotations if hasattr(each, "validate")]
        empty = None if self.isNode else next(iter(self.type)) if self.isEnum else self.type()
        declared = next((each.value for each in annotations if isinstance(each, Default)), empty)
        self.default = getattr(owner, name, declared)
        self.check(self.default)

    def annotation(self, kind: type) -> Any:
        return next((each for each in self.validators if isinstance(each, kind)), None)

    def check(self, value: Any) -> None:
        accepted = (int, float) if self.type is float else self.type
        if value is None:
            if not self.isNode:
                raise ValueError(f"{self.name}: the value must not be None")
        elif not isinstance(value, accepted):
            raise TypeError(f"{self.name}: expected {self.type}, found {value!r}")
        for validator in self.validators:
            validator.validate(value)

    def write(self, node: Any, value: Any) -> None:
        self.check(value)
        with slicer.util.NodeModify(node):
            if self.isNode:
                node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
            node.SetParameter(self.name, "" if self.isNode else value.name if self.isEnum else str(value))

    def read(self, node: Any) -> Any:
        if not node.HasParameter(self.name):
            self.write(node, self.default)
        if self.isNode:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        return text == "True" if self.type is bool else self.type[text] if self.isEnum else self.type(text)


class _Binding:
    """A widget that shows a parameter: by which property, and by which signal it tells of a change."""

    def __init__(self, widget: Any, parameter: _Parameter) -> None:
        self.widget = widget
        self.values: list[Any] | None = None
        self.property, self.signal = self._find(parameter)

    def _find(self, parameter: _Parameter) -> tuple[str, str]:
        import ctk
        import qt

        # As in Slicer the class must be exactly the one named, none derived from it.
        kind, type_ = type(self.widget), parameter.type
        if type_ is bool and kind in (qt.QCheckBox, ctk.ctkCheckBox):
            return "checked", "toggled"
        if type_ is str and kind is qt.QLineEdit:
            return "text", "textChanged"
        if parameter.isNode and kind is slicer.qMRMLNodeComboBox:
            self.widget.nodeTypes = [type_.__name__]
            return "currentNode", "currentNodeChanged"
        if kind is qt.QComboBox and (parameter.isEnum or parameter.annotation(Choice)):
            self.values = list(type_) if parameter.isEnum else parameter.annotation(Choice).choices
            self.widget.clear()
            for value in self.values:
                self.widget.addItem(value.name if parameter.isEnum else str(value))
            return "currentIndex", "currentIndexChanged"
        sliders = (qt.QSlider, ctk.ctkSliderWidget)
        if kind in ((qt.QSpinBox, qt.QSlider) if type_ is int else (qt.QDoubleSpinBox, ctk.ctkSliderWidget)):
            within = parameter.annotation(WithinRange)
            if within is not None:
                self.widget.minimum, self.widget.maximum = within.minimum, within.maximum
            if within is not None or kind not in sliders:
                return "value", "valueChanged"
        raise RuntimeError(f"the stand-in binds no {kind.__name__} to {parameter.name}: {parameter.hint}")

    def read(self) -> Any:
        value = getattr(self.widget, self.property)
        if self.values is not None:
            return self.values[value]
        return value() if self.property == "currentNode" else value

    def write(self, value: Any) -> None:
        if self.property == "currentNode":
            self.widget.setCurrentNode(value)
        else:
            setattr(self.widget, self.property, value if self.values is None else self.values.index(value))


class _Wrapper:
    """The methods that every wrapper class gets."""

    allParameters: ClassVar[dict[str, _Parameter]] = {}

    def __init__(self, parameterNode: Any) -> None:
        self.parameterNode = parameterNode
        self._guis: dict[int, tuple[Callable[[], None], list[tuple[Any, Callable[..., None]]], int]] = {}
        for parameter in self.allParameters.values():
            parameter.read(parameterNode)

    def _parameter(self, name: str) -> _Parameter:
        if name not in self.allParameters:
            raise ValueError(f"there is no parameter {name!r}, but {', '.join(self.allParameters)}")
        return self.allParameters[name]

    def getValue(self, name: str) -> Any:
        return self._parameter(name).read(self.parameterNode)

    def setValue(self, name: str, value: Any) -> None:
        self._parameter(name).write(self.parameterNode, value)

    def default(self, name: str) -> Default:
        return Default(self._parameter(name).default)

    def connectGui(self, gui: Any) -> int:
        """Bind the widgets of `gui` that have the dynamic property SlicerParameterName; give disconnectGui's tag."""
        import qt

        widgets = gui.findChildren(qt.QWidget) if hasattr(gui, "findChildren") else vars(gui).values()
        named = {widget.property(SlicerParameterNamePropertyName): widget for widget in widgets}
        return self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        bindings = {name: _Binding(widget, self._parameter(name)) for name, widget in mapping.items()}
        updating = False
        wires = []

        def update(*_arguments: Any) -> None:
            nonlocal updating
            if not updating:
                updating = True
                try:
                    for name, binding in bindings.items():
                        binding.write(self.getValue(name))
                finally:
                    updating = False

        for name, binding in bindings.items():
            binding.write(self.getValue(name))

            def changed(*_arguments: Any, name: str = name, binding: _Binding = binding) -> None:
                if not updating:
                    self.setValue(name, binding.read())

            signal = getattr(binding.widget, binding.signal)
            signal.connect(changed)
            wires.append((signal, changed))
        tag = self.AddObserver(vtk.vtkCommand.ModifiedEvent, update)
        self._guis[tag] = (update, wires, tag)
        return tag

    def disconnectGui(self, tag: int) -> None:
        _update, wires, observation = self._guis.pop(tag)
        self.RemoveObserver(observation)
        for signal, changed in wires:
            signal.disconnect(changed)

    def StartModify(self) -> Any:
        return self.parameterNode.StartModify()

    def EndModify(self, wasModifying: Any) -> Any:
        return self.parameterNode.EndModify(wasModifying)

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)


def parameterNodeWrapper(cls: type | None = None) -> Any:
    """Class decorator; `@parameterNodeWrapper` and `@parameterNodeWrapper()` are the same."""
    if cls is None:
        return parameterNodeWrapper
    hints = typing.get_type_hints(cls, include_extras=True)
    members = {name: member for name, member in vars(_Wrapper).items() if callable(member)}
    taken = [name for name in members if name != "__init__" and (name in hints or name in cls.__dict__)]
    if taken:
        raise ValueError(f"names reserved for the wrapper itself: {', '.join(taken)}")
    parameters = {name: _Parameter(name, hint, cls) for name, hint in hints.items()}
    for name, member in members.items():
        setattr(cls, name, member)
    cls.allParameters = parameters
    for name in parameters:
        setattr(cls, name, _property(name))
    return cls


def _property(name: str) -> property:
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))
