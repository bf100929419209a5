"""Dataclasses that are shown, compared and bounded field by field.

Standard library only, and little of it: Slicer loads this at its start. `typed_json.py` reads and writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any, get_type_hints


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


def out_of_bounds(instance: Any) -> str | None:
    """What is wrong with the first field that its `Bounds` or `OneOf` do not admit, None excepted; None if all do.

    >>> from vcm.protocol import Generate
    >>> out_of_bounds(Generate("a", "out", samples=0)), out_of_bounds(Generate("a", "out", seed=None))
    ('number of samples must be between 1 and 10000, not 0', None)
    """
    for name, rule in _rules(instance.__class__):
        value = getattr(instance, name)
        if value is not None and not rule.admits(value):
            return f"{rule.title or name} must be {rule}, not {shown(value)}"
    return None


@cache
def _rules(cls: type) -> list[tuple[str, Bounds | OneOf]]:
    """Those of a base class too, where a field is declared again with another default."""
    hints = [get_type_hints(each, include_extras=True) for each in cls.__mro__ if is_dataclass(each)]
    return [
        (entry.name, rule)
        for entry in fields(cls)
        for rule in dict.fromkeys(rule for h in hints for rule in getattr(h.get(entry.name), "__metadata__", ()))
    ]


def shown(value: Any, table: str = "an object", length: int = 60) -> str:
    """A value as JSON has it, for a sentence."""
    words = {True: "true", False: "false", None: "null"}
    if value is None or isinstance(value, bool):
        return words[value]
    if isinstance(value, (Mapping, list, tuple)):
        return table if isinstance(value, Mapping) else "a list"
    text = value if isinstance(value, str) and value.isidentifier() else repr(value)
    return text if len(text) <= length else text[:length] + "…"
