"""The one error a user meets: what is wrong, in a sentence, and what to do about it."""

from __future__ import annotations

import errno
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


OUT_OF_MEMORY_WORDS = (
    "out of memory",
    "allocate memory",
    "not enough memory",
    "unable to allocate",
    "failed to map segment",
    "bad_alloc",
    "could not create a primitive",  # oneDNN says no more where it finds no room for a kernel or its scratchpad
)


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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error itself, not what led to it, says that memory ran out: Python's, the system's or PyTorch's.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("std::bad_alloc")), is_out_of_memory(KeyError())
    (True, True, False)
    """
    # torch has its own class for this on a GPU and a bare RuntimeError elsewhere; torch may not be loaded here.
    if isinstance(error, MemoryError) or any(cls.__name__ == "OutOfMemoryError" for cls in type(error).__mro__):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    kinds = (RuntimeError, ImportError)  # a library may not find room to be loaded
    return isinstance(error, kinds) and any(words in str(error).lower() for words in OUT_OF_MEMORY_WORDS)
