"""How a command ends that could not do its work: in a sentence for people, or in JSON, and an exit code."""

from __future__ import annotations

import traceback

import typer

from vcm.cli.display.terminal import OutputLostError, say_json, tell
from vcm.core.errors import Code, VcmError
from vcm.protocol.failures import in_words

EXIT_CODES = {Code.BAD_REQUEST: 2, Code.INTERNAL: 70, Code.OUT_OF_MEMORY: 71, Code.CANCELLED: 130}
REFUSED = 1
"""The exit code of every other failure: an input, a pack or a disk that does not allow the work."""


def end(error: BaseException, *, as_json: bool = False, debug: bool = False) -> int:
    """Tell what went wrong, on stdout for machines and on stderr for people, and give the exit code."""
    if debug:
        traceback.print_exception(error)
    told = _in_words(error)
    if not told.sentence:
        # Who asks for nothing is shown the help, and that is all there is to say.
        return EXIT_CODES[Code.BAD_REQUEST]
    if as_json and not isinstance(told, OutputLostError):
        say_json({"error": told.as_dict()}, indent=None)
    else:
        tell(f"vcm: {told.sentence}")
        for finding in told.details.get("findings", [])[1:]:
            tell(f"vcm: {finding['sentence']}")
        if told.remedy:
            tell(f"     {told.remedy}")
    return EXIT_CODES.get(told.code, REFUSED)


def _in_words(error: BaseException) -> VcmError:
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return VcmError(Code.CANCELLED, "Cancelled. What was finished before is kept.")
    # A usage error is click's own class, of click itself or of a copy inside typer.
    if hasattr(error, "format_message"):
        context = getattr(error, "ctx", None)
        remedy = f"See: {context.command_path} --help" if context else "See: vcm --help"
        return VcmError(Code.BAD_REQUEST, error.format_message(), remedy)
    told = in_words(error)
    if told.code is Code.INTERNAL and told is not error:
        told.remedy = "Run the command again with --debug and report what it prints."
    return told
