"""Keeps True and False alive on Python before 3.12.

PySide6 6.12 gives up a reference to the Boolean that a Python signal emits but does not own one. From Python 3.12 on
the two live for ever; before, a run ends with "bool_dealloc: deallocating True or False" after some hundred signals.
"""

import ctypes
import sys

_PLENTY = 1 << 40


def keepBooleansAlive() -> None:
    """Give both so many references that no run uses them up; does nothing where Python does so itself."""
    if sys.implementation.name == "cpython" and sys.version_info < (3, 12):
        for boolean in (True, False):
            ctypes.c_ssize_t.from_address(id(boolean)).value += _PLENTY
