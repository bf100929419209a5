"""Callbacks of Python functions, for what is not a Qt object."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

Remove = Callable[[], None]


class Observers:
    """Functions that are called one after the other; one that fails neither stops the others nor the caller.

    The failure goes to `sys.excepthook`, as an exception in a Qt slot does.

    >>> heard = []
    >>> observers = Observers()
    >>> remove = observers.add(heard.append)
    >>> observers.notify("running"); remove(); observers.notify("done"); heard
    ['running']
    """

    def __init__(self) -> None:
        self._callbacks: list[Callable[..., Any]] = []

    def add(self, callback: Callable[..., Any]) -> Remove:
        """Have `callback` called; the function that comes back takes it out again."""
        self._callbacks.append(callback)

        def remove() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return remove

    def clear(self) -> None:
        """Take all out again."""
        self._callbacks.clear()

    def notify(self, *arguments: Any) -> None:
        """Call all that are there now."""
        for callback in list(self._callbacks):
            callOnce(callback, *arguments)


def callOnce(callback: Callable[..., Any] | None, *arguments: Any) -> None:
    """Call a function, if there is one; its failure does not reach the caller."""
    if callback is None:
        return
    try:
        callback(*arguments)
    except Exception:
        sys.excepthook(*sys.exc_info())
