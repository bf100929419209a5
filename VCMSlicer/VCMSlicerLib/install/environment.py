"""The worker's environment: set up on the user's click alone, checked, removable; or an interpreter they name."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from vcm.protocol import Machine

from VCMSlicerLib.diagnosticBundle import writeBundle
from VCMSlicerLib.engine.jobState import NO_ENVIRONMENT, Failure
from VCMSlicerLib.engine.workerProcess import WorkerCommand
from VCMSlicerLib.install.commandSequence import SequenceEnd, Step
from VCMSlicerLib.install.installation import Installation, Programs, readCheck
from VCMSlicerLib.install.installPlan import InstallPlan, likelyProcessor, makePlan
from VCMSlicerLib.install.packageFolder import PackageFolder
from VCMSlicerLib.install.torchBuild import DEVICES, InstalledTorch, whyNone
from VCMSlicerLib.install.userFolders import dataFolder, packsFolder, runsFolder
from VCMSlicerLib.models.packInfo import PackInfo
from VCMSlicerLib.preflight import (
    Level,
    PreflightItem,
    deviceItem,
    diskItem,
    memoryItem,
    modelItem,
    versionsItem,
)
from VCMSlicerLib.scene.observers import Observers, Remove, callOnce

START_SCRIPT = Path(__file__).resolve().parents[1] / "engine" / "startWorker.py"
INTERPRETER = "VCMSlicer/interpreter"
RAW_PROGRESS = re.compile(r"^Progress (\d+) of (\d+)$")
LINES_IN_BUNDLE = 400

Answer = Callable[[Failure | None], None]


class Environment:
    """Where the worker's interpreter and packages come from. Nothing is installed or removed unless it is asked for.

    `busy` tells whether it is being set up or checked; `words` and `fraction` then say how far that is.

    `python` is Slicer's own interpreter for programs, `PythonSlicer`; tests give another.
    """

    def __init__(self, parent: Path | None = None, python: str | None = None) -> None:
        self.folder = PackageFolder.ofThisPython(parent)
        self.fraction = 0.0
        self.words = ""
        self._python = python
        self.busy = False
        self._programs = Programs(self._line, self._began)
        self._changed = Observers()
        self._lines: list[str] = []
        self._found: dict[str, Any] = {}

    # What there is

    @property
    def ready(self) -> bool:
        """Whether a worker can be started."""
        if self.interpreter:
            return shutil.which(self.interpreter) is not None
        return self.folder.ready and not self._sharedTorchGone

    @property
    def sharedTorch(self) -> str:
        """The folder of Slicer's own packages that PyTorch is taken from; empty where it is one of our own."""
        return str(self.folder.marker().get("sharedTorch", ""))

    @property
    def deviceProblem(self) -> str:
        """Why the graphics card did not compute when it was last checked, or empty."""
        return str((self._found or self.folder.marker()).get("deviceProblem", ""))

    @property
    def _sharedTorchGone(self) -> bool:
        return bool(self.sharedTorch) and not (Path(self.sharedTorch) / "torch").is_dir()

    @property
    def versions(self) -> dict[str, str]:
        """The versions found when it was last checked."""
        return dict(self._found.get("versions") or self.folder.marker().get("versions", {}))

    @property
    def interpreter(self) -> str:
        """The interpreter the user named, or empty."""
        return str(qt.QSettings().value(INTERPRETER, "") or "")

    @interpreter.setter
    def interpreter(self, path: str) -> None:
        qt.QSettings().setValue(INTERPRETER, str(path))
        self._changed.notify()

    def onChanged(self, callback: Callable[[], None]) -> Remove:
        """Have `callback` called when anything here changes: `busy`, `fraction`, `words`, `ready`."""
        return self._changed.add(callback)

    def stateWords(self) -> str:
        """Its state in a sentence."""
        if self.busy:
            return self.words
        if self.interpreter:
            gone, used = (
                _("The Python that was chosen is not there: {path}."),
                _("Uses the Python that you chose: {path}."),
            )
            return (used if self.ready else gone).format(path=self.interpreter)
        if self.folder.ready:
            gone = _("The PyTorch that was in Slicer is gone. Set it up again.")
            return gone if self._sharedTorchGone else _("Ready.")
        if self.folder.outdated:
            return _("Made for another version of this module. Set it up again.")
        if self.folder.begun:
            return _("The setting up was broken off; it goes on where it was.")
        return _("Not set up yet.")

    def workerCommand(self) -> WorkerCommand | Failure:
        """How to start the worker, or why it cannot be."""
        environment = {"VCM_PACKS": str(packsFolder()), "PYTHONNOUSERSITE": "1", "PYTHONUTF8": "1"}
        if self.interpreter:
            if shutil.which(self.interpreter) is None:
                sentence = _("The Python that was chosen is not there: {path}.").format(path=self.interpreter)
                return Failure(NO_ENVIRONMENT, sentence, _("Choose another, or set the environment up."))
            return WorkerCommand(self.interpreter, (str(START_SCRIPT),), {**_plainEnvironment(), **environment})
        if not self.ready:
            sentence = _("The computing packages are not set up. {state}").format(state=self.stateWords())
            return Failure(NO_ENVIRONMENT, sentence, _("Set up the environment."))
        shared = ("--shared-torch", self.sharedTorch) if self.sharedTorch else ()
        arguments = (str(START_SCRIPT), "--packages", str(self.folder.packages), *shared)
        return WorkerCommand(self.python(), arguments, {**os.environ, **environment})

    def python(self) -> str:
        """Slicer's own interpreter for programs."""
        if self._python:
            return self._python
        name = "PythonSlicer.exe" if sys.platform == "win32" else "PythonSlicer"
        return shutil.which("PythonSlicer") or str(Path(str(slicer.app.slicerHome)) / "bin" / name)

    # What the user asks for

    def plan(
        self,
        wheels: str | Path | None = None,
        processor: str | None = None,
        shared: InstalledTorch | None = None,
    ) -> InstallPlan:
        """What `install` would do, for the user to agree to; `shared` is a PyTorch that is there already."""
        return makePlan(self.folder, Path(wheels) if wheels else None, processor, shared)

    def install(self, plan: InstallPlan | None = None, onEnd: Answer | None = None) -> None:
        """Set it up in the background. What was downloaded stays where it is broken off, and is used the next time."""
        if self.busy:
            callOnce(onEnd, Failure(NO_ENVIRONMENT, _("The environment is being set up already."), _("Wait for it.")))
            return
        plan = plan or self.plan()
        problem = self.whyNot(plan)
        if problem is not None:
            self._answer(onEnd, problem)
            return
        self.busy, self.fraction = True, 0.0

        def ended(failure: Failure | None, found: dict[str, Any]) -> None:
            self._found = found
            if failure is None and self.interpreter:  # what was just installed is to be used
                self.interpreter = ""
            self._answer(onEnd, failure)

        try:
            Installation(plan, self.python(), START_SCRIPT, self._programs, ended).start()
        except OSError as error:
            sentence = _("The packages cannot be put in place: {reason}.").format(reason=error.strerror or error)
            ended(Failure(NO_ENVIRONMENT, sentence, _("Free some space, or see that the folder can be written.")), {})

    def verify(self, onEnd: Answer | None = None) -> None:
        """Load the packages in a process of their own and compute a little with them."""
        if self.busy:
            callOnce(onEnd, Failure(NO_ENVIRONMENT, _("The environment is being set up already."), _("Wait for it.")))
            return
        command = self.workerCommand()
        if isinstance(command, Failure):
            self._answer(onEnd, command)
            return
        self.busy = True

        def ended(end: SequenceEnd) -> None:
            failure, self._found = readCheck(end)
            self._answer(onEnd, failure)

        device = "" if self.interpreter else DEVICES.get(str(self.folder.marker().get("processor")), "")
        wanted = ("--device", device) if device else ()
        step = Step(_("Checking"), command.program, (*command.arguments, "--check", *wanted))
        self._programs.run([step], ended, command.environment)

    def cancel(self) -> None:
        """Break off what is going on."""
        self._programs.cancel()

    def remove(self) -> Failure | None:
        """Remove the packages and all downloads; the Failure says what could not be removed."""
        self._found = {}
        try:
            self.folder.remove()
        except OSError as error:
            sentence = _("{path} cannot be removed: {reason}.")
            values = {"path": error.filename, "reason": error.strerror}
            return Failure(NO_ENVIRONMENT, sentence.format(**values), _("Restart Slicer and try again."))
        finally:
            self._changed.notify()
        return None

    def shutdown(self) -> None:
        """For the end of the application."""
        if self.busy:
            self._programs.cancel(seconds=2)

    def preflight(
        self, machine: Machine | None = None, pack: PackInfo | None = None, device: str = "auto"
    ) -> list[PreflightItem]:
        """The lights before Generate; `machine` is the worker's answer to a Preflight, once there is one."""
        items = [PreflightItem(_("Environment"), Level.GREEN if self.ready else Level.RED, self.stateWords())]
        items.append(modelItem(pack))
        items.append(deviceItem(machine, device, "" if self.interpreter else self.deviceProblem))
        if machine is not None:
            items.append(memoryItem(machine, pack, device))
        items.append(diskItem(runsFolder(), machine))
        items.append(versionsItem(machine.versions if machine is not None else self.versions))
        return items

    def diagnosticBundle(
        self, path: str | Path, log: str = "", machine: Machine | None = None, pack: PackInfo | None = None
    ) -> Path:
        """A zip with versions, log and settings, without paths, names or patient data."""
        settings = {
            "environment": self.stateWords(),
            "interpreter named": bool(self.interpreter),
            "processor": likelyProcessor(),
            "model": pack.name if pack else None,
            "data folder is where it is by default": not os.environ.get("VCM_PACKS"),
        }
        return writeBundle(
            path,
            versions={**self.versions, **(machine.versions if machine else {}), "slicer": _slicerVersion()},
            log="\n".join([*self._lines[-LINES_IN_BUNDLE:], log]),
            settings=settings,
            preflight=self.preflight(machine, pack),
        )

    # How it goes

    def whyNot(self, plan: InstallPlan) -> Failure | None:
        """Why a plan cannot even begin; None where it can. Nothing is downloaded for the answer."""
        reason = whyNone() if plan.wheels is None and plan.shared is None else ("", "")
        if reason[0]:
            return Failure(NO_ENVIRONMENT, *reason)
        if plan.wheels is not None and not any(plan.wheels.glob("*.whl")):
            sentence = _("There are no *.whl files in {folder}.").format(folder=plan.wheels)
            return Failure(NO_ENVIRONMENT, sentence, _("Choose the folder that they were downloaded into."))
        if not plan.enoughDisk:
            sentence = _("The disk of {folder} has too little room; about {gb:.1f} GB are needed.")
            values = {"folder": dataFolder(), "gb": (plan.downloadBytes + plan.diskBytes) / 1e9}
            return Failure("DISK_FULL", sentence.format(**values), _("Make room and try again."))
        return None

    def _began(self, step: Step) -> None:
        self.words, self.fraction = step.title, 0.0
        self._changed.notify()

    def _line(self, line: str) -> None:
        progress = RAW_PROGRESS.match(line)
        if progress is None:
            self._lines.append(line)
        elif int(progress[2]) > 0:
            self.fraction = int(progress[1]) / int(progress[2])
        self._changed.notify()

    def _answer(self, onEnd: Answer | None, failure: Failure | None) -> None:
        self.busy = False
        self.words = str(failure) if failure else _("Ready.")
        self._changed.notify()
        callOnce(onEnd, failure)


def _plainEnvironment() -> dict[str, str]:
    """The environment Slicer was started in: its own Python's settings would mislead any other."""
    startup = getattr(slicer.util, "startupEnvironment", None)
    known = dict(startup()) if startup is not None and hasattr(slicer.app, "startupEnvironment") else dict(os.environ)
    return {name: value for name, value in known.items() if name not in ("PYTHONHOME", "PYTHONPATH")}


def _slicerVersion() -> str:
    return str(getattr(slicer.app, "applicationVersion", "") or sys.version.split()[0])
