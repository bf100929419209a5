"""Files that are there whole or not at all: written beside their place, flushed to disk, then moved into it."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vcm.core.errors import Code, VcmError
from vcm.outputs.claims import claimed

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
NO_ROOM_WORDS = ("no space left", "disk quota", "file too large", "os error 28", "os error 122", "os error 27")


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """A temporary path, whose file takes the place of `target` when the block ends without an error.

    The temporary name ends as the target's does, so that writers choose the right format. Missing folders are made,
    and an existing file keeps its permissions. On any failure the target stays as it was and the temporary file is
    removed; a full disk and a missing permission become a `VcmError`. So does an existing file that is an input of the
    run, or that the program did not write (`vcm.outputs.claims`): nothing else puts files in place.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "report.txt"
    >>> with atomic_path(target) as path:
    ...     _ = path.write_text("whole")
    >>> target.read_text(), sorted((p.name for p in target.parent.iterdir()), reverse=True)
    ('whole', ['report.txt', '.vcm-written.jsonl'])
    """
    asked = Path(target)
    with _failures_in_words(asked), claimed(asked) as claim:
        place = claim.admit(asked)
        _refuse_unwritable(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = claim.temporary(place)
        try:
            yield temporary
            _flush(temporary)
            if place.exists() and not place.is_symlink():
                shutil.copymode(place, temporary)
            claim.put(temporary, place)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Put text in place whole, as UTF-8 with plain newlines; what of a file's name is no text is escaped."""
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file,
    ):
        file.write(text)


def write_json(path: str | Path, data: Any) -> None:
    """Put JSON in place whole; numbers that JSON does not know (NaN, infinity) become null."""
    write_text(path, json.dumps(without_nan(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def without_nan(data: Any) -> Any:
    """The data with None in place of every number that JSON does not know.

    >>> without_nan({"a": [1.0, math.nan]})
    {'a': [1.0, None]}
    """
    if isinstance(data, float) and not math.isfinite(data):
        return None
    if isinstance(data, dict):
        return {key: without_nan(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [without_nan(value) for value in data]
    return data


def _refuse_unwritable(place: Path) -> None:
    # A rename needs no permission on the file it replaces: without this a write-protected file would be lost.
    if place.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(place))
    if place.exists() and not os.access(place, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def _failures_in_words(target: Path) -> Iterator[None]:
    try:
        yield
    except VcmError:
        raise
    except OSError as error:
        raise _explained(error.errno, target, error) from error
    except Exception as error:
        # safetensors and torch report a full disk by text alone.
        if any(words in str(error).lower() for words in NO_ROOM_WORDS):
            raise _explained(errno.ENOSPC, target, error) from error
        raise


def _explained(number: int | None, target: Path, error: Exception) -> VcmError:
    if number in NO_ROOM:
        return VcmError(
            Code.DISK_FULL,
            f"{target} could not be written: the disk is full or its quota is used up.",
            f"Free some space in {target.parent} or choose another folder; what was there before is unchanged.",
        )
    if number in NOT_ALLOWED:
        return VcmError(
            Code.NO_PERMISSION,
            f"{target} could not be written: this account may not write there.",
            "Choose a folder of your own or ask for write permission.",
        )
    if number in {errno.ENOTDIR, errno.EEXIST, errno.EISDIR}:
        found = "it is a folder" if number == errno.EISDIR else "a part of its path is a file, not a folder"
        return VcmError(
            Code.NO_PERMISSION, f"{target} could not be written: {found}.", "Give the path of a file in a folder."
        )
    reason = os.strerror(number) if number else str(error)
    return VcmError(Code.NO_PERMISSION, f"{target} could not be written: {reason}.", "Choose another folder or name.")
