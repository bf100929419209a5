"""Any exception as a failure in words, for the person whose request failed."""

from __future__ import annotations

import errno
import json
import traceback
from collections.abc import Iterator
from pathlib import Path

from vcm.core.errors import Code, VcmError, is_out_of_memory
from vcm.core.plain_text import capital
from vcm.protocol import Failed


def in_words(error: BaseException, debug: bool = False) -> VcmError:
    """The error itself where it speaks already; a sentence and a remedy for every other.

    >>> in_words(MemoryError()).code.value
    'OUT_OF_MEMORY'
    """
    if any(is_out_of_memory(cause) for cause in _causes(error)):
        return VcmError(
            Code.OUT_OF_MEMORY,
            "The computer or its graphics card ran out of memory.",
            "Close other programs, choose the precision fp16 or bf16, or compute on another device.",
        )
    if isinstance(error, VcmError):
        return error
    if isinstance(error, ValueError) and "embedded null" in str(error):
        return VcmError(Code.BAD_REQUEST, "The name of a file holds a zero byte.", "Check the paths that were given.")
    if isinstance(error, RuntimeError) and "Symlink loop" in str(error):  # of pathlib, up to Python 3.12
        return VcmError(Code.FILE_UNREADABLE, f"{capital(str(error))}.", "Check the links.")
    if isinstance(error, OSError) and (known := _of_the_system(error)):
        return known
    return _unforeseen(error, debug)


def failed(id: str, error: VcmError) -> Failed:
    """The error as a message; what JSON cannot carry becomes text.

    >>> failed("a", VcmError(Code.GEOMETRY, "It lies elsewhere.", file=Path("mask.nii"))).details
    {'file': 'mask.nii'}
    """
    try:
        details = dict(json.loads(json.dumps(error.details, default=str, allow_nan=False)))
    except (TypeError, ValueError, RecursionError):
        details = {str(name): str(value) for name, value in error.details.items()}
    return Failed(id, error.code, error.sentence, error.remedy, details)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it: whoever reads a file says that it is damaged where memory ran out."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        behind = None if following.__suppress_context__ else following.__context__
        following = following.__cause__ or behind


def _of_the_system(error: OSError) -> VcmError | None:
    name = error.filename or "A file"
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return VcmError(Code.DISK_FULL, f"The disk is full: {name} could not be written.", "Free some space.")
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return VcmError(
            Code.NO_PERMISSION,
            f"This account may not use {name}.",
            "Choose a folder of your own or ask for permission.",
        )
    if error.errno == errno.ENOENT:
        return VcmError(Code.FILE_MISSING, f"{name} is not there.", "Check the path.")
    if error.filename:
        return VcmError(Code.FILE_UNREADABLE, f"{name} cannot be used: {error.strerror}.", "Check the path.")
    return None


def _unforeseen(error: BaseException, debug: bool) -> VcmError:
    frames = traceback.extract_tb(error.__traceback__)
    details = {"where": f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"} if frames else {}
    if debug:
        details["traceback"] = "".join(traceback.format_exception(error))
    said = str(error).strip().split("\n")[0][:200]
    return VcmError(
        Code.INTERNAL,
        f"Something failed that should not have: {type(error).__name__}{': ' + said if said else ''}.",
        "Try again; if it happens again, report it together with these details.",
        **details,
    )
