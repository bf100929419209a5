"""What every case has: a folder of the user's own files that nothing may change, and a home with packs."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.outputs.record import RECORD
from vcm.volumes.volume_files import write_volume

PACKS = Path(__file__).parents[1] / "packs"
DEMO = Path(__file__).parents[2] / "VCMSlicer" / "Resources" / "DemoCase" / "ventricles.nii.gz"
GRID = Grid((20, 28, 24), [[-8, 0, 0, 79.0], [0, 8, 0, -122.5], [0, 0, 8, -90.0], [0, 0, 0, 1]])
"""Coarse, so that a case is quick, and of three different sizes."""


@dataclass
class Case:
    """One case: its random numbers, the folder that it works in, and a home with packs, which it may remove.

    `shared` is for what all cases begin with; `own_memory` is what the program takes for itself, in bytes.
    """

    rng: random.Random
    folder: Path
    home: Path
    shared: Path
    own_memory: int

    @property
    def user(self) -> Path:
        """Where the user's own files lie."""
        return self.folder / "user"


def new_home(folder: Path) -> Path:
    """A home with the two micro packs, links to the tests' copies."""
    packs = folder / "packs"
    packs.mkdir(parents=True)
    for name in ("micro", "micro-ventricles"):
        (packs / name).symlink_to(PACKS / name)
    return folder


def write_users_files(folder: Path) -> None:
    """A scan, a mask, a table and a text, under the names that results have too."""
    folder.mkdir(parents=True)
    shutil.copyfile(DEMO, folder / "ventricles.nii.gz")
    scan = np.arange(np.prod(GRID.shape), dtype=np.float32).reshape(GRID.shape) % 97
    write_volume(folder / "sample-0.nii.gz", Volume(scan, GRID), synthetic=False)
    (folder / "results.csv").write_text("subject,diagnosis\n17,none\n")
    (folder / "report.json").write_text('{"mine": true}\n')
    (folder / "summary.json").write_text("{}\n")
    (folder / "thesis.txt").write_text("the only copy\n")


def state_of(folder: Path) -> dict[str, str]:
    """Every path below a folder with what it is: kind, permissions and contents."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        content = ""
        if stat.S_ISREG(mode) and os.access(path, os.R_OK):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISLNK(mode):
            content = str(path.readlink())
        found[path.relative_to(folder).as_posix()] = f"{stat.S_IFMT(mode):o} {content}"
    return found


def changes(before: dict[str, str], folder: Path) -> list[str]:
    """The user's files that are gone or other than before; new files beside them are none of them, nor is the program's
    own record of what it wrote, which grows."""
    after = state_of(folder)
    return [
        f"changed the user's {name}"
        for name, was in before.items()
        if after.get(name) != was and not (Path(name).name == RECORD and name in after)
    ]
