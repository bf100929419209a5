"""One folder a run: what goes to the worker, what comes back, and a note of both; not lost with the scene."""

from __future__ import annotations

import json
import shutil
import time
import uuid
from contextlib import suppress
from pathlib import Path

from vcm.protocol import Generate, Generated, decode, encode

from VCMSlicerLib.install.userFolders import runsFolder

NOTE = "run.jsonl"
IMPORTED = "imported"
OLD_S = 86_400.0
"""What a run left is no other session's any more after so many seconds."""


class RunFolder:
    """`inputs` and `previews` go when the run has ended; `out` stays until its images are in a scene."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def make(cls, parent: Path | None = None) -> RunFolder:
        """A new folder."""
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
        run = cls((parent or runsFolder()) / name)
        for folder in (run.inputs, run.previews):
            folder.mkdir(parents=True, exist_ok=True)
        return run

    @property
    def inputs(self) -> Path:
        """Files of the conditions."""
        return self.folder / "inputs"

    @property
    def previews(self) -> Path:
        """The forming images."""
        return self.folder / "previews"

    @property
    def out(self) -> Path:
        """What the worker made."""
        return self.folder / "out"

    def keep(self, request: Generate, generated: Generated) -> None:
        """Note what was asked and answered, so that `open` can bring it into a scene later."""
        (self.folder / NOTE).write_bytes(encode(request) + encode(generated))

    def open(self) -> tuple[Generate, Generated]:
        """What was asked and answered."""
        request, generated = map(decode, (self.folder / NOTE).read_bytes().splitlines())
        if not isinstance(request, Generate) or not isinstance(generated, Generated):
            raise ValueError(f"{self.folder} is not a run")
        return request, generated

    def tidy(self) -> None:
        """Remove what only the run needed."""
        shutil.rmtree(self.inputs, ignore_errors=True)
        shutil.rmtree(self.previews, ignore_errors=True)

    def markImported(self) -> None:
        """Its images are in a scene."""
        (self.folder / IMPORTED).write_text(json.dumps(True), "utf-8")

    def remove(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def removeOld(parent: Path | None = None) -> None:
    """Remove what sessions that were killed left: runs whose images are in a scene, and inputs of the others."""
    with suppress(OSError):
        for folder in list((parent or runsFolder()).iterdir()):
            with suppress(OSError):
                if not folder.is_dir() or time.time() - folder.stat().st_mtime < OLD_S:
                    continue
                run = RunFolder(folder)
                if (folder / IMPORTED).exists() or not (folder / NOTE).is_file():
                    run.remove()
                else:
                    run.tidy()


def keptRuns(parent: Path | None = None) -> list[RunFolder]:
    """Runs whose images never came into a scene, oldest first."""
    try:
        folders = sorted((parent or runsFolder()).iterdir())
    except OSError:
        return []
    return [RunFolder(f) for f in folders if (f / NOTE).is_file() and not (f / IMPORTED).exists()]
