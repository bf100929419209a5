"""An exception in a slot, an observer or a thread is printed by Qt, VTK and Python, and lost; here it is kept."""

import sys
import threading
import traceback
from types import TracebackType
from typing import Any


class ErrorWatch:
    """Collects exceptions that nothing caught, from `start` to `stop`."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self._hooks: tuple[Any, Any, Any] | None = None

    def start(self) -> None:
        self._hooks = (sys.excepthook, sys.unraisablehook, threading.excepthook)
        sys.excepthook = self._onException
        sys.unraisablehook = lambda unraisable: self._keep(unraisable.exc_value)
        threading.excepthook = lambda arguments: self._keep(arguments.exc_value)

    def stop(self) -> None:
        sys.excepthook, sys.unraisablehook, threading.excepthook = self._hooks

    def take(self) -> list[BaseException]:
        """Give the errors so far and forget them: for a test in which they are expected."""
        errors, self.errors = self.errors, []
        return errors

    def raiseIfAny(self) -> None:
        """Raise AssertionError with the tracebacks of what was collected."""
        if self.errors:
            texts = ["".join(traceback.format_exception(error)) for error in self.errors]
            raise AssertionError("uncaught in a slot, an observer or a thread:\n\n" + "\n".join(texts))

    def _onException(self, kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        self._keep(error)

    def _keep(self, error: BaseException | None) -> None:
        if error is not None:
            self.errors.append(error)
