"""Kills a command at points of its work, runs it again, and compares what it left with a run of one piece."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from command_line import vcm_apart
from vcm.outputs.claims import WORK
from vcm.outputs.record import RECORD
from vcm.outputs.swapped_folders import OLD

HIDDEN = (WORK, ".vcm-new-", ".vcm-old-", ".vcm-gone-", ".vcm-lock-", ".vcm-")
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "os.truncate"}


@dataclass(frozen=True)
class KillAt:
    """Ends its process just before its `change`-th change of the disk below `home`, or after `seconds`; counts them."""

    home: Path
    change: int = 0
    seconds: float = 0.0

    def __call__(self) -> None:
        if self.seconds:
            threading.Thread(target=self._later, daemon=True).start()
        home, count = str(self.home), 0
        note = os.open(self.home / ".count", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

        def watched(event: str, arguments: tuple) -> None:
            nonlocal count
            if event == "open":
                changes = isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            else:
                changes = event in CHANGES
            if changes and str(arguments[0]).startswith(home):
                count += 1
                os.pwrite(note, str(count).encode(), 0)
                if count == self.change:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watched)

    def _later(self) -> None:
        time.sleep(self.seconds)
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Scenario:
    """A command in a folder that `prepare` has filled; `found` says what it left that must be the same every time.

    `whole` raises where what a kill left is neither the earlier nor the new state.
    """

    name: str
    prepare: Callable[[Path], None]
    command: Callable[[Path], tuple]
    found: Callable[[Path], dict[str, str]]
    whole: Callable[[Path], None] = lambda home: None


@dataclass(frozen=True)
class Point:
    """Where a command was killed, and what was wrong afterwards; empty if nothing was."""

    scenario: str
    where: str
    wrong: str = ""


class Campaign:
    """One scenario, prepared and run in one piece once, and then killed at many points."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.scenario, self.folder = scenario, folder
        self.master = folder / "master"
        self.master.mkdir(parents=True)
        os.environ["VCM_PACKS"] = str(self.master / "packs")
        scenario.prepare(self.master)
        (self.master / "out").mkdir(exist_ok=True)
        (self.master / "out" / "notes.txt").write_text("mine")
        started = time.monotonic()
        home = self._copy("whole")
        ended = self._run(home, KillAt(home))
        self.seconds = time.monotonic() - started
        assert ended.code == 0, (scenario.name, ended)
        self.changes = int((home / ".count").read_text())
        self.expected = scenario.found(home)
        assert self.expected
        shutil.rmtree(home)

    def points(self, count: int, seed: int) -> list[Point]:
        """Kill at `count` places drawn from all; every fifth by the clock."""
        rng = random.Random(f"{seed} {self.scenario.name}")
        clocked = count // 5
        places = sorted(rng.sample(range(1, self.changes + 1), min(count - clocked, self.changes)))
        ends = [KillAt(Path(), change=place) for place in places]
        ends += [KillAt(Path(), seconds=rng.uniform(0.05, self.seconds)) for _ in range(clocked)]
        return [self._try(number, end) for number, end in enumerate(ends)]

    def _try(self, number: int, end: KillAt) -> Point:
        home = self._copy(str(number))
        where = f"change {end.change} of {self.changes}" if end.change else f"after {end.seconds:.2f} s"
        try:
            killed = self._run(home, KillAt(home, end.change, end.seconds))
            assert killed.code in (0, -signal.SIGKILL), f"ended with {killed}"
            self._check_users_files(home, cut_short=True)
            self.scenario.whole(home)
            again = self._run(home, KillAt(home))
            assert again.code == 0, f"run again, it ended with {again}"
            self._check_users_files(home)
            found = self.scenario.found(home)
            differ = sorted(name for name in {*found, *self.expected} if found.get(name) != self.expected.get(name))
            assert not differ, f"{differ} differ from a run of one piece"
            left = [
                str(p.relative_to(home)) for p in home.rglob(".*") if p.name.startswith(HIDDEN) and p.name != RECORD
            ]
            assert not left, f"{left} are left over"
        except Exception as error:
            return Point(self.scenario.name, where, f"{type(error).__name__}: {error}")
        shutil.rmtree(home)
        return Point(self.scenario.name, where)

    def _copy(self, name: str) -> Path:
        home = self.folder / name
        shutil.copytree(self.master, home, symlinks=True)
        return home

    def _run(self, home: Path, end: KillAt):
        os.environ["VCM_PACKS"] = str(home / "packs")
        return vcm_apart(self.folder, *self.scenario.command(home), hardship=end)

    def _check_users_files(self, home: Path, *, cut_short: bool = False) -> None:
        """All as they were; between the two moves of an exchange, a folder's lie beside it until the next run."""
        for file in self.master.rglob("*"):
            if file.is_file() and ("mine" in file.name or file.name in ("notes.txt", "mask.nii.gz", "table.csv")):
                name = file.relative_to(self.master)
                place = home / name
                if cut_short and not place.exists():
                    place = place.parent.with_name(f"{OLD}{place.parent.name}") / place.name
                assert place.read_bytes() == file.read_bytes(), f"the user's {name} is not as it was"
