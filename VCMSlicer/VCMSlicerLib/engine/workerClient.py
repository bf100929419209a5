"""The worker's client: one state machine that says what the job is doing, whatever the worker does or fails to do."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import qt
from slicer.i18n import tr as _
from vcm.core.errors import Code, VcmError
from vcm.protocol import (
    Cancelled,
    Ending,
    Failed,
    Generate,
    Generated,
    Message,
    Progress,
    Ready,
    Request,
)

from VCMSlicerLib.engine.jobState import IMPORT_FAILED, WORKER_ENDED, WORKER_HUNG, Failure, JobState
from VCMSlicerLib.engine.watchdog import Patience
from VCMSlicerLib.engine.workerConnection import Command, WorkerConnection
from VCMSlicerLib.scene.observers import Observers, Remove, callOnce

Outcome = Ending | Failure
OnEnd = Callable[[Outcome], None]
Finished = Callable[..., None]
Importer = Callable[[Generated, Generate, Finished], None]


class WorkerClient:
    """Starts the worker when it is needed, keeps it warm, and tells what becomes of a job.

    One job at a time drives `state` (`run`); other requests go beside it (`ask`). `onEnd` hears the worker's last
    message on a request, or the Failure that took its place.

    `command` gives the WorkerCommand, or the Failure that says why there is none.
    """

    def __init__(self, command: Command, patience: Patience | None = None) -> None:
        patience = patience or Patience()
        self.failure: Failure | None = None
        self.fraction = 0.0
        self.stage = ""
        self._state = JobState.IDLE
        self._importer: Importer | None = None
        self._job: Request | None = None
        self._open: dict[str, OnEnd | None] = {}
        self._secondsLeft: tuple[float, float] | None = None
        self._numbers = itertools.count(1)
        self._changed, self._messages = Observers(), Observers()
        self._connection = WorkerConnection(command, patience, self._hear, self._abandon)
        self._deadline = qt.QTimer()
        self._deadline.setSingleShot(True)
        self._deadline.setInterval(int(1000 * patience.cancel))
        self._deadline.connect("timeout()", self._cancelIsOverdue)

    # What a panel asks

    @property
    def state(self) -> JobState:
        """What the job is doing."""
        return self._state

    @property
    def secondsLeft(self) -> float | None:
        """How long the job will still take, or None while that is not known."""
        if self._secondsLeft is None or not self._state.busy:
            return None
        left, at = self._secondsLeft
        return max(0.0, left - (time.monotonic() - at))

    @property
    def warmed(self) -> bool:
        """Whether a worker is running and has loaded its engine."""
        return self._connection.ready

    @property
    def device(self) -> str:
        """Where the worker computes, in words."""
        return self._connection.device

    @property
    def workerPid(self) -> int | None:
        """The worker's process id, or None while there is none."""
        return self._connection.pid

    @property
    def log(self) -> str:
        """The last lines of what the worker said."""
        return str(self._connection.log)

    def onChanged(self, callback: Callable[[JobState], None]) -> Remove:
        """Have `callback` called with each new state; what comes back takes it out again."""
        return self._changed.add(callback)

    def onMessage(self, callback: Callable[[Message], None]) -> Remove:
        """Have `callback` called with each message of the worker."""
        return self._messages.add(callback)

    def setImporter(self, importer: Importer | None) -> None:
        """Who brings a Generated into the scene: it is given the message, the request, and a function to call at the
        end, with a Failure where it went wrong."""
        self._importer = importer

    def newId(self) -> str:
        """An id for a request."""
        return f"{next(self._numbers)}"

    # What a panel asks for

    def run(self, request: Request, onEnd: OnEnd | None = None) -> None:
        """Begin a job."""
        if self._state.busy:
            raise VcmError(Code.BAD_REQUEST, _("Another job is running."), _("Wait for it, or cancel it."))
        self.failure, self.fraction, self.stage, self._secondsLeft = None, 0.0, "", None
        self._job = request
        self._setState(JobState.RUNNING if self.warmed else JobState.STARTING)
        self.ask(request, onEnd)

    def ask(self, request: Request, onEnd: OnEnd | None = None) -> None:
        """Ask something beside the job, such as what the machine offers."""
        self._open[request.id] = onEnd
        self._connection.send(request)

    def cancel(self) -> None:
        """End the job: politely at first, and with the whole process tree where that takes more than two seconds."""
        if not self._state.canCancel or self._job is None:
            return
        if self._connection.takeBack(self._job.id):
            self._endJob(JobState.IDLE, Cancelled(self._job.id))
            return
        self._setState(JobState.CANCELLING)
        if self._job is not None:
            self._deadline.start()
            self._connection.cancel(self._job.id)

    def shutdown(self, seconds: float = 0.0) -> None:
        """Let the worker end: within so many seconds by itself, then with its whole process tree."""
        self._abandon(Failure(WORKER_ENDED, _("The computing process was shut down.")), cancelled=True)
        self._connection.shutdown(seconds)

    # How a job begins and ends

    def _endJob(self, state: JobState, outcome: Outcome) -> None:
        job, self._job = self._job, None
        self._deadline.stop()
        self.failure = outcome if isinstance(outcome, Failure) else None
        self._secondsLeft = None
        onEnd = self._open.pop(job.id, None) if job else None
        self._restIfIdle()
        self._setState(state)
        callOnce(onEnd, outcome)

    def _endBeside(self, id: str, outcome: Outcome) -> None:
        callOnce(self._open.pop(id, None), outcome)

    def _abandon(self, failure: Failure, cancelled: bool = False) -> None:
        """End all that is open."""
        job = self._job
        for id in [id for id in self._open if job is None or id != job.id]:
            self._endBeside(id, failure)
        if job is not None and self._state is not JobState.IMPORTING:
            wanted = cancelled or self._state is JobState.CANCELLING
            self._endJob(JobState.IDLE if wanted else JobState.FAILED, Cancelled(job.id) if wanted else failure)

    # What the worker says

    def _hear(self, message: Message) -> None:
        if isinstance(message, Ready) and self._state is JobState.STARTING:
            self._setState(JobState.RUNNING)
        elif isinstance(message, Progress) and self._job is not None and message.id == self._job.id:
            self._hearProgress(message)
        self._messages.notify(message)
        if isinstance(message, Ending):
            self._hearEnding(message)
        self._restIfIdle()

    def _restIfIdle(self) -> None:
        if self.warmed and not self._open:
            self._connection.rest()

    def _hearProgress(self, progress: Progress) -> None:
        self.stage = progress.stage
        self.fraction = min(max(progress.fraction, 0.0), 1.0)
        self._secondsLeft = None if progress.seconds_left is None else (progress.seconds_left, time.monotonic())

    def _hearEnding(self, ending: Ending) -> None:
        outcome = self._connection.failure(ending) if isinstance(ending, Failed) else ending
        if self._job is None or ending.id != self._job.id:
            self._endBeside(ending.id, outcome)
        elif self._state is JobState.CANCELLING:
            self._endJob(JobState.IDLE, Cancelled(ending.id))
        elif isinstance(ending, Cancelled):
            # We did not ask for it: the worker is ending, and its end will say why.
            return
        elif isinstance(outcome, Failure):
            self._endJob(JobState.FAILED, outcome)
        elif isinstance(ending, Generated) and self._importer is not None:
            self._import(ending)
        else:
            self.fraction = 1.0
            self._endJob(JobState.DONE, ending)

    def _import(self, generated: Generated) -> None:
        assert self._importer is not None and isinstance(self._job, Generate)
        self.fraction, self._secondsLeft = 1.0, None
        self._setState(JobState.IMPORTING)
        job = self._job

        def finished(failure: Failure | None = None) -> None:
            if self._job is job:
                self._endJob(JobState.FAILED if failure else JobState.DONE, failure or generated)

        try:
            self._importer(generated, job, finished)
        except Exception as error:
            sentence = _("The images were made but cannot be loaded: {reason}.").format(reason=str(error).rstrip("."))
            remedy = _("They are in {folder}.").format(folder=generated.out)
            finished(Failure(IMPORT_FAILED, sentence, remedy, self.log))

    def _cancelIsOverdue(self) -> None:
        if self._state is JobState.CANCELLING:
            sentence = _("The computing process did not end the job when asked; it was ended by force.")
            self._connection.giveUp(Failure(WORKER_HUNG, sentence))

    def _setState(self, state: JobState) -> None:
        if state is not self._state:
            self._state = state
            self._changed.notify(state)
