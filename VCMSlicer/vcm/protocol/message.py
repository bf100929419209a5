"""What every message has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Message:
    """One line of the protocol; `type` is the tag it travels under."""

    type: ClassVar[str] = ""
