"""`@parameterPack`: several parameters that belong together, usable as one."""

import copy
import typing
from typing import Any, ClassVar

import slicer

from .serializers import Serializer, createSerializer
from .typeHints import splitAnnotations, splitDottedName, unannotatedType
from .validators import Default


class ParameterInfo:
    """What is known of one declared parameter."""

    def __init__(self, name: str, hint: Any, owner: type) -> None:
        self.basename, self.unalteredType = name, hint
        self.serializer = createSerializer(hint)
        declared = [annotation for annotation in splitAnnotations(hint)[1] if isinstance(annotation, Default)]
        if name in owner.__dict__:
            self._default = owner.__dict__[name]
        elif declared:
            self._default = declared[0].value
        else:
            self._default = self.serializer.default()
        self.serializer.check(self._default)

    @property
    def default(self) -> Default:
        return Default(copy.deepcopy(self._default) if not hasattr(self._default, "IsA") else self._default)


def declaredParameters(owner: type) -> dict[str, ParameterInfo]:
    """The parameters of a class by name, in the order of declaration."""
    hints = typing.get_type_hints(owner, include_extras=True)
    if not hints:
        raise ValueError(f"{owner.__name__} declares no parameters")
    return {name: ParameterInfo(name, hint, owner) for name, hint in hints.items()}


def isParameterPack(candidate: Any) -> bool:
    """True for a class made by `@parameterPack`, and for its objects."""
    return getattr(candidate, "_isParameterPack", False)


def nestedParameterNames(pack: Any) -> list[str]:
    """Dotted names of all parameters in a pack and in the packs within it."""
    names = []
    for name, info in pack.allParameters.items():
        inner = unannotatedType(info.unalteredType)
        names += [f"{name}.{below}" for below in nestedParameterNames(inner)] if isParameterPack(inner) else [name]
    return names


class _PackMethods:
    """Put into every pack class."""

    _isParameterPack = True
    allParameters: ClassVar[dict[str, ParameterInfo]] = {}

    def _initialize(self, *arguments: Any, **keywords: Any) -> None:
        given = dict(zip(self.allParameters, arguments, strict=False))
        for name in keywords:
            if name not in self.allParameters or name in given:
                raise TypeError(f"{type(self).__name__} got an unexpected or second value for {name!r}")
        given.update(keywords)
        self.__dict__["_values"], self.__dict__["_save"] = {}, lambda: None
        for name, info in self.allParameters.items():
            setattr(self, name, given.get(name, info.default.value))

    def getValue(self, name: str) -> Any:
        top, rest = splitDottedName(name)
        if top not in self.allParameters:
            raise ValueError(f"{type(self).__name__} has no parameter {top!r}")
        value = getattr(self, top)
        return value if rest is None else value.getValue(rest)

    def setValue(self, name: str, value: Any) -> None:
        top, rest = splitDottedName(name)
        if top not in self.allParameters:
            raise ValueError(f"{type(self).__name__} has no parameter {top!r}")
        if rest is None:
            setattr(self, top, value)
        else:
            getattr(self, top).setValue(rest, value)
            self._save()

    @classmethod
    def dataType(cls, name: str) -> Any:
        top, rest = splitDottedName(name)
        if top not in cls.allParameters:
            raise ValueError(f"{cls.__name__} has no parameter {top!r}")
        hint = cls.allParameters[top].unalteredType
        return hint if rest is None else unannotatedType(hint).dataType(rest)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, type(self)) and self._values == other._values

    __hash__ = None

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={value!r}" for name, value in self._values.items())
        return f"{type(self).__name__}({inside})"


def _packProperty(name: str) -> property:
    def write(self: Any, value: Any) -> None:
        self.allParameters[name].serializer.check(value)
        self._values[name] = value
        self._save()

    return property(lambda self: self._values[name], write)


def parameterPack(cls: type | None = None) -> Any:
    """Class decorator; `@parameterPack` and `@parameterPack()` are the same."""
    if cls is None:
        return parameterPack
    parameters = declaredParameters(cls)
    ownInit = cls.__dict__.get("__init__")

    def initialize(self: Any, *arguments: Any, **keywords: Any) -> None:
        if ownInit is None:
            self._initialize(*arguments, **keywords)
        else:
            self._initialize()
            ownInit(self, *arguments, **keywords)

    for name, member in vars(_PackMethods).items():
        if name not in cls.__dict__ and name not in (
            "__module__",
            "__dict__",
            "__weakref__",
            "__doc__",
            "__annotations__",
        ):
            setattr(cls, name, member)
    cls.__eq__, cls.__repr__ = (cls.__dict__.get("__eq__"), cls.__dict__.get("__repr__"))
    cls.allParameters, cls.__init__ = parameters, initialize
    for name in parameters:
        setattr(cls, name, _packProperty(name))
    return cls


class PackSerializer(Serializer):
    """Keeps each parameter of the pack as `name.parameter`."""

    def __init__(self, packClass: Any) -> None:
        self._class = packClass
        self._parts = {name: info.serializer for name, info in packClass.allParameters.items()}

    def default(self) -> Any:
        return self._class()

    def check(self, value: Any) -> None:
        if not isinstance(value, self._class):
            raise ValueError(f"expected a {self._class.__name__}, found {value!r}")

    def isIn(self, node: Any, name: str) -> bool:
        return all(part.isIn(node, f"{name}.{below}") for below, part in self._parts.items())

    def write(self, node: Any, name: str, value: Any) -> None:
        self.check(value)
        with slicer.util.NodeModify(node):
            for below, part in self._parts.items():
                part.write(node, f"{name}.{below}", value._values[below])

    def read(self, node: Any, name: str) -> Any:
        """Give a pack that writes itself back as a whole whenever one of its parameters is set, as Slicer's does."""
        pack = self._class.__new__(self._class)
        pack._initialize(**{below: part.read(node, f"{name}.{below}") for below, part in self._parts.items()})
        pack.__dict__["_save"] = lambda: self.write(node, name, pack)
        return pack

    def remove(self, node: Any, name: str) -> None:
        for below, part in self._parts.items():
            part.remove(node, f"{name}.{below}")
