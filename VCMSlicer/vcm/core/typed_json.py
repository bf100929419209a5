"""Dataclasses to and from JSON and TOML, field by field: nothing missing, nothing extra, every type as declared.

Standard library only: Slicer's own process reads with it too.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from vcm.core.plain_text import is_readable
from vcm.core.records import shown

T = TypeVar("T")


class FieldError(ValueError):
    """What is wrong with one field, as the end of a sentence; `remedy` names the fields there are, where one is not.

    `wanted` is what the field at the path `where` has to be.
    """

    def __init__(self, sentence: str, where: str = "", wanted: str = "", remedy: str = "") -> None:
        super().__init__(sentence)
        self.where, self.wanted, self.remedy = where, wanted, remedy


class Words:
    """What a field and an object are called in the sentences."""

    def __init__(self, field: str = "field", table: str = "an object") -> None:
        self.field, self.table = field, table


IN_JSON = Words()


def read_fields(cls: type[T], content: Mapping[str, Any], words: Words = IN_JSON) -> T:
    """An instance of the dataclass `cls` from a JSON object or a TOML table; FieldError where it does not fit.

    A dataclass inside that has a classmethod `from_dict` reads itself.

    >>> from vcm.protocol import Structure
    >>> read_fields(Structure, {"value": 4, "name": "left ventricle", "ml": 12})
    Structure(value=4, name='left ventricle', ml=12.0)
    >>> read_fields(Structure, {"value": True, "name": "left ventricle", "ml": 12})
    Traceback (most recent call last):
    vcm.core.typed_json.FieldError: its field value must be a whole number, not true
    >>> read_fields(Structure, {"value": 1, "nane": "left ventricle", "ml": 12})
    Traceback (most recent call last):
    vcm.core.typed_json.FieldError: it has no field nane (did you mean name?)
    """
    result: T = _Reader(words).record(cls, content, "")
    return result


def misfit(instance: Any) -> str | None:
    """What is wrong with the first field of a dataclass instance that holds something else than declared, if any.

    >>> from vcm.protocol import Structure
    >>> misfit(Structure(4, "left", 1.5)), misfit(Structure("4", "left", 1.5))
    (None, "its field value must be a whole number, not '4'")
    """
    try:
        _Reader(IN_JSON).value(type(instance), instance, "")
    except FieldError as error:
        return str(error)
    return None


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


def did_you_mean(name: str, known: Any) -> str:
    """` (did you mean steps?)` where a known name is close.

    >>> did_you_mean("step", ["steps", "seed"]), did_you_mean("x", ["steps"])
    (' (did you mean steps?)', '')
    """
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


@cache
def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    return {entry.name: hints[entry.name] for entry in fields(cls)}


class _Reader:
    """Reads values as their hints say; `where` is the path of a value, for the sentence."""

    def __init__(self, words: Words) -> None:
        self.words = words

    def record(self, cls: type, content: Mapping[str, Any], inside: str) -> Any:
        known = {entry.name: entry for entry in fields(cls)}
        for name in content:
            if name not in known:
                sentence = f"it has no {self.words.field} {shown(inside + name)}{did_you_mean(name, known)}"
                raise FieldError(sentence, remedy=f"The {self.words.field}s are: {', '.join(sorted(known))}.")
        for name, entry in known.items():
            if name not in content and entry.default is MISSING and entry.default_factory is MISSING:
                raise FieldError(f"its {self.words.field} {inside}{name} is missing")
        hints = _hints(cls)
        return cls(**{name: self.value(hints[name], value, inside + name) for name, value in content.items()})

    def value(self, hint: Any, value: Any, where: str) -> Any:
        origin, inner = get_origin(hint), get_args(hint)
        if origin is Annotated:
            return self.value(inner[0], value, where)
        if origin in (Union, UnionType):
            return self._union(inner, value, where)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            self._expect(isinstance(value, Mapping), where, self.words.table, value)
            return {name: self.value(inner[1], item, f"{where}.{name}") for name, item in value.items()}
        if origin in (tuple, list):
            self._expect(isinstance(value, (list, tuple)), where, "a list", value)
            if origin is tuple and inner[-1] is not Ellipsis:
                self._expect(len(value) == len(inner), where, f"a list of {len(inner)} values", value)
            else:
                inner = inner[:1] * len(value)
            pairs = enumerate(zip(inner, value, strict=True))
            return origin(self.value(one, item, f"{where}[{index}]") for index, (one, item) in pairs)
        if isinstance(hint, type) and is_dataclass(hint):
            return self._dataclass(hint, value, where)
        return self._plain(hint, value, where)

    def _dataclass(self, cls: Any, value: Any, where: str) -> Any:
        if isinstance(value, cls):  # an instance, whose fields are looked at
            for name, hint in _hints(cls).items():
                self.value(hint, getattr(value, name), f"{where}.{name}".lstrip("."))
            return value
        self._expect(isinstance(value, Mapping), where, self.words.table, value)
        return cls.from_dict(value) if hasattr(cls, "from_dict") else self.record(cls, value, f"{where}.")

    def _union(self, hints: tuple[Any, ...], value: Any, where: str) -> Any:
        reasons = []
        for hint in hints:
            try:
                return self.value(hint, value, where)
            except FieldError as error:
                reasons.append(error)
        for reason in reasons:
            if reason.where != where:  # of the right kind, but for something inside
                raise reason
        wanted = [reason.wanted for reason in reasons if reason.wanted != "null"]
        raise self._misfit(where, " or ".join(wanted), value)

    def _plain(self, hint: Any, value: Any, where: str) -> Any:
        if hint is bool:
            self._expect(isinstance(value, bool), where, "true or false", value)
        elif hint is int:
            whole = isinstance(value, int) and not isinstance(value, bool)
            self._expect(whole and -(2**63) <= value < 2**63, where, "a whole number", value)
        elif hint is float:
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            self._expect(number and abs(value) <= sys.float_info.max, where, "a number", value)
            return float(value)
        elif hint is str:
            self._expect(isinstance(value, str) and is_readable(value), where, "a text", value)
        elif hint is type(None):
            self._expect(value is None, where, "null", value)
        elif isinstance(hint, type) and issubclass(hint, Enum):
            choices = [member.value for member in hint]
            self._expect(value in choices, where, f"one of {', '.join(choices)}", value)
            return hint(value)
        elif hint is not Any and not isinstance(value, get_origin(hint) or hint):
            raise TypeError(f"{where} is declared as {hint}, which has no JSON")
        return value

    def _expect(self, holds: bool, where: str, wanted: str, found: Any) -> None:
        if not holds:
            raise self._misfit(where, wanted, found)

    def _misfit(self, where: str, wanted: str, found: Any) -> FieldError:
        sentence = f"its {self.words.field} {shown(where)} must be {wanted}, not {shown(found, self.words.table)}"
        return FieldError(sentence, where, wanted)
