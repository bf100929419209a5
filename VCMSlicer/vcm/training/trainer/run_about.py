"""What a run's folder tells of itself beside its settings: how many cases, and what of a manifest follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vcm.core.errors import MALFORMED, Code, VcmError
from vcm.outputs.sealed_json import read_sealed, write_sealed

ABOUT = "about.json"


@dataclass(frozen=True)
class About:
    """`conditions` are the manifest's entries of a control; `changes` what a backbone's manifest says otherwise than
    that of the pack the training began with."""

    cases: int
    conditions: list[dict[str, Any]] = field(default_factory=list)
    changes: dict[str, Any] = field(default_factory=dict)


def write_about(
    folder: Path, cases: int, *, conditions: list[dict[str, Any]] | None = None, changes: dict[str, Any] | None = None
) -> None:
    """Put it in place."""
    write_sealed(folder / ABOUT, {"cases": cases, "conditions": conditions or [], "changes": changes or {}})


def read_about(folder: Path) -> About:
    """Read it."""
    try:
        return About(**read_sealed(folder / ABOUT))
    except (VcmError, *MALFORMED) as error:
        raise VcmError(
            Code.FILE_UNREADABLE,
            f"{folder} lacks a readable {ABOUT}, which every training writes.",
            "Give the folder of a training; running its command once more writes the file again.",
        ) from error
