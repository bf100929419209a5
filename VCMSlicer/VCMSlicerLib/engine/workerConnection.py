"""The line to the worker: started when something is sent, watched while something is expected, lost with a reason."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

from slicer.i18n import tr as _
from vcm.protocol import (
    PROTOCOL_VERSION,
    Cancel,
    Failed,
    Garbage,
    Hello,
    ListPacks,
    Message,
    Ready,
    Request,
    Said,
)

from VCMSlicerLib.engine.jobState import NO_ENVIRONMENT, WORKER_NOT_STARTED, WORKER_VERSION, Failure, failureOf
from VCMSlicerLib.engine.watchdog import Patience, Watchdog
from VCMSlicerLib.engine.workerLog import WorkerLog
from VCMSlicerLib.engine.workerProcess import WorkerCommand, WorkerProcess

PING = "ping-"
LAST_MS = 1000
Command = Callable[[], "WorkerCommand | Failure"]


class WorkerConnection:
    """At most one worker at a time. `onMessage` hears what it says, `onLost` the Failure with which it was lost."""

    def __init__(
        self,
        command: Command,
        patience: Patience,
        onMessage: Callable[[Message], None],
        onLost: Callable[[Failure], None],
    ) -> None:
        self.log = WorkerLog()
        self.ready = False
        self.device = ""
        self._command, self._onMessage, self._onLost = command, onMessage, onLost
        self._process: WorkerProcess | None = None
        self._watchdog = Watchdog(patience, self._ping, self.giveUp)
        self._pings = itertools.count(1)

    @property
    def pid(self) -> int | None:
        """The worker's own process id, once it has said its first word."""
        return self._process.hello.pid if self._process is not None and self._process.hello else None

    def send(self, request: Request) -> None:
        """Send a request, to a new worker if there is none; `onLost` hears where none can be started."""
        if self._process is None and not self._start():
            return
        assert self._process is not None
        self._watchdog.watch()
        self._process.send(request)

    def takeBack(self, id: str) -> bool:
        """Whether a request had not been sent yet, and now will not be."""
        return self._process is not None and self._process.takeBack(id)

    def cancel(self, id: str) -> None:
        """Ask the worker to end a request."""
        if self._process is not None:
            self._process.send(Cancel(id))

    def rest(self) -> None:
        """Nothing is expected of the worker any more."""
        self._watchdog.rest()

    def failure(self, message: Failed) -> Failure:
        """What the worker said of a failure; before its engine was loaded, it is the environment that is at fault."""
        if self.ready:
            return failureOf(message, str(self.log))
        code = NO_ENVIRONMENT if message.details.get("environment") else WORKER_NOT_STARTED
        return Failure(code, message.sentence, message.remedy, str(self.log))

    def giveUp(self, failure: Failure) -> None:
        """End the worker with its whole process tree."""
        process = self._process
        if process is not None:
            process.end()
        self._lose(failure)

    def shutdown(self, seconds: float) -> None:
        """Let the worker end: within so many seconds by itself, then with its whole process tree."""
        process, self._process, self.ready = self._process, None, False
        self._watchdog.rest()
        if process is not None:
            process.shutdown()
            if not (seconds > 0 and process.wait(int(1000 * seconds))):
                process.end()
                # Qt holds up whoever destroys a process that it has not yet seen end.
                process.wait(LAST_MS if seconds > 0 else 0)

    def _start(self) -> bool:
        command = self._command()
        if isinstance(command, Failure):
            self._onLost(command)
            return False
        self.ready = False
        self._process = WorkerProcess(command, self._hear, self._hearWords, self._lose)
        self._watchdog.newWorker()
        self._process.start()
        # It may have failed already, and said so.
        return self._process is not None

    def _lose(self, failure: Failure) -> None:
        self._process, self.ready = None, False
        self._watchdog.rest()
        self.log.add(str(failure))
        self._onLost(Failure(failure.code, failure.sentence, failure.remedy, str(self.log)))

    def _hear(self, item: Message | Garbage) -> None:
        self._watchdog.heard(spoke=isinstance(item, Hello), ready=isinstance(item, Ready))
        if isinstance(item, Garbage):
            self._hearGarbage(item)
        elif isinstance(item, Failed) and not item.id:
            self.log.add(f"{item.sentence} {item.remedy}")
            if not self.ready:
                self.giveUp(self.failure(item))
        elif not str(getattr(item, "id", "")).startswith(PING):
            if isinstance(item, Ready):
                self.ready, self.device = True, item.device
            elif isinstance(item, Said):
                self.log.add(item.words)
            self._onMessage(item)

    def _hearGarbage(self, garbage: Garbage) -> None:
        self.log.add(_("(not understood) {text}").format(text=garbage.text))
        version = None if self.ready else _versionOf(garbage.text)
        if version is not None and version != PROTOCOL_VERSION:
            sentence = _(
                "The computing process speaks version {theirs} of the protocol; this module speaks version {ours}."
            )
            remedy = _("Set the environment up again, so that both are of the same version.")
            self.giveUp(Failure(WORKER_VERSION, sentence.format(theirs=version, ours=PROTOCOL_VERSION), remedy))

    def _hearWords(self, line: str) -> None:
        self._watchdog.heard()
        self.log.add(line)

    def _ping(self) -> None:
        """Ask for a sign of life: even a worker in the middle of a step accepts a request, and lets go of it again."""
        if self._process is not None:
            id = f"{PING}{next(self._pings)}"
            self._process.send(ListPacks(id))
            self._process.send(Cancel(id))


def _versionOf(text: str) -> int | None:
    try:
        content = json.loads(text)
    except ValueError:
        return None
    version = content.get("version") if isinstance(content, dict) else None
    return version if isinstance(version, int) else None
