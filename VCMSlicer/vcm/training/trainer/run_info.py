"""What a run's folder keeps beside its settings: the number of cases, and entries of the manifest of its pack."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vcm.core.errors import Code, VcmError
from vcm.core.typed_json import as_json
from vcm.outputs.sealed_json import read_sealed_as, write_sealed

RUN_INFO = "about.json"


@dataclass(frozen=True)
class RunInfo:
    """`conditions` are the manifest's entries of a control; `changes` what differs in a backbone's manifest from
    that of the pack the training started from."""

    cases: int
    conditions: list[dict[str, Any]] = field(default_factory=list)
    changes: dict[str, Any] = field(default_factory=dict)


def write_run_info(folder: Path, info: RunInfo) -> None:
    """Write it."""
    write_sealed(folder / RUN_INFO, as_json(info))


def read_run_info(folder: Path) -> RunInfo:
    """Read it."""
    try:
        return read_sealed_as(RunInfo, folder / RUN_INFO)
    except VcmError as error:
        raise VcmError(
            Code.FILE_UNREADABLE,
            f"{folder} lacks a readable {RUN_INFO}, which every training writes.",
            "Give the folder of a training; running its command once more writes the file again.",
        ) from error
