"""The command line's only ways out: what is printed is escaped, and a stream that takes nothing more is survived."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from vcm.core.errors import Code, VcmError
from vcm.core.plain_text import plain, plain_lines
from vcm.worker.streams import open_closed_streams

PIPE_WIDTH = 200
_REPLACED: list[Any] = []
"""Streams that would close their descriptors if nobody held them any more."""


class OutputLostError(VcmError):
    """What was printed could not be written, to a full disk for instance."""


def say(*lines: str) -> None:
    """Print lines on stdout, each of which stays one."""
    for line in lines:
        print(plain(line), flush=True)


def say_json(content: Any, indent: int | None = 1) -> None:
    """Print JSON for machines on stdout, in ASCII, as not every terminal and pipe takes more."""
    print(json.dumps(content, indent=indent, default=str), flush=True)


def say_on_stderr(line: str) -> None:
    """Print a line on stderr."""
    print(plain(line), file=sys.stderr, flush=True)


class SafeConsole(Console):
    """Rich's console, in which no text of others can hold a terminal's commands or markup."""

    def __init__(self, *, stderr: bool = False, quiet: bool = False, soft_wrap: bool = False) -> None:
        # Into a pipe, lines are left long enough for other programs to read.
        width = None if soft_wrap or _is_terminal(stderr) else PIPE_WIDTH
        super().__init__(
            stderr=stderr, quiet=quiet, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False, width=width
        )

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # rich would end the process as if the command had failed

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else plain_lines(text), style, control)


def own_streams() -> None:
    """Make stdout and stderr of this process such that printing never ends in a traceback.

    Closed ones lead nowhere. What an encoding cannot say is escaped. A failure of stdout is an error with a sentence;
    stderr, on which nobody waits, is silent then.
    """
    open_closed_streams()
    for name, number, raw in (("stdout", 1, _Output), ("stderr", 2, _Errors)):
        stream = getattr(sys, name)
        encoding = getattr(stream, "encoding", None) or "utf-8"
        if os.name == "posix":
            if stream is not None:
                stream.flush()
                _REPLACED.append(stream)
            wrapped = io.BufferedWriter(raw(number, "w", closefd=False))
            setattr(sys, name, io.TextIOWrapper(wrapped, encoding, "backslashreplace", line_buffering=True))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class _Output(io.FileIO):
    """The descriptor of stdout. After its first failure it leads nowhere, so that no rest is tried at the exit."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            _lead_nowhere(self.fileno())
            raise
        except OSError as error:
            _lead_nowhere(self.fileno())
            code = Code.DISK_FULL if error.errno == errno.ENOSPC else Code.FILE_UNREADABLE
            sentence = f"What this command prints could not be written: {error.strerror}."
            raise OutputLostError(code, sentence, "Send its output elsewhere.") from None


class _Errors(io.FileIO):
    """The descriptor of stderr. After its first failure it leads nowhere."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            _lead_nowhere(self.fileno())
            return len(data)


def _lead_nowhere(number: int) -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, number)
    os.close(nothing)


def _is_terminal(stderr: bool) -> bool:
    stream = sys.stderr if stderr else sys.stdout
    return stream is not None and stream.isatty()
