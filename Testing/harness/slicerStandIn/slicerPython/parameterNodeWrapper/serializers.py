"""How values are kept in a vtkMRMLScriptedModuleNode: text as parameters, nodes as references.

Composite values take several entries, the parts named after the whole: `conditions.0.strength`.
"""

import enum
import pathlib
import typing
from collections.abc import Callable
from typing import Any

import slicer

from .observed import ObservedDict, ObservedList
from .typeHints import isNodeClass, isUnion, nodeClasses, splitAnnotations
from .validators import Choice, Validator
from .valueRange import FloatRange, IntRange


class Serializer:
    """Reads and writes one parameter under a name; `check` raises ValueError for what it cannot hold."""

    def default(self) -> Any:
        raise NotImplementedError

    def check(self, value: Any) -> None:
        """Accepts everything unless overridden."""

    def isIn(self, node: Any, name: str) -> bool:
        return name in node.GetParameterNames()

    def write(self, node: Any, name: str, value: Any) -> None:
        raise NotImplementedError

    def read(self, node: Any, name: str) -> Any:
        raise NotImplementedError

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)


class TextSerializer(Serializer):
    """A value with a text form of its own."""

    def __init__(
        self, accepted: Any, empty: Any, toText: Callable[[Any], str] = str, fromText: Callable[[str], Any] = str
    ) -> None:
        self._accepted, self._empty = accepted, empty
        self._toText, self._fromText = toText, fromText

    def default(self) -> Any:
        return self._empty

    def check(self, value: Any) -> None:
        if not isinstance(value, self._accepted) or (isinstance(value, bool) and self._accepted is not bool):
            raise ValueError(f"expected {self._accepted}, found {value!r}")

    def write(self, node: Any, name: str, value: Any) -> None:
        self.check(value)
        node.SetParameter(name, self._toText(value))

    def read(self, node: Any, name: str) -> Any:
        return self._fromText(node.GetParameter(name))


class NodeSerializer(Serializer):
    """A node of the scene, or None; kept as a reference, so it follows renaming, saving and import."""

    def __init__(self, classNames: list[str]) -> None:
        self._classNames = classNames

    def default(self) -> None:
        return None

    def check(self, value: Any) -> None:
        if value is not None and not any(value.IsA(name) for name in self._classNames):
            raise ValueError(f"expected a node of {self._classNames}, found {value.GetClassName()}")

    def isIn(self, node: Any, name: str) -> bool:
        return True

    def write(self, node: Any, name: str, value: Any) -> None:
        self.check(value)
        node.SetNodeReferenceID(name, value.GetID() if value else None)

    def read(self, node: Any, name: str) -> Any:
        return node.GetNodeReference(name)

    def remove(self, node: Any, name: str) -> None:
        node.RemoveNodeReferenceIDs(name)


class OptionalSerializer(Serializer):
    """A value or None."""

    def __init__(self, inner: Serializer) -> None:
        self._inner = inner

    def default(self) -> None:
        return None

    def check(self, value: Any) -> None:
        if value is not None:
            self._inner.check(value)

    def write(self, node: Any, name: str, value: Any) -> None:
        self.check(value)
        with slicer.util.NodeModify(node):
            node.SetParameter(name, "None" if value is None else "Some")
            if value is None:
                self._inner.remove(node, f"{name}.value")
            else:
                self._inner.write(node, f"{name}.value", value)

    def read(self, node: Any, name: str) -> Any:
        return None if node.GetParameter(name) == "None" else self._inner.read(node, f"{name}.value")

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)
        self._inner.remove(node, f"{name}.value")


class SequenceSerializer(Serializer):
    """A list of any length (`parts` None) or a tuple of fixed parts."""

    def __init__(self, element: Serializer | None, parts: list[Serializer] | None = None) -> None:
        self._element, self._parts = element, parts

    def _partAt(self, index: int) -> Serializer:
        return self._parts[index] if self._parts is not None else self._element

    def default(self) -> Any:
        return [] if self._parts is None else tuple(part.default() for part in self._parts)

    def check(self, value: Any) -> None:
        wanted = list if self._parts is None else tuple
        if not isinstance(value, wanted) or (self._parts is not None and len(value) != len(self._parts)):
            raise ValueError(f"expected a {wanted.__name__} of the declared parts, found {value!r}")
        for index, part in enumerate(value):
            self._partAt(index).check(part)

    def write(self, node: Any, name: str, value: Any) -> None:
        self.check(value)
        value = list(value)
        with slicer.util.NodeModify(node):
            for index in range(len(value), self._length(node, name)):
                self._partAt(index).remove(node, f"{name}.{index}")
            node.SetParameter(name, str(len(value)))
            for index, part in enumerate(value):
                self._partAt(index).write(node, f"{name}.{index}", part)

    def read(self, node: Any, name: str) -> Any:
        values = [self._partAt(index).read(node, f"{name}.{index}") for index in range(self._length(node, name))]
        if self._parts is not None:
            return tuple(values)
        return ObservedList(values, lambda changed: self.write(node, name, changed))

    def remove(self, node: Any, name: str) -> None:
        for index in range(self._length(node, name)):
            self._partAt(index).remove(node, f"{name}.{index}")
        node.UnsetParameter(name)

    def _length(self, node: Any, name: str) -> int:
        return int(node.GetParameter(name) or 0)


class DictSerializer(Serializer):
    """A dictionary, kept as its keys and its values."""

    def __init__(self, key: Serializer, value: Serializer) -> None:
        self._keys, self._values = SequenceSerializer(key), SequenceSerializer(value)

    def default(self) -> dict[Any, Any]:
        return {}

    def check(self, value: Any) -> None:
        if not isinstance(value, dict):
            raise ValueError(f"expected a dict, found {value!r}")
        self._keys.check(list(value))
        self._values.check(list(value.values()))

    def isIn(self, node: Any, name: str) -> bool:
        return self._keys.isIn(node, f"{name}.keys")

    def write(self, node: Any, name: str, value: Any) -> None:
        self.check(value)
        keys, values = list(value), list(value.values())
        with slicer.util.NodeModify(node):
            self._keys.write(node, f"{name}.keys", keys)
            self._values.write(node, f"{name}.values", values)

    def read(self, node: Any, name: str) -> Any:
        pairs = zip(self._keys.read(node, f"{name}.keys"), self._values.read(node, f"{name}.values"), strict=True)
        return ObservedDict(dict(pairs), lambda changed: self.write(node, name, changed))

    def remove(self, node: Any, name: str) -> None:
        self._keys.remove(node, f"{name}.keys")
        self._values.remove(node, f"{name}.values")


class ValidatedSerializer(Serializer):
    """Another serializer whose values are checked by the annotations too."""

    def __init__(self, inner: Serializer, validators: list[Validator]) -> None:
        self._inner, self._validators = inner, validators
        self.isIn, self.read, self.remove = inner.isIn, inner.read, inner.remove

    def default(self) -> Any:
        choice = next((validator for validator in self._validators if isinstance(validator, Choice)), None)
        return self._inner.default() if choice is None else next(iter(choice.choices))

    def check(self, value: Any) -> None:
        self._inner.check(value)
        for validator in self._validators:
            validator.validate(value)

    def write(self, node: Any, name: str, value: Any) -> None:
        self.check(value)
        self._inner.write(node, name, value)


def _rangeSerializer(cls: type) -> Serializer:
    number = float if cls is FloatRange else int

    def parse(text: str) -> Any:
        return cls(*(number(part) for part in text.split()))

    return TextSerializer(cls, cls(number(0), number(0)), lambda v: f"{v.minimum!r} {v.maximum!r}", parse)


def _plainSerializer(hint: Any) -> Serializer | None:
    if hint is bool:
        return TextSerializer(bool, False, str, lambda text: text == "True")
    if hint is int:
        return TextSerializer(int, 0, str, int)
    if hint is float:
        return TextSerializer((float, int), 0.0, lambda value: repr(float(value)), float)
    if hint is str:
        return TextSerializer(str, "")
    if hint in (FloatRange, IntRange):
        return _rangeSerializer(hint)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return TextSerializer(hint, next(iter(hint)), lambda member: member.name, lambda name: hint[name])
    if isinstance(hint, type) and issubclass(hint, pathlib.PurePath):
        return TextSerializer(pathlib.PurePath, hint(), str, hint)
    return None


def _compositeSerializer(hint: Any) -> Serializer | None:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        return SequenceSerializer(createSerializer(parts[0]))
    if origin is tuple:
        return SequenceSerializer(None, [createSerializer(part) for part in parts])
    if origin is dict:
        return DictSerializer(createSerializer(parts[0]), createSerializer(parts[1]))
    if isUnion(hint):
        some = [part for part in parts if part is not type(None)]
        if len(some) == 1 and len(parts) == 2:
            return OptionalSerializer(createSerializer(some[0]))
    return None


def createSerializer(hint: Any) -> Serializer:
    """Give the serializer of a type hint, with the checks its annotations ask for; TypeError if there is none."""
    from .packs import PackSerializer, isParameterPack

    base, annotations = splitAnnotations(hint)
    if isNodeClass(base) or nodeClasses(base):
        serializer: Serializer | None = NodeSerializer(nodeClasses(base))
    elif isParameterPack(base):
        serializer = PackSerializer(base)
    else:
        serializer = _plainSerializer(base) or _compositeSerializer(base)
    if serializer is None:
        raise TypeError(f"a parameter cannot be of type {base!r}")
    validators = [annotation for annotation in annotations if isinstance(annotation, Validator)]
    return ValidatedSerializer(serializer, validators) if validators else serializer
