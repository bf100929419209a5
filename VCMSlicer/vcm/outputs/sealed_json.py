"""JSON in which the program keeps its own state, with a checksum, so that a disk's damage is not taken for a number."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from vcm.core.errors import Code, VcmError
from vcm.core.reading import read_json
from vcm.core.typed_json import FieldError, read_fields
from vcm.outputs.atomic_files import without_nan, write_json

T = TypeVar("T")

CHECKSUM = "checksum"


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Put JSON in place whole, with a checksum over all of it."""
    # As it will be read: keys are texts, tuples are lists, numbers that JSON does not know are null.
    plain = json.loads(json.dumps(without_nan(dict(content))))
    write_json(path, {**plain, CHECKSUM: _digest(plain)})


def read_sealed(path: Path) -> dict[str, Any]:
    """What was written, without its checksum. One without any, as earlier versions wrote it, is taken as it is."""
    content = read_json(path)
    expected = content.pop(CHECKSUM, None)
    if expected is not None and expected != _digest(content):
        raise VcmError(
            Code.FILE_UNREADABLE,
            f"{path} is damaged, or was changed by hand: its checksum is wrong.",
            "Restore it from a copy, or remove it to begin anew; without its line “checksum” it is taken as it is.",
        )
    return content


def read_sealed_as(cls: type[T], path: Path) -> T:
    """What was written of a dataclass with `as_json`; refused where it is of another kind."""
    content = read_sealed(path)
    try:
        return read_fields(cls, content)
    except FieldError as error:
        raise VcmError(Code.FILE_UNREADABLE, f"{path} does not fit: {error}.", "Restore it from a copy.") from error


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
