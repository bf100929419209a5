"""Many cases of several drivers, each from its own seed, and what was found."""

from __future__ import annotations

import importlib
import random
import resource
import shutil
import time
from collections import Counter
from pathlib import Path

from case import Case, changes, new_home, state_of, write_users_files
from process import CODES

DRIVERS = ("images", "options", "packs", "worker", "faults", "batches", "privacy", "learning")
SHARE = dict(zip(DRIVERS, (30, 22, 10, 20, 3, 10, 1, 4), strict=True))
"""Of a hundred cases; a driver whose cases are whole processes has fewer."""

PRELOADED = (
    "vcm.cli",
    "vcm.sampling.generator",
    "vcm.runs.run",
    "vcm.runs.batches.run",
    "vcm.models.loading",
    "vcm.conditions.doctor",
)


class Campaign:
    """Runs cases and keeps what was found; the folders of cases in which nothing was found are removed."""

    def __init__(self, folder: Path, seed: int, minutes: float = float("inf")) -> None:
        for module in PRELOADED:
            importlib.import_module(module)
        self.folder = folder
        self.seed = seed
        self.until = time.monotonic() + 60 * minutes
        self.own_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        self.shared = folder / "shared"
        self.done: Counter[str] = Counter()
        self.found: list[str] = []
        self.slowest: dict[str, tuple[float, int]] = {}

    def run(self, drivers: list[str], cases: int) -> None:
        """Share out the cases and run them, driver by driver."""
        whole = sum(SHARE[name] for name in drivers)
        for name in drivers:
            wanted, number = max(1, round(cases * SHARE[name] / whole)), 0
            while self.done[name] < wanted and time.monotonic() < self.until:
                self.run_one(name, number)
                number += 1

    def run_one(self, driver: str, number: int, *, keep: bool = False) -> None:
        """One case: its folder, the driver, and whether the user's files are as they were."""
        rng = random.Random(f"{driver}:{self.seed}:{number}")
        folder = self.folder / f"{driver}-{number}"
        case = Case(rng, folder, new_home(folder / "home"), self.shared, self.own_memory)
        write_users_files(case.user)
        before = state_of(case.user)
        began = time.monotonic()
        count, complaints = importlib.import_module(f"drivers.{driver}").run(case)
        seconds = time.monotonic() - began
        self.done[driver] += count
        self.slowest[driver] = max(self.slowest.get(driver, (0.0, 0)), (seconds, number))
        complaints += changes(before, case.user)
        for complaint in complaints:
            self.found.append(f"{driver} {number} (seed {self.seed}): {complaint}")
            print(self.found[-1][:600], flush=True)
        if complaints or keep:
            print(f"    its folder is {case.folder}", flush=True)
        else:
            _remove(case.folder)

    def summary(self) -> str:
        """How many cases, how long the slowest took, and how much was found."""
        lines = [
            f"{name:10} {count:7,} cases, slowest {self.slowest[name][0]:5.1f} s (number {self.slowest[name][1]})"
            for name, count in self.done.items()
        ]
        codes = ", ".join(f"{code}: {count:,}" for code, count in sorted(CODES.items()))
        lines.append(f"exit codes {codes}")
        return "\n".join([*lines, f"{sum(self.done.values()):,} cases in all, {len(self.found)} findings"])


def _remove(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)
