"""One setting up of the environment: find the files, download them one by one, unpack, check, put in place."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from VCMSlicerLib.engine.jobState import NO_ENVIRONMENT, Failure
from VCMSlicerLib.install.commandSequence import CommandSequence, SequenceEnd, Step
from VCMSlicerLib.install.installPlan import InstallPlan

PIP_VERSION = re.compile(r"^pip (\d+)\.(\d+)")
NO_ROOM = ("No space left on device", "Errno 28", "disk full")
NO_NETWORK = (
    "NewConnectionError", "Temporary failure in name resolution", "ProxyError", "ConnectTimeout", "SSLError",
    "Connection refused", "RemoteDisconnected",
)  # fmt: skip
NO_VERSION = "No matching distribution found for"
BROKEN_OFF = "CANCELLED"
LOG_CHARACTERS = 4000

Found = dict[str, Any]
OnEnd = Callable[["Failure | None", Found], None]


class Programs:
    """Programs in the background with a place for their words; one sequence at a time."""

    def __init__(self, onLine: Callable[[str], None], onStep: Callable[[Step], None]) -> None:
        self._onLine, self._onStep = onLine, onStep
        self._sequence: CommandSequence | None = None

    def run(
        self, steps: Sequence[Step], onEnd: Callable[[SequenceEnd], None], environment: Mapping[str, str] | None = None
    ) -> None:
        """Run them; by default in Slicer's own environment, without the user's packages."""
        surroundings = environment or {**os.environ, "PYTHONNOUSERSITE": "1", "PYTHONUTF8": "1"}
        self._sequence = CommandSequence(steps, self._onLine, onEnd, surroundings, self._onStep)
        self._sequence.start()

    def cancel(self, seconds: float = 0.0) -> None:
        """End what is running, and wait so long for its end."""
        if self._sequence is not None:
            self._sequence.cancel()
            if seconds:
                self._sequence.wait(int(1000 * seconds))


class Installation:
    """Carries out a plan; `onEnd` hears how it went and what the check found, once."""

    def __init__(self, plan: InstallPlan, python: str, script: Path, programs: Programs, onEnd: OnEnd) -> None:
        self._plan, self._python, self._script, self._programs, self._onEnd = plan, python, script, programs, onEnd

    def start(self) -> None:
        """Begin; returns at once."""
        self._plan.folder.prepare()
        version = Step(_("Looking for pip"), self._python, ("-m", "pip", "--version"))
        self._programs.run([version], self._versionKnown)

    def _versionKnown(self, end: SequenceEnd) -> None:
        found = PIP_VERSION.match(end.lines[-1]) if end.good and end.lines else None
        if found is None:
            self._onEnd(whyNot(end) or pipFailure(end), {})
            return
        version = (int(found[1]), int(found[2]))
        self._programs.run(self._plan.resolve(self._python), lambda end: self._resolved(end, version))

    def _resolved(self, end: SequenceEnd, version: tuple[int, ...]) -> None:
        if not end.good:
            self._onEnd(whyNot(end), {})
            return
        try:
            steps = [*self._plan.fetch(self._python, version), *self._plan.unpack(self._python, self._script)]
        except (OSError, ValueError, KeyError) as error:
            sentence = _("pip did not say which files it needs: {reason}.").format(reason=error)
            self._onEnd(Failure(NO_ENVIRONMENT, sentence, _("Name an interpreter with a newer pip.")), {})
            return
        self._programs.run(steps, self._unpacked)

    def _unpacked(self, end: SequenceEnd) -> None:
        folder = self._plan.folder
        failure, found = readCheck(end)
        if failure is None:
            try:
                shared = {"sharedTorch": str(self._plan.shared.folder)} if self._plan.shared is not None else {}
                folder.finish({**found, "processor": self._plan.processor, **shared})
            except OSError as error:
                sentence = _("The packages cannot be put in place: {reason}.").format(reason=error.strerror)
                failure = Failure(NO_ENVIRONMENT, sentence, _("Restart Slicer and try again."))
        if failure is not None:
            shutil.rmtree(folder.partial, ignore_errors=True)
        self._onEnd(failure, found)


def readCheck(end: SequenceEnd) -> tuple[Failure | None, Found]:
    """What `startWorker.py --check` found at the end of a sequence, or what went wrong before it could."""
    wrong = whyNot(end)
    if wrong is not None:
        return wrong, {}
    try:
        found = json.loads(end.lines[-1])
        problem = str(found.get("problem", ""))
    except (ValueError, IndexError, AttributeError):
        return Failure(NO_ENVIRONMENT, _("The check of the packages gave no answer."), _("Set it up again.")), {}
    return (Failure(NO_ENVIRONMENT, problem, _("Set the environment up again.")) if problem else None), found


def whyNot(end: SequenceEnd) -> Failure | None:
    """Why a sequence did not come to its good end; None where it did."""
    if end.cancelled:
        return Failure(BROKEN_OFF, _("The setting up was broken off."), _("Press the button again to go on."))
    return None if end.good else pipFailure(end)


def pipFailure(end: SequenceEnd) -> Failure:
    """Why a program failed, as far as its words tell."""
    text = "\n".join(end.lines)
    log = text[-LOG_CHARACTERS:]
    if any(words in text for words in NO_ROOM):
        return Failure("DISK_FULL", _("The disk is full."), _("Make room and press the button again."), log)
    if any(words in text for words in NO_NETWORK):
        sentence = _("The packages cannot be reached: no connection, or a proxy that is not known.")
        return Failure("DOWNLOAD", sentence, _("Check the network, or choose a folder of downloaded files."), log)
    if NO_VERSION in text:
        package = text.split(NO_VERSION, 1)[1].split()[0]
        sentence = _("There is no build of {package} for this computer and this Python.").format(package=package)
        return Failure(NO_ENVIRONMENT, sentence, _("Name an interpreter that has it, or look at the log."), log)
    if "No module named pip" in text:
        return Failure(NO_ENVIRONMENT, _("This Python has no pip."), _("Name another interpreter."), log)
    sentence = _("{step} failed with exit code {code}.")
    title = end.step.title if end.step else _("The setting up")
    return Failure(NO_ENVIRONMENT, sentence.format(step=title, code=end.exitCode), _("The log says more."), log)
