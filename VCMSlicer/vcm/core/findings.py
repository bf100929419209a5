"""What the input doctor says: one sentence, how serious it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from vcm.core.errors import Code, VcmError
from vcm.core.records import Record


class Level(str, Enum):
    """`ERROR` stops a run, `WARNING` is reported and recorded, `NOTE` is recorded."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, eq=False, repr=False)
class Finding(Record):
    """One thing found about an input.

    >>> Finding(Level.WARNING, "VOXELS_LOST", "ventricles", "12 voxels lie outside the grid.").as_dict()["level"]
    'warning'
    """

    level: Level
    code: str
    subject: str
    sentence: str
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        from vcm.core.typed_json import as_json

        return dict(as_json(self))


def raise_first_error(findings: Iterable[Finding], code: Code = Code.CONDITION) -> None:
    """Stop at the first `ERROR`; the others travel in the error's details."""
    errors = [finding for finding in findings if finding.level is Level.ERROR]
    if errors:
        first = errors[0]
        raise VcmError(code, first.sentence, first.remedy, findings=[finding.as_dict() for finding in errors])
