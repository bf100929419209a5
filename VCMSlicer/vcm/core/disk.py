"""Errors of the disk as sentences."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vcm.core.errors import Code, VcmError
from vcm.core.plain_text import is_readable, plain

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` while `path` is written, moved or removed into a `VcmError`.

    >>> with file_errors(Path("/proc/pack")):
    ...     Path("/proc/pack").mkdir()
    Traceback (most recent call last):
    vcm.core.errors.VcmError: ...
    """
    try:
        yield
    except OSError as error:
        raise disk_error(error, path) from error


def disk_error(error: OSError, path: Path) -> VcmError:
    """The sentence for one `OSError` on `path`."""
    if error.errno in _FULL:
        return VcmError(
            Code.DISK_FULL,
            f"There is no room to write {path}.",
            "Free some space, or move the packs' folder with the environment variable VCM_PACKS.",
        )
    if error.errno in _FORBIDDEN:
        return VcmError(
            Code.NO_PERMISSION,
            f"You may not write {path}.",
            "Ask for permission, or move the packs' folder with the environment variable VCM_PACKS.",
        )
    return VcmError(Code.FILE_UNREADABLE, f"{path} cannot be written: {error.strerror or error}.")


def require_utf8(path: Path) -> None:
    """Refuse a place whose name is no UTF-8: what writes images and transforms would end the program."""
    if not is_readable(str(path)):
        sentence = f"{plain(str(path))} is not written in UTF-8, which images need."
        raise VcmError(Code.BAD_REQUEST, sentence, "Choose another folder.")
