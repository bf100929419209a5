"""What a teaching keeps of itself in its folder, so that the same command goes on with the same: `teaching.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vcm.cohort.held_out import Split
from vcm.core.errors import MALFORMED, Code, VcmError
from vcm.outputs.sealed_json import read_sealed, write_sealed
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
        write_sealed(
            folder / RECORD,
            {
                "taught": dict(self.taught),
                "backbone": self.backbone,
                "split": asdict(self.split),
                "settings": self.settings.as_dict(),
                "reasons": list(self.reasons),
                "pace": asdict(self.pace),
            },
        )


def read_record(folder: Path) -> TeachRecord | None:
    """What a folder keeps, or None where no teaching was begun."""
    path = folder / RECORD
    if not path.exists():
        return None
    entry = read_sealed(path)
    try:
        return TeachRecord(
            entry["taught"],
            entry["backbone"],
            Split(**{name: tuple(names) for name, names in entry["split"].items()}),
            ControlSettings.from_dict(entry["settings"], str(path)),
            tuple(entry["reasons"]),
            Pace(**entry["pace"]),
        )
    except MALFORMED as error:
        raise VcmError(
            Code.FILE_UNREADABLE, f"{path} does not tell of a teaching.", f"Delete {folder} to begin anew."
        ) from error


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
