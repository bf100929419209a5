"""What a teaching was started with, kept in its folder so that the same command resumes it: `teaching.json`."""

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
    """Conditions, backbone, cases, settings and the reasons for them."""

    taught: Mapping[str, Any]
    backbone: str
    split: Split
    settings: ControlSettings
    reasons: tuple[str, ...]
    pace: Pace

    def save(self, folder: Path) -> None:
        """Write it."""
        write_sealed(folder / RECORD, as_json(self))


def read_record(folder: Path) -> TeachRecord | None:
    """What a folder keeps, or None where there is no teaching."""
    path = folder / RECORD
    if not path.exists():
        return None
    try:
        return read_sealed_as(TeachRecord, path)
    except VcmError as error:
        raise VcmError(error.code, error.sentence, f"Restore it, or delete {folder} to start again.") from error


def refuse_another(
    record: TeachRecord, taught: Mapping[str, Any], backbone: str, kind: str, split: Split, folder: Path
) -> None:
    """Refuse other conditions, another backbone, kind of control or other cases: held-out heads must stay held out."""
    if record.settings.architecture != kind:
        raise VcmError(
            Code.BAD_REQUEST,
            f"A teaching of this name was started with the control kind {record.settings.architecture} ({folder}).",
            "Choose another --name, or delete that folder to start again.",
        )
    if dict(record.taught) != dict(taught) or record.backbone != backbone:
        raise VcmError(
            Code.BAD_REQUEST,
            f"A teaching of this name was started with other conditions or another backbone ({folder}).",
            "Choose another --name, or delete that folder to start again.",
        )
    former, now = ({*s.learned, *s.held_out} for s in (record.split, split))
    if record.split == split:
        return
    gone, new = sorted(former - now), sorted(now - former)
    words = [f"{', '.join(names)} {how}" for names, how in ((gone, "can no longer be used"), (new, "are new")) if names]
    raise VcmError(
        Code.BAD_REQUEST,
        f"The cases differ from those of the start of this teaching: {'; '.join(words) or 'their heads have changed'}.",
        f"Give the same cases, choose another --name, or delete {folder} to start again.",
    )
