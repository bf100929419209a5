"""Dataclasses to and from JSON, field by field, with nothing missing, nothing extra and every type as declared."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints


class FieldError(ValueError):
    """What is wrong with one field, as the end of a sentence."""


def read_fields(cls: type, content: Mapping[str, Any], inside: str = "") -> Any:
    """An instance of the dataclass `cls` from a JSON object.

    >>> from vcm.protocol import Structure
    >>> read_fields(Structure, {"value": 4, "name": "left ventricle", "ml": 12})
    Structure(value=4, name='left ventricle', ml=12.0)
    >>> read_fields(Structure, {"value": True, "name": "left ventricle", "ml": 12})
    Traceback (most recent call last):
    vcm.protocol.fields.FieldError: its field value must be a whole number, not true
    """
    known = {entry.name: entry for entry in fields(cls)}
    extra = sorted(set(content) - set(known))
    if extra:
        raise FieldError(f"it has no field {_shown(inside + extra[0])}")
    for name, entry in known.items():
        if name not in content and entry.default is MISSING and entry.default_factory is MISSING:
            raise FieldError(f"its field {inside}{name} is missing")
    hints = _hints(cls)
    return cls(**{name: _read(hints[name], value, inside + name) for name, value in content.items()})


def as_json(value: Any) -> Any:
    """The JSON of a dataclass instance or of what its fields hold."""
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: as_json(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    return value


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _read(hint: Any, value: Any, where: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return _read_union(get_args(hint), value, where)
    if origin is tuple:
        _expect(isinstance(value, list), where, "a list", value)
        return tuple(_read(get_args(hint)[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is dict:
        _expect(isinstance(value, Mapping), where, "an object", value)
        return {name: _read(get_args(hint)[1], item, f"{where}.{name}") for name, item in value.items()}
    if isinstance(hint, type) and is_dataclass(hint):
        _expect(isinstance(value, Mapping), where, "an object", value)
        return read_fields(hint, value, f"{where}.")
    if isinstance(hint, type) and issubclass(hint, Enum):
        words = [member.value for member in hint]
        _expect(value in words, where, f"one of {', '.join(words)}", value)
        return hint(value)
    return _read_plain(hint, value, where)


def _read_union(hints: tuple[Any, ...], value: Any, where: str) -> Any:
    reasons = []
    for hint in hints:
        try:
            return _read(hint, value, where)
        except FieldError as error:
            reasons.append(error)
    raise reasons[0]


def _read_plain(hint: Any, value: Any, where: str) -> Any:
    if hint is bool:
        _expect(isinstance(value, bool), where, "true or false", value)
    elif hint is int:
        whole = isinstance(value, int) and not isinstance(value, bool)
        _expect(whole and -(2**63) <= value < 2**63, where, "a whole number", value)
    elif hint is float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        _expect(number and abs(value) <= sys.float_info.max, where, "a number", value)
        return float(value)
    elif hint is str:
        _expect(isinstance(value, str) and is_readable(value), where, "a text", value)
    elif hint is type(None):
        _expect(value is None, where, "null", value)
    elif hint is not Any:
        raise TypeError(f"{where} is declared as {hint}, which has no JSON")
    return value


def is_readable(text: str) -> bool:
    """Whether a text can be a name or a path: it holds neither NUL nor half a surrogate pair."""
    # Half a surrogate pair stands for a byte that is no Unicode: file names with one abort the process in ITK.
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _expect(holds: bool, where: str, wanted: str, found: Any) -> None:
    if not holds:
        raise FieldError(f"its field {_shown(where)} must be {wanted}, not {_shown(found)}")


def _shown(value: Any, length: int = 60) -> str:
    words = {True: "true", False: "false", None: "null"}
    if value is None or isinstance(value, bool):
        return words[value]
    if isinstance(value, (Mapping, list)):
        return "an object" if isinstance(value, Mapping) else "a list"
    text = value if isinstance(value, str) and value.isidentifier() else repr(value)
    return text if len(text) <= length else text[:length] + "…"
