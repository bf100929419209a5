"""The queue of requests: one runs, a few wait, any of them can be cancelled."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from vcm.core.errors import Code, VcmError
from vcm.protocol import Request

MAX_WAITING = 32


class Job:
    """A request that has not ended."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self._cancel = threading.Event()

    def cancel(self) -> None:
        self._cancel.set()

    def cancelled(self) -> bool:
        return self._cancel.is_set()


class JobQueue:
    """Requests in the order of their arrival; safe to use from any thread.

    >>> from vcm.protocol import ListPacks
    >>> queue = JobQueue()
    >>> queue.add(ListPacks("a"))
    >>> queue.add(ListPacks("b"))
    >>> queue.cancel("b")
    True
    >>> queue.take().request
    ListPacks(id='a')
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._closed = False

    def add(self, request: Request, report: Callable[[int], None] = lambda ahead: None) -> None:
        """Queue a request. `report` gets the number ahead of it, before it can be taken."""
        with self._changed:
            if self._closed:
                raise VcmError(Code.CANCELLED, "The worker is ending.", "Start it again.")
            if not request.id:
                raise VcmError(Code.BAD_REQUEST, "A request needs an id.", "Give it one, of its own.")
            if self._find(request.id):
                raise VcmError(
                    Code.BAD_REQUEST,
                    f"A request with the id {request.id!r} has not ended yet.",
                    "Give each request an id of its own.",
                )
            if len(self._waiting) >= MAX_WAITING:
                raise VcmError(
                    Code.BAD_REQUEST,
                    f"{MAX_WAITING} requests are waiting already.",
                    "Wait for one to end, or cancel one.",
                )
            report(len(self._waiting) + (self._running is not None))
            self._waiting.append(Job(request))
            self._changed.notify()

    def take(self) -> Job | None:
        """The next job, which then counts as running; waits for one. None once the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            self._running = self._waiting.popleft() if self._waiting else None
            return self._running

    def finish(self, report: Callable[[str], None]) -> None:
        """The running job, if there is one, has ended. `report` gets its id, before that can be used again."""
        with self._changed:
            if self._running:
                report(self._running.request.id)
            self._running = None

    def holds(self, id: str) -> bool:
        """Whether a request of that id waits or runs."""
        with self._changed:
            return self._find(id) is not None

    def cancel(self, id: str) -> bool:
        """Whether a waiting job was taken out. A running one is signalled, and ends when it notices."""
        with self._changed:
            job = self._find(id)
            if job is None:
                return False
            job.cancel()
            if job is self._running:
                return False
            self._waiting.remove(job)
            return True

    def close(self) -> list[Job]:
        """Take no more, signal the running job to end, and hand back those that waited."""
        with self._changed:
            self._closed = True
            waiting = list(self._waiting)
            self._waiting.clear()
            if self._running:
                self._running.cancel()
            self._changed.notify_all()
            return waiting

    def _find(self, id: str) -> Job | None:
        if self._running and self._running.request.id == id:
            return self._running
        return next((job for job in self._waiting if job.request.id == id), None)
