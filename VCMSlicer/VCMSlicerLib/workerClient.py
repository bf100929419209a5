"""The worker's client: one state machine that says what the job is doing, whatever the worker does or fails to do."""

from __future__ import annotations

import itertools
import json
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _
from vcm.errors import Code, VcmError
from vcm.protocol import (
    PROTOCOL_VERSION,
    Cancel,
    Cancelled,
    Ending,
    Examine,
    Failed,
    Garbage,
    Generate,
    Generated,
    ListPacks,
    Message,
    Preflight,
    Progress,
    Ready,
    Request,
    Said,
    Segment,
    Warm,
)

from VCMSlicerLib.jobState import (
    IMPORT_FAILED,
    WORKER_HUNG,
    WORKER_SILENT,
    WORKER_VERSION,
    Failure,
    JobState,
    failureOf,
)
from VCMSlicerLib.observers import Observers, Remove
from VCMSlicerLib.workerCommand import WorkerCommand
from VCMSlicerLib.workerProcess import WorkerProcess

Outcome = Ending | Failure
OnEnd = Callable[[Outcome], None]
Finished = Callable[..., None]
Importer = Callable[[Generated, Generate, Finished], None]

LOG_LINES = 2000
TICK_MS = 250
PING = "ping-"


class Patience:
    """How many seconds the client waits for what; tests are less patient."""

    cancel = 2.0
    hello = 60.0
    ready = 300.0
    quiet = 15.0
    pong = 60.0


class WorkerClient:
    """Starts the worker when it is needed, keeps it warm, and tells what becomes of a job.

    One job (`generate`, `segment` or `examine`) at a time drives `state`; `listPacks`, `preflight` and `warm` go
    beside it. `onEnd` hears the worker's last message on a request, or the Failure that took its place.

    `command` gives the WorkerCommand, or the Failure that says why there is none.
    """

    def __init__(self, command: Callable[[], WorkerCommand | Failure], patience: Patience | None = None) -> None:
        self.failure: Failure | None = None
        self.fraction = 0.0
        self.stage = ""
        self.device = ""
        self._command = command
        self._patience = patience or Patience()
        self._state = JobState.IDLE
        self._importer: Importer | None = None
        self._process: WorkerProcess | None = None
        self._ready = False
        self._startFailure: Failure | None = None
        self._job: Request | None = None
        self._open: dict[str, OnEnd | None] = {}
        self._secondsLeft: tuple[float, float] | None = None
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._numbers = itertools.count(1)
        self._changed, self._messages, self._lines = Observers(), Observers(), Observers()
        self._quiet = self._since = 0.0
        self._pinged = False
        self._watchdog = self._timer(TICK_MS, self._tick)
        self._deadline = self._timer(int(1000 * self._patience.cancel), self._cancelIsOverdue, once=True)

    # What a panel asks

    @property
    def state(self) -> JobState:
        """What the job is doing."""
        return self._state

    @property
    def secondsLeft(self) -> float | None:
        """How long the job will still take, or None while that cannot be told."""
        if self._secondsLeft is None or not self._state.busy:
            return None
        left, at = self._secondsLeft
        return max(0.0, left - (time.monotonic() - at))

    @property
    def warmed(self) -> bool:
        """Whether a worker is running and has loaded its engine."""
        return self._process is not None and self._ready

    @property
    def log(self) -> str:
        """The last lines of what the worker said."""
        return "\n".join(self._log)

    def onChanged(self, callback: Callable[[JobState], None]) -> Remove:
        """Have `callback` called with each new state; what comes back takes it out again."""
        return self._changed.add(callback)

    def onMessage(self, callback: Callable[[Message], None]) -> Remove:
        """Have `callback` called with each message of the worker."""
        return self._messages.add(callback)

    def onLog(self, callback: Callable[[str], None]) -> Remove:
        """Have `callback` called with each line for the log."""
        return self._lines.add(callback)

    def setImporter(self, importer: Importer | None) -> None:
        """Who brings a Generated into the scene: it is given the message, the request, and a function to call at the
        end, with a Failure where it went wrong."""
        self._importer = importer

    def newId(self) -> str:
        """An id for a request."""
        return f"{next(self._numbers)}"

    # What a panel asks for

    def generate(self, request: Generate, onEnd: OnEnd | None = None) -> None:
        """Make Samples."""
        self._beginJob(request, onEnd)

    def examine(self, request: Examine, onEnd: OnEnd | None = None) -> None:
        """Ask what the model sees."""
        self._beginJob(request, onEnd)

    def segment(self, request: Segment, onEnd: OnEnd | None = None) -> None:
        """Turn a T1w image into structures."""
        self._beginJob(request, onEnd)

    def listPacks(self, request: ListPacks | None = None, onEnd: OnEnd | None = None) -> None:
        """Ask which packs there are."""
        self._post(request or ListPacks(self.newId()), onEnd)

    def preflight(self, request: Preflight | None = None, onEnd: OnEnd | None = None) -> None:
        """Ask what the machine offers."""
        self._post(request or Preflight(self.newId()), onEnd)

    def warm(self, request: Warm | None = None, onEnd: OnEnd | None = None) -> None:
        """Have the weights loaded before they are needed."""
        self._post(request or Warm(self.newId()), onEnd)

    def cancel(self) -> None:
        """End the job: politely at first, and with the whole process tree where that takes more than two seconds."""
        if not self._state.canCancel or self._job is None:
            return
        if self._process is not None and self._process.takeBack(self._job.id):
            self._endJob(JobState.IDLE, Cancelled(self._job.id))
            return
        self._setState(JobState.CANCELLING)
        if self._process is not None and self._job is not None:
            self._process.send(Cancel(self._job.id))
            self._deadline.start()

    def shutdown(self, seconds: float = 0.0) -> None:
        """Let the worker end: within so many seconds by itself, then with its whole process tree."""
        process, self._process = self._process, None
        self._watchdog.stop()
        self._deadline.stop()
        if process is not None:
            process.shutdown()
            if not (seconds > 0 and process.wait(int(1000 * seconds))):
                process.end()
        self._abandon(Failure(WORKER_SILENT, _("The worker was shut down.")), cancelled=True)

    # How a job begins and ends

    def _beginJob(self, request: Request, onEnd: OnEnd | None) -> None:
        if self._state.busy:
            raise VcmError(Code.BAD_REQUEST, _("Another job is running."), _("Wait for it, or cancel it."))
        self.failure, self.fraction, self.stage, self._secondsLeft = None, 0.0, "", None
        self._job = request
        self._setState(JobState.RUNNING if self.warmed else JobState.STARTING)
        self._post(request, onEnd)

    def _post(self, request: Request, onEnd: OnEnd | None) -> None:
        self._open[request.id] = onEnd
        if self._process is None and not self._startProcess():
            return
        assert self._process is not None
        if not self._watchdog.isActive():
            self._quiet, self._pinged = 0.0, False
            self._watchdog.start()
        self._process.send(request)

    def _startProcess(self) -> bool:
        command = self._command()
        if isinstance(command, Failure):
            self._abandon(command)
            return False
        self._ready, self._startFailure, self._since = False, None, 0.0
        self._process = WorkerProcess(command, self._hear, self._note, self._processEnded)
        self._process.start()
        # It may have failed already, and told so.
        return self._process is not None

    def _endJob(self, state: JobState, outcome: Outcome) -> None:
        job, self._job = self._job, None
        self._deadline.stop()
        self.failure = outcome if isinstance(outcome, Failure) else None
        self._secondsLeft = None
        onEnd = self._open.pop(job.id, None) if job else None
        self._setState(state)
        if onEnd is not None:
            one = Observers()
            one.add(onEnd)
            one.notify(outcome)

    def _endBeside(self, id: str, outcome: Outcome) -> None:
        one = Observers()
        onEnd = self._open.pop(id, None)
        if onEnd is not None:
            one.add(onEnd)
        one.notify(outcome)

    def _abandon(self, failure: Failure, cancelled: bool = False) -> None:
        """End all that is open."""
        job = self._job
        for id in [id for id in self._open if job is None or id != job.id]:
            self._endBeside(id, failure)
        if job is not None and self._state is not JobState.IMPORTING:
            wanted = cancelled or self._state is JobState.CANCELLING
            self._endJob(JobState.IDLE if wanted else JobState.FAILED, Cancelled(job.id) if wanted else failure)

    # What the worker says

    def _hear(self, item: Message | Garbage) -> None:
        self._quiet, self._pinged = 0.0, False
        if isinstance(item, Garbage):
            self._hearGarbage(item)
            return
        if str(getattr(item, "id", "")).startswith(PING):
            return
        if isinstance(item, Ready):
            self._ready, self.device = True, item.device
            if self._state is JobState.STARTING:
                self._setState(JobState.RUNNING)
        elif isinstance(item, Progress) and self._job is not None and item.id == self._job.id:
            self._hearProgress(item)
        elif isinstance(item, Said):
            self._note(item.words)
        elif isinstance(item, Failed) and not item.id:
            self._note(f"{item.sentence} {item.remedy}")
            self._startFailure = None if self._ready else failureOf(item)
        self._messages.notify(item)
        if isinstance(item, Ending) and item.id:
            self._hearEnding(item)

    def _hearProgress(self, progress: Progress) -> None:
        self.stage = progress.stage
        self.fraction = min(max(progress.fraction, 0.0), 1.0)
        self._secondsLeft = None if progress.seconds_left is None else (progress.seconds_left, time.monotonic())

    def _hearEnding(self, ending: Ending) -> None:
        if self._job is None or ending.id != self._job.id:
            failed = isinstance(ending, Failed)
            self._endBeside(ending.id, failureOf(ending, self.log) if isinstance(ending, Failed) and failed else ending)
        elif self._state is JobState.CANCELLING or isinstance(ending, Cancelled):
            self._endJob(JobState.IDLE, Cancelled(ending.id))
        elif isinstance(ending, Failed):
            self._endJob(JobState.FAILED, failureOf(ending, self.log))
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

    def _hearGarbage(self, garbage: Garbage) -> None:
        self._note(_("(not understood) {text}").format(text=garbage.text))
        if self._ready or self._process is None:
            return
        version = _versionOf(garbage.text)
        if version is not None and version != PROTOCOL_VERSION:
            sentence = _("The worker speaks version {theirs} of the protocol; this module speaks version {ours}.")
            remedy = _("Set the environment up again, so that both are of the same version.")
            self._giveUp(Failure(WORKER_VERSION, sentence.format(theirs=version, ours=PROTOCOL_VERSION), remedy))

    def _note(self, line: str) -> None:
        self._quiet = 0.0
        self._log.append(f"{time.strftime('%H:%M:%S')} {line}")
        self._lines.notify(line)

    # What the worker fails to do

    def _processEnded(self, failure: Failure) -> None:
        self._process, self._ready = None, False
        self._watchdog.stop()
        known = self._startFailure or failure
        self._note(str(failure))
        self._abandon(Failure(known.code, known.sentence, known.remedy, self.log))

    def _giveUp(self, failure: Failure) -> None:
        process, self._process, self._ready = self._process, None, False
        self._watchdog.stop()
        if process is not None:
            process.end()
        self._note(str(failure))
        self._abandon(Failure(failure.code, failure.sentence, failure.remedy, self.log))

    def _cancelIsOverdue(self) -> None:
        if self._state is JobState.CANCELLING:
            self._giveUp(Failure(WORKER_HUNG, _("The worker did not end the job when asked; it was ended by force.")))

    def _tick(self) -> None:
        """Watch over the worker. Ticks are counted, not seconds, so that a computer that slept is not taken for one."""
        if self._process is None or (self._ready and not self._open):
            self._watchdog.stop()
            return
        step = TICK_MS / 1000
        self._quiet += step
        self._since += step
        patience = self._patience
        if self._process.hello is None:
            if self._since > patience.hello:
                sentence = _("The worker was started {seconds:.0f} s ago and has not said a word.")
                remedy = _("Try again; if it happens again, a virus scanner may be holding it up.")
                self._giveUp(Failure(WORKER_SILENT, sentence.format(seconds=self._since), remedy))
        elif not self._ready and self._since > patience.ready:
            sentence = _("The worker has not finished loading its engine after {seconds:.0f} s.")
            self._giveUp(Failure(WORKER_SILENT, sentence.format(seconds=self._since), _("Try again.")))
        elif self._quiet > patience.quiet + patience.pong:
            sentence = _("The worker has not answered for {seconds:.0f} s; it was ended.")
            self._giveUp(Failure(WORKER_HUNG, sentence.format(seconds=self._quiet), _("Try again.")))
        elif self._quiet > patience.quiet and not self._pinged:
            self._ping()

    def _ping(self) -> None:
        """Ask for a sign of life: even a worker in the middle of a step accepts a request, and lets go of it again."""
        assert self._process is not None
        self._pinged = True
        id = f"{PING}{next(self._numbers)}"
        self._process.send(ListPacks(id))
        self._process.send(Cancel(id))

    def _setState(self, state: JobState) -> None:
        if state is not self._state:
            self._state = state
            self._changed.notify(state)

    def _timer(self, milliseconds: int, callback: Callable[[], None], once: bool = False) -> Any:
        timer = qt.QTimer()
        timer.setInterval(milliseconds)
        timer.setSingleShot(once)
        timer.connect("timeout()", callback)
        return timer


def _versionOf(text: str) -> int | None:
    try:
        content = json.loads(text)
    except ValueError:
        return None
    version = content.get("version") if isinstance(content, dict) else None
    return version if isinstance(version, int) else None
