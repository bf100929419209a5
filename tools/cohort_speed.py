"""How many heads a second are made: `python tools/cohort_speed.py --labelmaps FOLDER --jobs 2`."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from vcm.cli.cohort import Contrasts, Device, GridName, Heads, Jobs, LabelMapFolder, LesionShare, cohort_maker
from vcm.cli.display.terminal import say
from vcm.cohort.making.heads import CohortMaker
from vcm.cohort.making.making import write_case
from vcm.core.processes import in_processes
from vcm.machine.local_device import compute_on_one_core
from vcm.outputs.claims import Claim, Mode


@dataclass(frozen=True)
class Speed:
    """Heads a second from all processes together, and the seconds that one label map takes to be made ready."""

    in_memory: float
    as_files: float
    preparing_s: float


def measure_speed(maker: CohortMaker, count: int, jobs: int) -> Speed:
    """Make `count` cases twice: in memory, and as files in a folder that is removed again.

    What each process does once, such as making the label maps ready, is left out: time runs from when each has made
    its first case.
    """
    started = time.perf_counter()
    maker.prepare()
    preparing = (time.perf_counter() - started) / len(maker.maps.files)
    with tempfile.TemporaryDirectory(prefix="vcm-cohort-") as folder:
        memory = _rate(_Timed(maker, None), count, jobs)
        files = _rate(_Timed(maker, Path(folder)), count, jobs)
    return Speed(memory, files, preparing)


@dataclass(frozen=True)
class _Timed:
    """Makes some cases, ready beforehand, and reports when it started and ended."""

    maker: CohortMaker
    out: Path | None

    def __call__(self, numbers: Iterable[int]) -> tuple[float, float]:
        self.maker.prepare()
        started = time.time()
        for case in map(self.maker.make, numbers):
            if self.out is not None:
                with Claim(self.out, mode=Mode.MEMBER):
                    write_case(case, self.maker.seed, self.out)
        return started, time.time()


def _rate(timed: _Timed, count: int, jobs: int) -> float:
    shares = [range(first, count, jobs) for first in range(jobs)]
    spans = list(in_processes(timed, shares, jobs, compute_on_one_core))
    return sum(len(share) for share in shares) / (max(end for _, end in spans) - min(start for start, _ in spans))


def speed(
    labelmaps: LabelMapFolder,
    count: Annotated[int, typer.Option(min=2, help="How many cases to make.")] = 40,
    heads: Heads = None,
    contrasts: Contrasts = "t1",
    grid: GridName = "whole-head",
    lesions: LesionShare = 0.5,
    jobs: Jobs = 1,
    device: Device = "cpu",
) -> None:
    """Measure how many heads a second are made, in memory and as files in a folder that is removed again."""
    found = measure_speed(cohort_maker(labelmaps, 1, heads, contrasts, grid, lesions, device), count, jobs)
    say(f"{found.in_memory:6.2f} heads a second in memory")
    say(f"{found.as_files:6.2f} heads a second as files")
    say(f"{found.preparing_s:6.2f} seconds to prepare a label map, once in each process")


def main(arguments: list[str] | None = None) -> None:
    """Run the measurement as a command."""
    from vcm.cli import run

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(speed)
    run(app, "cohort_speed.py", arguments)


if __name__ == "__main__":
    main()
