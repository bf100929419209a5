"""How files that others made are opened and read: ordinary files only, and never more of them than there can be.

Every reader of the engine begins here, and a test holds all modules to it. A pipe, a device or a folder is refused
before anything waits for it; a text, a table or a JSON document is refused in a sentence that names the file where it
is too large, too deep, of another encoding or of another kind than it has to be.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from vcm.core.errors import Code, VcmError
from vcm.core.plain_text import plain

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MOST_TEXT = 64_000_000
"""Bytes of a text: a table of half a million cases has some forty million."""

MOST_DEPTH = 64
"""How deep lists and objects may lie in one another in a JSON document; ours are six deep."""

LONGEST_NUMBER = 30
"""Digits of a whole number in a JSON document."""

NO_TEXT = re.compile("[\0\ud800-\udfff]")


def open_ordinary(path: Path) -> BinaryIO:
    """Open an ordinary file for reading in binary; anything else is refused without waiting for it.

    A disk or a network drive that fails while the file is read raises a `VcmError` too.
    """
    shown = plain(str(path))
    if "\0" in str(path):
        raise VcmError(Code.FILE_MISSING, f"There is no file {shown}: no file's name has a NUL in it.", "Check it.")
    # Without O_NONBLOCK the opening of a pipe waits for somebody to write into it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except (FileNotFoundError, NotADirectoryError):
        raise VcmError(Code.FILE_MISSING, f"There is no file {shown}.", "Check the path.") from None
    except PermissionError as error:
        if Path(path).is_dir():  # as Windows says of a folder
            raise _not_ordinary(shown, "a folder") from None
        raise VcmError(Code.NO_PERMISSION, f"This account may not read {shown}.", "Ask for read permission.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise VcmError(Code.FILE_UNREADABLE, f"{shown} cannot be opened: {reason}.", "Check the path.") from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise _not_ordinary(shown, _kind(mode))
    return io.BufferedReader(_NamedFile(descriptor, path))


class _NamedFile(io.FileIO):
    """An open file that says its name where reading it fails."""

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor, "rb")
        self._path = path

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        try:
            return super().readinto(buffer)
        except OSError as error:
            raise _unreadable(self._path, f"it cannot be read: {error.strerror}") from error

    def readall(self) -> bytes:
        try:
            return super().readall() or b""
        except OSError as error:
            raise _unreadable(self._path, f"it cannot be read: {error.strerror}") from error


def refuse_unordinary(path: Path) -> None:
    """Raise where a file is not there, may not be read or is no ordinary file; for readers that open it themselves."""
    open_ordinary(path).close()


def read_bytes(path: Path, most: int = MOST_TEXT) -> bytes:
    """The whole of an ordinary file of at most `most` bytes."""
    with open_ordinary(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise _unreadable(path, f"it has more than {most:,} bytes, the most that is read of such a file")
    return data


def read_text(path: Path, most: int = MOST_TEXT, *, nul: bool = False) -> str:
    """The text of a file in UTF-8, with or without a mark of its byte order; NUL is refused unless `nul` says else."""
    data = read_bytes(path, most)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable(path, "it is no text in UTF-8", "Save it again as text in UTF-8.") from error
    if "\0" in text and not nul:
        raise _unreadable(path, "it is no text, as it holds NUL bytes", "Save it again as text in UTF-8.")
    return text


def open_text(path: Path, *, nul: bool = False) -> io.StringIO:
    """The text of a file as a stream that keeps its line ends, as the readers of tables want it; see `read_text`."""
    return io.StringIO(read_text(path, nul=nul), newline="")


def read_json(path: Path, *, most: int = MOST_TEXT, code: Code = Code.FILE_UNREADABLE) -> dict[str, Any]:
    """The object in a JSON file; a list, a text or a number at its outermost is refused.

    Numbers that JSON does not know, such as NaN, are refused, and so is what no text can hold: half of a surrogate
    pair or NUL. `code` says what a document that does not fit is called.
    """
    try:
        text = read_text(path, most)
    except VcmError as error:
        raise VcmError(
            code if error.code is Code.FILE_UNREADABLE else error.code, error.sentence, error.remedy
        ) from error
    try:
        content = json.loads(text, parse_constant=_refuse_number, parse_float=_finite, parse_int=_whole)
    except json.JSONDecodeError as error:
        sentence = f"{plain(str(path))} is not valid JSON: {error.msg} in line {error.lineno}, column {error.colno}."
        raise VcmError(code, sentence, "Correct that place or restore the file.") from error
    except RecursionError as error:
        raise _too_deep(path, code) from error
    except ValueError as error:
        raise VcmError(code, f"{plain(str(path))} cannot be used as JSON: {error}.", "Correct that place.") from error
    _check_values(path, content, code)
    if not isinstance(content, dict):
        raise VcmError(
            code,
            f"{plain(str(path))} holds {_json_kind(content)} where an object {{…}} is expected.",
            "Restore the file, or make it anew.",
        )
    return content


def read_toml(path: Path, most: int = MOST_TEXT) -> dict[str, Any]:
    """The tables in a TOML file."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    text = read_text(path, most)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, f"it is no TOML: {error}", "Correct that place.") from error


@contextmanager
def missing_as(sentence: str, remedy: str = "Check the path.") -> Iterator[None]:
    """Say in these words that a file is not there."""
    try:
        yield
    except VcmError as error:
        if error.code is Code.FILE_MISSING:
            raise VcmError(Code.FILE_MISSING, sentence, remedy) from None
        raise


def _check_values(path: Path, content: Any, code: Code) -> None:
    """Depth and texts, without going deeper than a document may."""
    layer = [content]
    for _ in range(MOST_DEPTH):
        inner: list[Any] = []
        for value in layer:
            if isinstance(value, dict):
                inner += [*value, *value.values()]
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, str) and NO_TEXT.search(value):
                raise VcmError(
                    code,
                    f"{plain(str(path))} holds “{plain(value)[:40]}”, in which a letter is no text.",
                    "Correct that place or restore the file.",
                )
        if not inner:
            return
        layer = inner
    raise _too_deep(path, code)


def _too_deep(path: Path, code: Code) -> VcmError:
    return VcmError(
        code,
        f"{plain(str(path))} cannot be used as JSON: it is more than {MOST_DEPTH} lists and objects deep.",
        "Restore the file, or make it anew.",
    )


def _unreadable(path: Path, how: str, remedy: str = "Check which file was meant.") -> VcmError:
    return VcmError(Code.FILE_UNREADABLE, f"{plain(str(path))} cannot be used: {how}.", remedy)


def _not_ordinary(shown: str, kind: str) -> VcmError:
    return VcmError(
        Code.FILE_UNREADABLE,
        f"{shown} is {kind}, not an ordinary file.",
        "Give a file; write what comes through a pipe into one first.",
    )


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")


def _json_kind(content: Any) -> str:
    if isinstance(content, list):
        return "a list […]"
    return "a text" if isinstance(content, str) else f"just {json.dumps(content)}"


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse_number(text)


def _whole(text: str) -> int:
    return int(text) if len(text) <= LONGEST_NUMBER else int(_refuse_number(text))


def _refuse_number(text: str) -> float:
    kind = "is too long a number" if text.lstrip("-").isdigit() else "is not a finite number"
    raise ValueError(f"{text[:40]} {kind}")
