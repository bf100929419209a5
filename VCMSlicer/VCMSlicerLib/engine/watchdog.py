"""Tells a worker that is busy from one that is frozen, or that never came up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import qt
from slicer.i18n import tr as _

from VCMSlicerLib.engine.jobState import WORKER_HUNG, WORKER_SILENT, Failure

TICK_MS = 250


@dataclass(frozen=True)
class Patience:
    """How many seconds the client waits: for a job to end once cancelled, for the worker's first word, for its engine,
    in silence before it asks for a sign of life, and for that sign."""

    cancel: float = 2.0
    hello: float = 60.0
    ready: float = 300.0
    quiet: float = 15.0
    pong: float = 60.0


class Watchdog:
    """Counts how long a worker has been silent. `onPing` asks it for a sign of life, `onVerdict` hears the Failure.

    It counts its own ticks, not the clock, so that a computer that slept is not taken for a worker that did.
    """

    def __init__(self, patience: Patience, onPing: Callable[[], None], onVerdict: Callable[[Failure], None]) -> None:
        self._patience = patience
        self._onPing, self._onVerdict = onPing, onVerdict
        self._quiet = self._age = 0.0
        self._spoke = self._ready = self._pinged = False
        self._timer = qt.QTimer()
        self._timer.setInterval(TICK_MS)
        self._timer.connect("timeout()", self._tick)

    @property
    def watching(self) -> bool:
        """Whether it is at work."""
        return bool(self._timer.isActive())

    def newWorker(self) -> None:
        """Another process was started."""
        self._age, self._spoke, self._ready = 0.0, False, False
        self.watch()

    def watch(self) -> None:
        """Something is expected of the worker from now on."""
        if not self.watching:
            self.heard()
            self._timer.start()

    def rest(self) -> None:
        """Nothing is expected any more."""
        self._timer.stop()

    def heard(self, spoke: bool = False, ready: bool = False) -> None:
        """The worker gave a sign of life: perhaps its first word, perhaps that its engine is loaded."""
        self._quiet, self._pinged = 0.0, False
        self._spoke, self._ready = self._spoke or spoke, self._ready or ready

    def _tick(self) -> None:
        self._quiet += TICK_MS / 1000
        self._age += TICK_MS / 1000
        patience = self._patience
        if not self._spoke:
            if self._age > patience.hello:
                sentence = _("The computing process was started {seconds:.0f} s ago and has not said a word.")
                remedy = _("Try again; if it happens again, a virus scanner may be holding it up.")
                self._onVerdict(Failure(WORKER_SILENT, sentence.format(seconds=self._age), remedy))
        elif not self._ready and self._age > patience.ready:
            sentence = _("The computing process has not finished loading its engine after {seconds:.0f} s.")
            self._onVerdict(Failure(WORKER_SILENT, sentence.format(seconds=self._age), _("Try again.")))
        elif self._quiet > patience.quiet + patience.pong:
            sentence = _("The computing process has not answered for {seconds:.0f} s; it was ended.")
            self._onVerdict(Failure(WORKER_HUNG, sentence.format(seconds=self._quiet), _("Try again.")))
        elif self._quiet > patience.quiet and not self._pinged:
            self._pinged = True
            self._onPing()
