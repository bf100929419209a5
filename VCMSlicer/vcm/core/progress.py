"""How far a run has come, and how long it will still take."""

from __future__ import annotations

import time
from collections import deque
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


@dataclass(frozen=True)
class TransferRate:
    """How fast bytes come, over the last seconds, and how long the rest will take; None until that is known."""

    bytes_per_second: float | None = None
    seconds_left: float | None = None


class TransferMeter:
    """Reports the rate of a transfer from the bytes done, at most once in `interval` seconds.

    Bytes that were there before it began, as when a download is resumed, are not counted as fast ones.

    >>> meter = TransferMeter(interval=1, clock=iter((0, 1, 1.5, 3)).__next__)
    >>> [meter.at(done, 5000) for done in (1000, 2000, 2500, 4000)]  # doctest: +NORMALIZE_WHITESPACE
    [TransferRate(bytes_per_second=None, seconds_left=None),
     TransferRate(bytes_per_second=1000.0, seconds_left=3.0), None,
     TransferRate(bytes_per_second=1000.0, seconds_left=1.0)]
    """

    WINDOW_SECONDS = 10.0

    def __init__(self, interval: float = 0.2, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval, self._clock = interval, clock
        self._seen: deque[tuple[float, int]] = deque()

    def at(self, done: int, total: int | None) -> TransferRate | None:
        """The rate now, or None where the last report is too recent and there is more to come."""
        now = self._clock()
        if self._seen and now - self._seen[-1][0] < self._interval and done != total:
            return None
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[0][0] > self.WINDOW_SECONDS:
            self._seen.popleft()
        (began, before), passed = self._seen[0], now - self._seen[0][0]
        if passed <= 0 or done <= before:
            return TransferRate()
        rate = (done - before) / (now - began)
        return TransferRate(rate, max(0, total - done) / rate if total is not None else None)
