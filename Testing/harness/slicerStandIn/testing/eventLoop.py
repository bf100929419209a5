"""Lets the event loop run until something is so, and measures how long it was kept from running."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import slicer
from PySide6 import QtCore


def processEvents(seconds: float = 0.0) -> None:
    """Run the event loop for `seconds`, at least once."""
    deadline = time.monotonic() + seconds
    while True:
        slicer.app.processEvents()
        if time.monotonic() >= deadline:
            return
        time.sleep(0.002)


def waitUntil(condition: Callable[[], object], timeout: float = 10.0, what: str = "") -> None:
    """Run the event loop until `condition()` is true; TimeoutError after `timeout` seconds, naming `what`."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what or 'the condition'} did not come true in {timeout:g} s")
        slicer.app.processEvents()
        time.sleep(0.002)


@dataclass
class Blocking:
    """How long the event loop was kept busy by one thing, in seconds."""

    longest: float = 0.0
    total: float = 0.0


@contextmanager
def measureBlocking(threshold: float = 0.05) -> Iterator[Blocking]:
    """Measure, by a timer that should come every millisecond, the longest stretch without the event loop.

    `total` sums the stretches longer than `threshold` seconds. A test must run the loop itself without pauses
    (`waitUntil`, `processEvents`); what it does in between counts as blocking.
    """
    blocking = Blocking()
    last = time.perf_counter()

    def tick() -> None:
        nonlocal last
        now = time.perf_counter()
        blocking.longest = max(blocking.longest, now - last)
        blocking.total += now - last if now - last > threshold else 0.0
        last = now

    timer = QtCore.QTimer()
    timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
    timer.timeout.connect(tick)
    timer.start(1)
    try:
        yield blocking
    finally:
        tick()
        timer.stop()
