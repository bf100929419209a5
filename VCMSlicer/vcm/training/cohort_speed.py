"""How many heads a second are made: `vcm cohort bench`."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vcm.outputs.claims import Claim, Mode
from vcm.training.cohort import CohortMaker
from vcm.training.cohort_making import write_case
from vcm.training.processes import in_processes


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
    """Makes some cases, ready beforehand, and tells when it began and ended."""

    maker: CohortMaker
    out: Path | None

    def __call__(self, numbers: Iterable[int]) -> tuple[float, float]:
        self.maker.prepare()
        started = time.time()
        for case in self.maker.make_all(numbers):
            if self.out is not None:
                with Claim(self.out, mode=Mode.MEMBER):
                    write_case(case, self.maker.seed, self.out)
        return started, time.time()


def _rate(timed: _Timed, count: int, jobs: int) -> float:
    shares = [range(first, count, jobs) for first in range(jobs)]
    spans = list(in_processes(timed, shares, jobs))
    return sum(len(share) for share in shares) / (max(end for _, end in spans) - min(start for start, _ in spans))
