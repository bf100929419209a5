"""What a teaching keeps of itself in its folder, so that the same command goes on with the same: `teaching.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vcm.cohort.held_out import Split
from vcm.core.errors import Code, VcmError
from vcm.core.typed_json import as_json
from vcm.outputs.sealed_json import read_sealed_as, write_sealed
from vcm.teach.pace import Pace
from vcm.training.control.settings import ControlSettings

RECORD = "teaching.json"


@dataclass(frozen=True)
class TeachRecord:
    """What is taught to which backbone, from which cases, how and why."""

    taught: Mapping[str, Any]
    backbone: str
    split: Split
    settings: ControlSettings
    reasons: tuple[str, ...]
    pace: Pace

    def save(self, folder: Path) -> None:
        """Put it in place."""
        write_sealed(folder / RECORD, as_json(self))


def read_record(folder: Path) -> TeachRecord | None:
    """What a folder keeps, or None where no teaching was begun."""
    path = folder / RECORD
    if not path.exists():
        return None
    try:
        return read_sealed_as(TeachRecord, path)
    except VcmError as error:
        raise VcmError(error.code, error.sentence, f"Restore it, or delete {folder} to begin anew.") from error


def refuse_another(record: TeachRecord, taught: Mapping[str, Any], backbone: str, split: Split, folder: Path) -> None:
    """A teaching goes on with what it began with, or not at all: held-out heads must stay held out."""
    if dict(record.taught) != dict(taught) or record.backbone != backbone:
        raise VcmError(
            Code.BAD_REQUEST,
            f"A teaching of this name was begun with other conditions or another backbone ({folder}).",
            "Choose another --name, or delete that folder to begin anew.",
        )
    former, now = ({*s.learned, *s.held_out} for s in (record.split, split))
    if record.split == split:
        return
    gone, new = sorted(former - now), sorted(now - former)
    words = [
        f"{', '.join(names)} {how}" for names, how in ((gone, "can no longer be used"), (new, "came since")) if names
    ]
    raise VcmError(
        Code.BAD_REQUEST,
        f"The cases are not those this teaching was begun with: {'; '.join(words) or 'their heads have changed'}.",
        f"Give the same cases, choose another --name, or delete {folder} to begin anew.",
    )
