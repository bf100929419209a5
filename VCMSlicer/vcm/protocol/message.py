"""What every message has, and the parts of messages."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar


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


@dataclass(frozen=True, eq=False, repr=False)
class Message(Record):
    """One line of the protocol; `type` is the tag it travels under."""

    type: ClassVar[str] = ""
