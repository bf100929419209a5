"""The folder a run leaves its results in: what is the user's stays, what an earlier run left may be replaced."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vcm.atomic_files import write_json
from vcm.errors import Code, VcmError

REPORT = "report.json"
MONTAGE = "montage.png"
OURS = re.compile(r"(sample|uncontrolled)-\d+\.nii\.gz|report\.json|montage\.png")


@dataclass(frozen=True)
class ResultsFolder:
    """A folder that a run may write its results into."""

    path: Path

    @classmethod
    def claim(cls, path: Path, *, force: bool = False) -> ResultsFolder:
        """Make the folder, and make sure that nothing in it would be lost.

        Results of an earlier run, which its report names, are taken away; files of the same names that no report
        speaks of are the user's, and stay unless `force` is set.
        """
        if path.exists() and not path.is_dir():
            raise VcmError(
                Code.BAD_REQUEST,
                f"The results should go into the folder {path}, but that is a file.",
                "Choose a folder.",
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise VcmError(
                Code.NO_PERMISSION,
                f"The folder {path} for the results cannot be made: {error.strerror}.",
                "Choose a folder you may write to with --out.",
            ) from error
        folder = cls(path)
        write_json(path / REPORT, folder._cleared(force))
        return folder

    def file(self, kind: str, index: int) -> Path:
        """Where a volume goes: `kind` is `sample` or `uncontrolled`."""
        return self.path / f"{kind}-{index}.nii.gz"

    def _cleared(self, force: bool) -> dict[str, Any]:
        taken = [p for p in self.path.iterdir() if OURS.fullmatch(p.name)]
        known = _written_by_us(self.path / REPORT)
        foreign = [p.name for p in taken if p.name not in known]
        if foreign and not force:
            raise VcmError(
                Code.BAD_REQUEST,
                f"The folder {self.path} already holds {', '.join(sorted(foreign))}, which no earlier run left there.",
                "Choose another folder with --out, or replace them with --force.",
            )
        for file in taken:
            file.unlink()
        return {"synthetic": True, "complete": False, "files": [REPORT]}


def _written_by_us(report: Path) -> set[str]:
    try:
        content = json.loads(report.read_text("utf-8"))
        return {str(name) for name in content["files"]} if content["synthetic"] is True else set()
    except (OSError, ValueError, KeyError, TypeError):
        return set()
