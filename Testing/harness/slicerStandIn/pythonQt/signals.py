"""Signals by their C++ signature: `button.connect("clicked(bool)", onClicked)`.

PythonQt only warns when the signature does not exist; here it is an error, so that a test finds the misspelling.
"""

import inspect
import re
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore

_PYTHON_TYPES = {"bool": bool, "int": int, "double": float, "float": float, "QString": str, "PyObject": object}


def _argumentTypes(signature: str) -> list[str]:
    inside = signature[signature.index("(") + 1 : signature.rindex(")")]
    inside = re.sub(r"\bconst\b|&|\s+", "", inside)
    # Signals written in Python carry any MRML or VTK pointer as a Python object.
    return ["PyObject" if re.fullmatch(r"vtk\w+\*", part) else part for part in inside.split(",") if part]


def findSignal(sender: QtCore.QObject, signature: str) -> tuple[Any, int]:
    """Give the bound signal of `signature` and the number of arguments a receiver gets.

    Raises ValueError if there is no such signal: PythonQt would connect nothing.
    """
    name, parenthesis, _ = signature.partition("(")
    if not parenthesis or not signature.rstrip().endswith(")"):
        raise ValueError(f"a signal is named with its arguments, as in 'clicked(bool)', not {signature!r}")
    types = _argumentTypes(signature)
    wanted = f"{name.strip()}({','.join(types)})"
    normalized = QtCore.QMetaObject.normalizedSignature(wanted).data().decode()
    if sender.metaObject().indexOfSignal(normalized) < 0:
        raise ValueError(f"{type(sender).__name__} has no signal {signature!r}")
    signal = getattr(sender, name.strip())
    overload = tuple(_PYTHON_TYPES.get(part, part) for part in types)
    if overload:
        try:
            return signal[overload if len(overload) > 1 else overload[0]], len(types)
        except (IndexError, KeyError, TypeError):
            return signal, len(types)
    return signal, 0


def acceptedArguments(receiver: Callable[..., Any], offered: int) -> int:
    """Number of the `offered` arguments that `receiver` takes, at most all; PythonQt leaves out the others."""
    try:
        parameters = inspect.signature(receiver).parameters.values()
    except (TypeError, ValueError):
        return offered
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return offered
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return min(offered, sum(parameter.kind in positional for parameter in parameters))


class Connections:
    """What one object was connected to by signature, so that it can be disconnected by the same words."""

    def __init__(self) -> None:
        self._slots: list[tuple[str, Callable[..., Any], Any, Callable[..., None]]] = []

    def add(self, sender: QtCore.QObject, signature: str, receiver: Callable[..., Any]) -> None:
        signal, offered = findSignal(sender, signature)
        accepted = acceptedArguments(receiver, offered)

        def slot(*arguments: Any) -> None:
            receiver(*arguments[:accepted])

        signal.connect(slot)
        self._slots.append((signature, receiver, signal, slot))

    def remove(self, sender: QtCore.QObject, signature: str, receiver: Callable[..., Any] | None) -> bool:
        findSignal(sender, signature)
        kept, found = [], False
        for entry in self._slots:
            if entry[0] == signature and (receiver is None or entry[1] == receiver):
                entry[2].disconnect(entry[3])
                found = True
            else:
                kept.append(entry)
        self._slots = kept
        return found
