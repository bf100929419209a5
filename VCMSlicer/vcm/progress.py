"""How far a run has come, and how long it will still take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One report: the `stage` in words, step `step` of `total` within it, the whole run's `fraction`, seconds left.

    `seconds_left` is None until something has been measured.
    """

    stage: str
    step: int
    total: int
    fraction: float
    seconds_left: float | None


OnProgress = Callable[[Progress], None]


class ProgressMeter:
    """Turns finished stages into Progress. Each stage has an expected share of the work, corrected as time is measured.

    >>> seen = []
    >>> meter = ProgressMeter([("sampling", 3.0, 2), ("decoding", 1.0, 1)], seen.append, clock=iter(range(9)).__next__)
    >>> meter.advance("sampling"); meter.advance("sampling"); meter.advance("decoding")
    >>> [(p.stage, p.step, p.fraction) for p in seen]
    [('sampling', 1, 0.375), ('sampling', 2, 0.75), ('decoding', 1, 1.0)]
    """

    def __init__(
        self,
        stages: list[tuple[str, float, int]],
        on_progress: OnProgress | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._share = {name: share for name, share, _ in stages}
        self._total = {name: max(1, count) for name, _, count in stages}
        self._done = dict.fromkeys(self._share, 0)
        self._on_progress = on_progress
        self._clock = clock
        self._start = clock()

    def advance(self, stage: str) -> None:
        """One more step of `stage` is done."""
        self._done[stage] = min(self._done[stage] + 1, self._total[stage])
        whole = sum(self._share.values())
        fraction = sum(self._share[n] * self._done[n] / self._total[n] for n in self._share) / whole
        elapsed = self._clock() - self._start
        if self._on_progress:
            left = elapsed * (1 - fraction) / fraction if fraction > 0 else None
            self._on_progress(Progress(stage, self._done[stage], self._total[stage], fraction, left))
