"""Signals by their C++ signature, `button.connect("clicked(bool)", onClicked)`, and as attributes, `button.clicked`.

PythonQt only warns when the signature does not exist; here it is an error, so that a test finds the misspelling.

As in PythonQt (PythonQtSignalReceiver in its src/) what is connected is held by the sender: a bound method with the
object it is bound to. Python's garbage collector does not see into the sender, so that an object that holds a timer
connected to a method of its own lives until it disconnects, or the timer is destroyed.
"""

import inspect
import re
import types
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore

_ALL = 1000
_PYTHON_TYPES = {"bool": bool, "int": int, "double": float, "float": float, "QString": str, "PyObject": object}


def _argumentTypes(signature: str) -> list[str]:
    inside = signature[signature.index("(") + 1 : signature.rindex(")")]
    inside = re.sub(r"\bconst\b|&|\s+", "", inside)
    # Signals written in Python carry any MRML or VTK pointer as a Python object.
    return ["PyObject" if re.fullmatch(r"vtk\w+\*", part) else part for part in inside.split(",") if part]


def findSignal(sender: QtCore.QObject, signature: str) -> tuple["BoundSignal", int]:
    """Give the bound signal of `signature` and the number of arguments a receiver gets.

    Raises ValueError if there is no such signal: PythonQt would connect nothing.
    """
    name, parenthesis, _ = signature.partition("(")
    if not parenthesis or not signature.rstrip().endswith(")"):
        raise ValueError(f"a signal is named with its arguments, as in 'clicked(bool)', not {signature!r}")
    types_ = _argumentTypes(signature)
    wanted = f"{name.strip()}({','.join(types_)})"
    normalized = QtCore.QMetaObject.normalizedSignature(wanted).data().decode()
    if sender.metaObject().indexOfSignal(normalized) < 0:
        raise ValueError(f"{type(sender).__name__} has no signal {signature!r}")
    signal = getattr(sender, name.strip())
    overload = tuple(_PYTHON_TYPES.get(part, part) for part in types_)
    if overload:
        try:
            return signal[overload if len(overload) > 1 else overload[0]], len(types_)
        except (IndexError, KeyError, TypeError):
            return signal, len(types_)
    return signal, 0


def acceptedArguments(receiver: Callable[..., Any], offered: int) -> int:
    """How many of the `offered` arguments PythonQt hands to `receiver`.

    It leaves out what a function or a method written in Python does not take; anything else callable gets all.
    """
    function = receiver.__func__ if isinstance(receiver, types.MethodType) else receiver
    if not isinstance(function, types.FunctionType) or function.__code__.co_flags & inspect.CO_VARARGS:
        return offered
    return min(offered, function.__code__.co_argcount - isinstance(receiver, types.MethodType))


class BoundSignal:
    """`button.clicked`: is connected to, disconnected from, and emitted, also by calling it."""

    def __init__(self, sender: QtCore.QObject, name: str, signal: Any) -> None:
        self._sender, self._name, self.raw = sender, name, signal

    def __getitem__(self, overload: Any) -> "BoundSignal":
        return BoundSignal(self._sender, self._name, self.raw[overload])

    def emit(self, *arguments: Any) -> None:
        self.raw.emit(*arguments)

    __call__ = emit

    def connect(self, receiver: Any) -> None:
        if isinstance(receiver, BoundSignal):
            self.raw.connect(receiver.raw)
        elif isSlotOfTheStandIn(receiver):
            self.raw.connect(receiver)
        else:
            Connections.of(self._sender).add(self._name, self, receiver, _ALL)

    def disconnect(self, receiver: Any = None) -> None:
        if isinstance(receiver, BoundSignal):
            self.raw.disconnect(receiver.raw)
        elif isSlotOfTheStandIn(receiver):
            self.raw.disconnect(receiver)
        else:
            Connections.of(self._sender).remove(self._name, receiver)


def isSlotOfTheStandIn(receiver: Any) -> bool:
    """Whether a connection is one that Slicer makes in C++: it holds nobody and ends with its receiver."""
    owner = getattr(receiver, "__self__", None)
    return isinstance(owner, QtCore.QObject) and type(owner).__module__.startswith(__package__.split(".")[0])


class Connections:
    """What an object is connected to, held until it is disconnected by the same words or the object is destroyed."""

    _bySender: dict[int, "Connections"] = {}  # noqa: RUF012 (not a field of a dataclass)

    def __init__(self) -> None:
        self._slots: list[tuple[str, Callable[..., Any], Any, Callable[..., None]]] = []

    @classmethod
    def of(cls, sender: QtCore.QObject) -> "Connections":
        """Those of `sender`, whichever Python object stands for it at present."""
        pointer = shiboken6.getCppPointer(sender)[0]
        if pointer not in cls._bySender:
            cls._bySender[pointer] = cls()
            QtCore.QObject.__dict__["destroyed"].__get__(sender, type(sender)).connect(_forget(pointer))
        return cls._bySender[pointer]

    def add(self, key: str, signal: BoundSignal, receiver: Callable[..., Any], offered: int) -> None:
        accepted = acceptedArguments(receiver, offered)

        def slot(*arguments: Any) -> None:
            receiver(*arguments[:accepted])

        signal.raw.connect(slot)
        self._slots.append((key, receiver, signal.raw, slot))

    def remove(self, key: str, receiver: Callable[..., Any] | None) -> bool:
        leaving = [entry for entry in self._slots if entry[0] == key and (receiver is None or entry[1] == receiver)]
        if receiver is not None:
            leaving = leaving[:1]
        for entry in leaving:
            entry[2].disconnect(entry[3])
            self._slots.remove(entry)
        return bool(leaving)


def _forget(pointer: int) -> Callable[..., None]:
    return lambda *_arguments: Connections._bySender.pop(pointer, None) and None
