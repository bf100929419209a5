"""What every message has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vcm.core.records import Record


@dataclass(frozen=True, eq=False, repr=False)
class Message(Record):
    """One line of the protocol; `type` is the tag it travels under."""

    type: ClassVar[str] = ""
