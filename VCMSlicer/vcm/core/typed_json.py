"""Dataclasses to and from JSON and TOML, field by field: nothing missing, nothing extra, every type as declared.

Standard library only: Slicer's own process reads with it too.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class FieldError(ValueError):
    """What is wrong with one field, as the end of a sentence; `remedy` names the fields there are, where one is not.

    `wanted` is what the field at the path `where` has to be.
    """

    def __init__(self, sentence: str, where: str = "", wanted: str = "", remedy: str = "") -> None:
        super().__init__(sentence)
        self.where, self.wanted, self.remedy = where, wanted, remedy


@dataclass(frozen=True, eq=False, repr=False)
class Record:
    """A dataclass that is shown and compared field by field.

    Written once here: what `dataclass` itself writes for each class is compiled anew at every start of Slicer.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and type(other) is type(self) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        shown = (f"{entry.name}={getattr(self, entry.name)!r}" for entry in fields(self))
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, entry.name) for entry in fields(self))


class Words:
    """What a field and an object are called in the sentences."""

    def __init__(self, field: str = "field", table: str = "an object") -> None:
        self.field, self.table = field, table


# Plain classes: what `dataclass` writes for each is compiled anew at every start of Slicer.
class Bounds:
    """Between which numbers a field lies, ends included unless they are `above` and `below`; for `Annotated`.

    >>> str(Bounds(1)), str(Bounds(0, 1)), str(Bounds(0, below=1)), str(Bounds(above=0))
    ('at least 1', 'between 0 and 1', 'at least 0 and below 1', 'above 0')
    """

    def __init__(
        self,
        least: float | None = None,
        most: float | None = None,
        *,
        above: float | None = None,
        below: float | None = None,
        title: str = "",
    ) -> None:
        self.least, self.most, self.above, self.below, self.title = least, most, above, below, title

    def admits(self, value: Any) -> bool:
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.least is not None and self.most is not None:
            return f"between {self.least} and {self.most}"
        ends = (("at least", self.least), ("above", self.above), ("at most", self.most), ("below", self.below))
        return " and ".join(f"{words} {end}" for words, end in ends if end is not None)


class OneOf:
    """The only values of a field; for `Annotated`."""

    title = ""

    def __init__(self, choices: tuple[str, ...]) -> None:
        self.choices = choices

    def admits(self, value: Any) -> bool:
        return value in self.choices

    def __str__(self) -> str:
        return f"one of {', '.join(self.choices)}"


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


def out_of_bounds(instance: Any) -> str | None:
    """What is wrong with the first field that its `Bounds` or `OneOf` do not admit, None excepted; None if all do.

    >>> @dataclass
    ... class Settings:
    ...     steps: Annotated[int, Bounds(1)]
    ...     batch: Annotated[int | None, Bounds(1, 64, title="size of a batch")] = None
    >>> out_of_bounds(Settings(0)), out_of_bounds(Settings(3, 65)), out_of_bounds(Settings(3))
    ('steps must be at least 1, not 0', 'size of a batch must be between 1 and 64, not 65', None)
    """
    for name, rule in _rules(instance.__class__):
        value = getattr(instance, name)
        if value is not None and not rule.admits(value):
            return f"{rule.title or name} must be {rule}, not {_shown(value)}"
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


def is_readable(text: str) -> bool:
    """Whether a text can be a name or a path: it holds neither NUL nor half a surrogate pair."""
    # Half a surrogate pair stands for a byte that is no Unicode: file names with one abort the process in ITK.
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


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


@cache
def _rules(cls: type) -> list[tuple[str, Bounds | OneOf]]:
    """Those of a base class too, where a field is declared again with another default."""
    hints = [get_type_hints(each, include_extras=True) for each in cls.__mro__ if is_dataclass(each)]
    return [
        (entry.name, rule)
        for entry in fields(cls)
        for rule in dict.fromkeys(rule for h in hints for rule in getattr(h.get(entry.name), "__metadata__", ()))
    ]


class _Reader:
    """Reads values as their hints say; `where` is the path of a value, for the sentence."""

    def __init__(self, words: Words) -> None:
        self.words = words

    def record(self, cls: type, content: Mapping[str, Any], inside: str) -> Any:
        known = {entry.name: entry for entry in fields(cls)}
        for name in content:
            if name not in known:
                sentence = f"it has no {self.words.field} {_shown(inside + name)}{did_you_mean(name, known)}"
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
                self._expect(len(value) == len(inner), where, f"a list of {len(inner)}", value)
            else:
                inner = inner[:1] * len(value)
            pairs = enumerate(zip(inner, value, strict=True))
            return origin(self.value(one, item, f"{where}[{index}]") for index, (one, item) in pairs)
        if isinstance(hint, type) and is_dataclass(hint):
            self._expect(isinstance(value, Mapping), where, self.words.table, value)
            return hint.from_dict(value) if hasattr(hint, "from_dict") else self.record(hint, value, f"{where}.")
        return self._plain(hint, value, where)

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
        elif hint is not Any:
            raise TypeError(f"{where} is declared as {hint}, which has no JSON")
        return value

    def _expect(self, holds: bool, where: str, wanted: str, found: Any) -> None:
        if not holds:
            raise self._misfit(where, wanted, found)

    def _misfit(self, where: str, wanted: str, found: Any) -> FieldError:
        sentence = f"its {self.words.field} {_shown(where)} must be {wanted}, not {_shown(found, self.words.table)}"
        return FieldError(sentence, where, wanted)


def _shown(value: Any, table: str = "an object", length: int = 60) -> str:
    words = {True: "true", False: "false", None: "null"}
    if value is None or isinstance(value, bool):
        return words[value]
    if isinstance(value, (Mapping, list, tuple)):
        return table if isinstance(value, Mapping) else "a list"
    text = value if isinstance(value, str) and value.isidentifier() else repr(value)
    return text if len(text) <= length else text[:length] + "…"
