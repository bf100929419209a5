"""Keeps None, True and False alive on Python before 3.12.

PySide6 6.12 gives up references that it does not own: to the Boolean that a Python signal emits, to the None that a
call returns. From Python 3.12 on these objects live for ever; before, the interpreter aborts after some thousand calls.
"""

import ctypes
import sys

_PLENTY = 1 << 40


def keepSingletonsAlive() -> None:
    """Give each so many references that no run uses them up; does nothing where Python does so itself."""
    if sys.implementation.name == "cpython" and sys.version_info < (3, 12):
        for singleton in (None, True, False):
            ctypes.c_ssize_t.from_address(id(singleton)).value += _PLENTY
