"""How a command ends that could not do its work: in a sentence for people, or in JSON, and an exit code."""

from __future__ import annotations

import _thread
import sys
import threading
import traceback
from typing import Any

import typer

from vcm.cli.display.terminal import OutputLostError, say_json, say_on_stderr
from vcm.core.errors import Code, VcmError
from vcm.protocol.failures import in_words

EXIT_CODES = {Code.BAD_REQUEST: 2, Code.INTERNAL: 70, Code.OUT_OF_MEMORY: 71, Code.CANCELLED: 130}
REFUSED = 1
"""The exit code of every other failure: an input, a pack or a disk that does not allow the work."""


def end(error: BaseException, *, as_json: bool = False, debug: bool = False) -> int:
    """Report what went wrong, on stdout for machines and on stderr for people, and give the exit code."""
    if debug:
        traceback.print_exception(error)
    failure = _in_words(error)
    if not failure.sentence:
        # Who asks for nothing is shown the help, and that is all there is to say.
        return EXIT_CODES[Code.BAD_REQUEST]
    if as_json and not isinstance(failure, OutputLostError):
        say_json({"error": failure.as_dict()}, indent=None)
    else:
        say_on_stderr(f"vcm: {failure.sentence}")
        for finding in failure.details.get("findings", [])[1:]:
            say_on_stderr(f"vcm: {finding['sentence']}")
        if failure.remedy:
            say_on_stderr(f"     {failure.remedy}")
    return EXIT_CODES.get(failure.code, REFUSED)


def interrupt_again(unraisable: Any) -> None:
    """Python's hook for exceptions that it cannot raise: an interrupt that came at such a place comes once more.

    Releasing the lock of an import is one; the interrupt would be lost there, and a traceback printed.
    """
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        threading.Timer(0.05, _thread.interrupt_main).start()
    else:
        sys.__unraisablehook__(unraisable)


def _in_words(error: BaseException) -> VcmError:
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return VcmError(Code.CANCELLED, "Cancelled. What was finished before is kept.")
    # A usage error is click's own class, of click itself or of a copy inside typer.
    if hasattr(error, "format_message"):
        context = getattr(error, "ctx", None)
        remedy = f"See: {context.command_path} --help" if context else "See: vcm --help"
        return VcmError(Code.BAD_REQUEST, error.format_message(), remedy)
    failure = in_words(error)
    if failure.code is Code.INTERNAL and failure is not error:
        failure.remedy = "Run the command again with --debug and report what it prints."
    return failure
