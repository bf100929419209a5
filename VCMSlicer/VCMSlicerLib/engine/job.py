"""A Generate under way, as scripts and panels see it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from vcm.core.findings import Finding
from vcm.protocol import Examined, Found, Generate, Message, Preview, Progress

from VCMSlicerLib.engine.jobState import Failure, JobCancelled, JobFailed, JobState
from VCMSlicerLib.engine.workerClient import Outcome, WorkerClient
from VCMSlicerLib.scene.observers import Observers, Remove


class Job:
    """One request to the worker. It goes on when nobody looks; `wait` blocks a script while Slicer stays alive.

    >>> job = VCMSlicerLogic().start(...)                        # doctest: +SKIP
    >>> job.onProgress(lambda fraction, secondsLeft, stage: print(fraction))  # doctest: +SKIP
    >>> nodes = job.wait()                                       # doctest: +SKIP
    """

    def __init__(self, client: WorkerClient, request: Any) -> None:
        self.request = request
        self.nodes: list[Any] = []
        self.findings: list[Finding] = []
        self.outcome: Outcome | None = None
        self.keptIn: Path | None = None
        self._client = client
        self._progress, self._previews, self._finished, self._changed = (Observers() for _n in range(4))
        self._state = JobState.STARTING
        self._removes = [client.onMessage(self._hear), client.onChanged(self._follow)]

    @property
    def state(self) -> JobState:
        """What it is doing; a job that was cancelled ends as `IDLE`."""
        return self._state

    @property
    def failure(self) -> Failure | None:
        """What went wrong, or None."""
        return self.outcome if isinstance(self.outcome, Failure) else None

    @property
    def finished(self) -> bool:
        """Whether it has ended, well or not."""
        return self.outcome is not None

    @property
    def fraction(self) -> float:
        """How much is done, 0–1."""
        return 1.0 if self.finished else self._client.fraction

    @property
    def secondsLeft(self) -> float | None:
        """How long it will still take, or None while that is not known."""
        return None if self.finished else self._client.secondsLeft

    def onProgress(self, callback: Callable[[float, float | None, str], None]) -> Remove:
        """Have `callback(fraction, secondsLeft, stage)` called at each step."""
        return self._progress.add(callback)

    def onPreview(self, callback: Callable[[str, int, int], None]) -> Remove:
        """Have `callback(path, sample, step)` called with each forming image."""
        return self._previews.add(callback)

    def onChanged(self, callback: Callable[[JobState], None]) -> Remove:
        """Have `callback` called with each new state."""
        return self._changed.add(callback)

    def onFinished(self, callback: Callable[[Job], None]) -> Remove:
        """Have `callback(job)` called once it has ended; `nodes`, `failure` and `keptIn` are set then."""
        return self._finished.add(callback)

    def cancel(self) -> None:
        """End it early."""
        if not self.finished:
            self._client.cancel()

    def wait(self) -> list[Any]:
        """Block until it has ended, while Slicer goes on drawing; returns the nodes.

        JobFailed is raised where it went wrong, JobCancelled where it was cancelled from elsewhere.
        """
        if not self.finished:
            loop = qt.QEventLoop()
            remove = self.onFinished(lambda _job: loop.quit())
            loop.exec_()
            remove()
        if self.failure is not None:
            raise JobFailed(self.failure)
        if self._state is JobState.IDLE:
            raise JobCancelled()
        return self.nodes

    def end(self, outcome: Outcome) -> None:
        """Called by the logic when the client has had the last word on it."""
        for remove in self._removes:
            remove()
        self._removes.clear()
        self.outcome = outcome
        if isinstance(outcome, Examined):
            self.findings = list(outcome.findings)
        self._follow(self._client.state)
        self._finished.notify(self)
        # What listens knows the job, and the job has nothing more to say: together they would keep its volumes.
        for observers in (self._progress, self._previews, self._finished, self._changed):
            observers.clear()

    def _follow(self, state: JobState) -> None:
        if state is not self._state:
            self._state = state
            self._changed.notify(state)

    def _hear(self, message: Message) -> None:
        if getattr(message, "id", None) != self.request.id:
            return
        if isinstance(message, Progress):
            self._progress.notify(self.fraction, self.secondsLeft, message.stage)
        elif isinstance(message, Preview):
            self._previews.notify(message.path, message.sample, message.step)
        elif isinstance(message, Found) and isinstance(self.request, Generate):
            self.findings.append(message.finding)
