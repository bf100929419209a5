"""Programs run one after the other in the background, each only if the one before went well."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import qt

from VCMSlicerLib.engine.processTree import endTree
from VCMSlicerLib.engine.workerProcess import setEnvironment

KEPT_LINES = 60
NEVER_RAN = -1
_ERROR = "errorOccurred(QProcess::ProcessError)"


@dataclass(frozen=True)
class Step:
    """One program; `title` is what the user reads while it runs."""

    title: str
    program: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class SequenceEnd:
    """How a sequence ended: exit code and last lines of its last program, and whether it was cancelled."""

    exitCode: int
    lines: tuple[str, ...]
    cancelled: bool = False
    step: Step | None = None

    @property
    def good(self) -> bool:
        """Whether every step went well."""
        return self.exitCode == 0 and not self.cancelled


class CommandSequence:
    """Runs steps; `onLine` hears what they print, `onEnd` how it ended, once."""

    def __init__(
        self,
        steps: Sequence[Step],
        onLine: Callable[[str], None],
        onEnd: Callable[[SequenceEnd], None],
        environment: Mapping[str, str] | None = None,
        onStep: Callable[[Step], None] = lambda step: None,
    ) -> None:
        self._steps = deque(steps)
        self._onLine, self._onEnd, self._onStep = onLine, onEnd, onStep
        self._environment = environment
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._rest = b""
        self._process: Any = None
        self._step: Step | None = None
        self._cancelled = self._over = False

    def start(self) -> None:
        """Begin with the first; returns at once."""
        self._next()

    def cancel(self) -> None:
        """End the program that is running, with all its children; `onEnd` hears of it when it is gone."""
        self._cancelled = True
        self._steps.clear()
        if self._process is not None and self._process.state() != qt.QProcess.NotRunning:
            endTree(int(self._process.processId()))

    def wait(self, milliseconds: int) -> bool:
        """Whether the program that is running has ended within so long."""
        return self._process is None or bool(self._process.waitForFinished(milliseconds))

    def _next(self) -> None:
        if self._cancelled or not self._steps:
            self._end(NEVER_RAN if self._cancelled else 0)
            return
        step = self._step = self._steps.popleft()
        self._onStep(step)
        process = self._process = qt.QProcess()
        process.setProcessChannelMode(qt.QProcess.MergedChannels)
        setEnvironment(process, self._environment)
        process.connect("readyReadStandardOutput()", self._read)
        process.connect("finished(int,QProcess::ExitStatus)", self._finished)
        process.connect(_ERROR, self._failed)
        process.start(step.program, list(step.arguments))
        process.closeWriteChannel()

    def _read(self) -> None:
        self._rest += self._process.readAllStandardOutput().data().replace(b"\r", b"\n")
        *complete, self._rest = self._rest.split(b"\n")
        for line in complete:
            self._tell(line)

    def _tell(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        if text:
            self._lines.append(text)
            self._onLine(text)

    def _finished(self, exitCode: int, exitStatus: Any) -> None:
        self._read()
        self._tell(self._rest)
        self._rest = b""
        if exitStatus == qt.QProcess.CrashExit or exitCode != 0:
            self._end(int(exitCode) or NEVER_RAN)
        else:
            # Not from within this process's own signal: the next one takes its place, and it would be gone too soon.
            qt.QTimer.singleShot(0, self._goOn)

    def _goOn(self) -> None:
        self._letGo()
        self._next()

    def _letGo(self) -> None:
        """The process holds the methods it is connected to, and with them this object."""
        if self._process is not None:
            for signal in ("readyReadStandardOutput()", "finished(int,QProcess::ExitStatus)", _ERROR):
                self._process.disconnect(signal)
            self._process = None

    def _failed(self, error: Any) -> None:
        if error == qt.QProcess.FailedToStart:
            self._lines.append(str(self._process.errorString()))
            self._end(NEVER_RAN)

    def _end(self, exitCode: int) -> None:
        if not self._over:
            self._over = True
            end = SequenceEnd(exitCode, tuple(self._lines), self._cancelled, self._step)
            qt.QTimer.singleShot(0, lambda: self._tellEnd(end))

    def _tellEnd(self, end: SequenceEnd) -> None:
        self._letGo()
        self._onEnd(end)
