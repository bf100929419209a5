"""The worker's process as a stream of messages: what comes out of it, and how it ended, in words."""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import qt
from slicer.i18n import tr as _
from vcm.protocol import Garbage, Hello, LineDecoder, Message, Shutdown, encode

from VCMSlicerLib.engine.jobState import WORKER_CRASHED, WORKER_ENDED, WORKER_NOT_STARTED, Failure
from VCMSlicerLib.engine.processTree import endTree

OnItem = Callable[["Message | Garbage"], None]
KILLED = (9, 137)
PIECE_BYTES = 2048
SLICE_SECONDS = 0.008

_ending: set[Any] = set()
"""Processes that were asked to end: a QProcess that is destroyed before would hold up the application for it."""


@dataclass(frozen=True)
class WorkerCommand:
    """A program with its arguments; `environment` replaces Slicer's own where it is given."""

    program: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] | None = None


class WorkerProcess:
    """One run of the worker's process; `onItem` hears its messages, `onWords` its stderr, `onEnded` its end, once.

    What is sent before the worker's first word is kept until then.
    """

    def __init__(
        self, command: WorkerCommand, onItem: OnItem, onWords: Callable[[str], None], onEnded: Callable[[Failure], None]
    ) -> None:
        self.hello: Hello | None = None
        self._command = command
        self._onItem, self._onWords, self._onEnded = onItem, onWords, onEnded
        self._decoder = LineDecoder()
        self._words = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""
        self._waiting: list[Message] = []
        self._over = self._ended = self._willGoOn = False
        self._process = qt.QProcess()
        self._slots: list[tuple[str, Callable[..., None]]] = [
            ("readyReadStandardOutput()", self._read),
            ("readyReadStandardError()", self._read),
            ("finished(int,QProcess::ExitStatus)", self._finished),
            ("errorOccurred(QProcess::ProcessError)", self._failed),
        ]
        for signal, slot in self._slots:
            self._process.connect(signal, slot)

    def start(self) -> None:
        """Start it; returns at once."""
        setEnvironment(self._process, self._command.environment)
        self._process.start(self._command.program, list(self._command.arguments))

    def send(self, message: Message) -> None:
        """Send a message, or keep it until the worker has said its first word."""
        if self.hello is None:
            self._waiting.append(message)
        else:
            self._process.write(encode(message))

    def takeBack(self, id: str) -> bool:
        """Whether a request that was not sent yet was taken back."""
        before = len(self._waiting)
        self._waiting = [message for message in self._waiting if getattr(message, "id", None) != id]
        return len(self._waiting) < before

    def shutdown(self) -> None:
        """Ask it to end by itself, and hear no more of it; returns at once."""
        self._onItem, self._onEnded = _ignore, _ignore
        if not self._over and self.hello is not None:
            self._process.write(encode(Shutdown()))
        self._process.closeWriteChannel()

    def end(self) -> None:
        """End it with all its children, now; `onEnded` is not called."""
        if self._over:
            return
        while self._readWordsPiece():
            pass
        self._over = True
        endTree(int(self._process.processId()), self.hello.pid if self.hello else 0)
        if self._process.state() == qt.QProcess.NotRunning:
            self._letGoLater()
        else:
            _ending.add(self._process)

    def wait(self, milliseconds: int) -> bool:
        """Whether it has ended within so long; nothing else happens meanwhile."""
        return self._process.state() == qt.QProcess.NotRunning or bool(self._process.waitForFinished(milliseconds))

    def _letGoLater(self) -> None:
        """Whoever hears of the end may let go of us, and Qt's object must not go while its signal is on the way."""
        _ending.add(self._process)
        qt.QTimer.singleShot(0, self._letGo)

    def _letGo(self) -> None:
        """The process holds the methods it is connected to, and with them this object, which holds the process."""
        for signal, slot in self._slots:
            self._process.disconnect(signal, slot)
        self._slots.clear()
        _ending.discard(self._process)

    def _read(self) -> None:
        """Take what has come, at most for a moment; what is left is read after other events had their turn."""
        if self._willGoOn:
            return
        end = time.perf_counter() + SLICE_SECONDS
        while self._readOutputPiece() or self._readWordsPiece():
            if time.perf_counter() > end and not self._ended:
                self._willGoOn = True
                qt.QTimer.singleShot(0, self._goOn)
                return

    def _goOn(self) -> None:
        self._willGoOn = False
        self._read()

    def _readOutputPiece(self) -> bool:
        piece = self._piece(qt.QProcess.StandardOutput)
        for item in self._decoder.feed(piece):
            self._hear(item)
        return bool(piece)

    def _readWordsPiece(self) -> bool:
        piece = self._piece(qt.QProcess.StandardError)
        self._line += self._words.decode(piece)
        *complete, self._line = self._line.replace("\r", "\n").split("\n")
        for line in filter(str.strip, complete):
            self._onWords(line)
        return bool(piece)

    def _piece(self, channel: Any) -> bytes:
        self._process.setReadChannel(channel)
        return bytes(self._process.read(PIECE_BYTES).data())

    def _hear(self, item: Message | Garbage) -> None:
        if self._over:
            return
        if isinstance(item, Hello) and self.hello is None:
            self.hello = item
            waiting, self._waiting = self._waiting, []
            for message in waiting:
                self.send(message)
        self._onItem(item)

    def _finished(self, exitCode: int, exitStatus: Any) -> None:
        self._letGoLater()
        if self._over:
            return
        self._ended, self._willGoOn = True, False
        self._read()
        for item in self._decoder.end():
            self._hear(item)
        if self._line.strip():
            self._onWords(self._line)
        if not self._over:
            self._over = True
            self._onEnded(self._endInWords(int(exitCode), exitStatus == qt.QProcess.CrashExit))

    def _failed(self, error: Any) -> None:
        # Of these errors only this one comes without a `finished` after it.
        if error != qt.QProcess.FailedToStart or self._over:
            return
        self._letGoLater()
        self._over = True
        sentence = _("{program} cannot be started: {reason}.")
        reason = str(self._process.errorString()).rstrip(".")
        self._onEnded(
            Failure(
                WORKER_NOT_STARTED,
                sentence.format(program=self._command.program, reason=reason),
                _("Set the environment up again, or choose another Python."),
            )
        )

    def _endInWords(self, exitCode: int, crashed: bool) -> Failure:
        if exitCode in KILLED:
            sentence = _("The computing process was ended from outside; most often the computer had run out of memory.")
            return Failure(WORKER_CRASHED, sentence, _("Close other programs, or ask for fewer samples at a time."))
        if crashed:
            return Failure(
                WORKER_CRASHED, _("The computing process crashed."), _("Try again; if it happens again, see the log.")
            )
        if self.hello is None:
            sentence = _("The computing process ended while it was starting, with exit code {code}.").format(
                code=exitCode
            )
            return Failure(WORKER_NOT_STARTED, sentence, _("Set the environment up again; the log says more."))
        sentence = _("The computing process ended in the middle of its work, with exit code {code}.").format(
            code=exitCode
        )
        return Failure(WORKER_ENDED, sentence, _("Try again; if it happens again, see the log."))


def _ignore(_what: Any) -> None:
    """Nobody wants to know."""


def setEnvironment(process: Any, variables: Mapping[str, str] | None) -> None:
    """Have a QProcess run with these environment variables alone; None leaves it Slicer's."""
    if variables is not None:
        environment = qt.QProcessEnvironment()
        for name, value in variables.items():
            environment.insert(name, value)
        process.setProcessEnvironment(environment)
