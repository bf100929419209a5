"""The one error a user meets: what is wrong, in a sentence, and what to do about it."""

from __future__ import annotations

from enum import Enum
from typing import Any


class Code(str, Enum):
    """Machine-readable kinds of failure. The worker's protocol and the exit codes speak these."""

    BAD_REQUEST = "BAD_REQUEST"
    FILE_MISSING = "FILE_MISSING"
    FILE_UNREADABLE = "FILE_UNREADABLE"
    GEOMETRY = "GEOMETRY"
    CONDITION = "CONDITION"
    ATTRIBUTE = "ATTRIBUTE"
    PACK_MISSING = "PACK_MISSING"
    PACK_INVALID = "PACK_INVALID"
    PACK_DAMAGED = "PACK_DAMAGED"
    PACK_UNSAFE = "PACK_UNSAFE"
    DOWNLOAD = "DOWNLOAD"
    LICENCE = "LICENCE"
    NO_PERMISSION = "NO_PERMISSION"
    DISK_FULL = "DISK_FULL"
    DEVICE = "DEVICE"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    CANCELLED = "CANCELLED"
    INTERNAL = "INTERNAL"


MALFORMED = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)
"""What reading a file raises that is not there, or does not hold what it should."""


class VcmError(Exception):
    """A failure that is reported to a person.

    `sentence` names the thing, what was expected and what was found; `remedy` is one thing to try.

    >>> error = VcmError(Code.FILE_MISSING, "There is no file mask.nii.gz.", "Check the path.")
    >>> str(error)
    'There is no file mask.nii.gz. Check the path.'
    >>> error.as_dict()["code"]
    'FILE_MISSING'
    """

    def __init__(self, code: Code, sentence: str, remedy: str = "", **details: Any) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.remedy = remedy
        self.details = details

    def __str__(self) -> str:
        return f"{self.sentence} {self.remedy}".strip()

    def as_dict(self) -> dict[str, Any]:
        """The error as the worker and `--json` send it."""
        return {
            "code": self.code.value,
            "sentence": self.sentence,
            "remedy": self.remedy,
            "details": self.details,
        }
