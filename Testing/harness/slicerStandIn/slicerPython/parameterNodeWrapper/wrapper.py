"""`@parameterNodeWrapper`: a class of typed parameters over a node of the scene."""

from collections.abc import Callable
from typing import Any, ClassVar

import slicer
import vtk

from .guiConnectors import GuiConnector, createGuiConnector
from .packs import ParameterInfo, declaredParameters, isParameterPack
from .typeHints import splitDottedName, unannotatedType
from .validators import Default

SlicerParameterNamePropertyName = "SlicerParameterName"
# Names of its own methods, which a class may neither declare as parameters nor define.
_RESERVED = (
    "AddObserver",
    "EndModify",
    "Modified",
    "RemoveObserver",
    "StartModify",
    "allParameters",
    "connectGui",
    "connectParametersToGui",
    "dataType",
    "default",
    "disconnectGui",
    "getValue",
    "isCached",
    "parameterNode",
    "setValue",
)


class _WrapperMethods:
    """Put into every wrapper class."""

    _is_parameter_node_wrapper = True
    allParameters: ClassVar[dict[str, ParameterInfo]] = {}

    def __init__(self, parameterNode: Any, prefix: str = "") -> None:
        self.parameterNode = parameterNode
        self._prefix = prefix or ""
        self._guis: dict[int, tuple[dict[str, GuiConnector], int]] = {}
        self._nextGui = 0
        self._updatingGui = False
        for name, info in self.allParameters.items():
            if not info.serializer.isIn(parameterNode, self._prefix + name):
                info.serializer.write(parameterNode, self._prefix + name, info.default.value)

    def default(self, name: str) -> Default:
        return self._info(name).default

    def isCached(self, name: str) -> bool:
        return False

    @classmethod
    def dataType(cls, name: str) -> Any:
        top, rest = splitDottedName(name)
        if top not in cls.allParameters:
            raise ValueError(f"{cls.__name__} has no parameter {top!r}; it has {', '.join(cls.allParameters)}")
        hint = cls.allParameters[top].unalteredType
        if rest is None:
            return hint
        if not isParameterPack(unannotatedType(hint)):
            raise ValueError(f"{top!r} is no parameter pack, so {name!r} is not in it")
        return unannotatedType(hint).dataType(rest)

    def _info(self, name: str) -> ParameterInfo:
        self.dataType(name)
        return self.allParameters[splitDottedName(name)[0]]

    def getValue(self, name: str) -> Any:
        top, rest = splitDottedName(name)
        value = self._info(name).serializer.read(self.parameterNode, self._prefix + top)
        return value if rest is None else value.getValue(rest)

    def setValue(self, name: str, value: Any) -> None:
        top, rest = splitDottedName(name)
        if rest is None:
            self._info(name).serializer.write(self.parameterNode, self._prefix + top, value)
        else:
            self.getValue(top).setValue(rest, value)

    def connectGui(self, gui: Any) -> int:
        """Bind each widget of `gui` that has the dynamic property SlicerParameterName; give disconnectGui's tag."""
        import qt

        widgets = gui.findChildren(qt.QWidget) if hasattr(gui, "findChildren") else vars(gui).values()
        named = [(widget.property(SlicerParameterNamePropertyName), widget) for widget in widgets]
        return self.connectParametersToGui({name: widget for name, widget in named if name})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        """Bind parameters (dotted names reach into packs) to widgets or GuiConnectors."""
        hints = {name: self.dataType(name) for name in mapping}
        connectors = {
            name: widget if isinstance(widget, GuiConnector) else createGuiConnector(widget, hints[name])
            for name, widget in mapping.items()
        }
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(self._guiToParameter(name, connector))
        observation = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: self._updateGui())
        tag, self._nextGui = self._nextGui, self._nextGui + 1
        self._guis[tag] = (connectors, observation)
        return tag

    def disconnectGui(self, tag: int) -> None:
        if tag in self._guis:
            connectors, observation = self._guis.pop(tag)
            self.RemoveObserver(observation)
            for connector in connectors.values():
                connector.onChanged(None)

    def _guiToParameter(self, name: str, connector: GuiConnector) -> Callable[[], None]:
        def changed() -> None:
            if not self._updatingGui:
                with slicer.util.NodeModify(self):
                    self.setValue(name, connector.read())

        return changed

    def _updateGui(self) -> None:
        if self._updatingGui:
            return
        self._updatingGui = True
        try:
            for connectors, _ in list(self._guis.values()):
                for name, connector in connectors.items():
                    connector.write(self.getValue(name))
        finally:
            self._updatingGui = False

    def StartModify(self) -> Any:
        return self.parameterNode.StartModify()

    def EndModify(self, wasModifying: Any) -> Any:
        return self.parameterNode.EndModify(wasModifying)

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def _wrapperProperty(name: str) -> property:
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))


def parameterNodeWrapper(cls: type | None = None) -> Any:
    """Class decorator; `@parameterNodeWrapper` and `@parameterNodeWrapper()` are the same."""
    if cls is None:
        return parameterNodeWrapper
    parameters = declaredParameters(cls)
    taken = [name for name in _RESERVED if name in parameters or name in cls.__dict__]
    if taken:
        raise ValueError(f"names used by the wrapper itself: {', '.join(taken)}")
    ordinary = ("__module__", "__dict__", "__weakref__", "__doc__", "__annotations__")
    for name, member in vars(_WrapperMethods).items():
        if name not in ordinary:
            setattr(cls, name, member)
    cls.allParameters = parameters
    for name in parameters:
        setattr(cls, name, _wrapperProperty(name))
    return cls


def isParameterNodeWrapper(candidate: Any) -> bool:
    """True for a class made by `@parameterNodeWrapper`, and for its objects."""
    return getattr(candidate, "_is_parameter_node_wrapper", False)


def findChildWidgetForParameter(widget: Any, parameter: str) -> Any:
    """The widget in `widget` that has the parameter's name as its property; None if there is none."""
    import qt

    children = widget.findChildren(qt.QWidget)
    return next((child for child in children if child.property(SlicerParameterNamePropertyName) == parameter), None)
