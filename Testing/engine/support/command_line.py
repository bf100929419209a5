"""`vcm` as people and scripts meet it: called here, or in a process of its own that the system may be hard on."""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import multiprocessing
import os
import resource
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from vcm.cli import main


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, or minus the signal that ended it, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


def vcm(*arguments) -> Ended:
    """Run `vcm` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
            code = -1
        except SystemExit as ended:
            code = ended.code
    return Ended(code, out.getvalue(), err.getvalue())


class Apart:
    """`vcm` in a process of its own, ended by `wait`.

    It is forked from a server that has the heavy packages loaded, so it costs no more than a call. `hardship` is done
    in it first: give up privileges, lower a limit.
    """

    _context = multiprocessing.get_context("forkserver")
    _context.set_forkserver_preload(
        ["vcm.runs.record", "vcm.runs.run", "vcm.models.loading", "vcm.cli", "command_line"]
    )

    def __init__(self, folder: Path, *arguments, hardship: Callable[[], None] | None = None) -> None:
        self._out, self._err = folder / ".stdout", folder / ".stderr"
        environment = {"VCM_PACKS": os.environ.get("VCM_PACKS", ""), "TERM": "dumb"}
        texts = [str(argument) for argument in arguments]
        self._process = self._context.Process(
            target=become_vcm, args=(texts, Path.cwd(), environment, _Hardened(self._out, self._err, hardship))
        )
        self._process.start()

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def send(self, number: int) -> None:
        """Send the process a signal."""
        os.kill(self._process.pid, number)

    def wait(self, seconds: float = 60) -> Ended:
        """How it ended; it is killed if it takes longer than `seconds`."""
        self._process.join(seconds)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        ended = Ended(self._process.exitcode, self._out.read_text(), self._err.read_text())
        self._out.unlink()
        self._err.unlink()
        return ended


def vcm_apart(folder: Path, *arguments, hardship: Callable[[], None] | None = None) -> Ended:
    """Run `vcm` in a process of its own and wait for its end; `folder` is where its output is kept meanwhile."""
    return Apart(folder, *arguments, hardship=hardship).wait()


def without_privileges() -> None:
    """Be bound by file permissions as everyone is, even as root: the kernel's capabilities are given up."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        version_3_of_this_process = struct.pack("=Ii", 0x20080522, 0)
        if libc.capset(version_3_of_this_process, bytes(24)) != 0:
            raise OSError(ctypes.get_errno(), "capset")


@dataclass(frozen=True)
class RoomFor:
    """A disk that takes no file above `size` bytes: the kernel refuses the rest, or kills who tries with `deadly`."""

    size: int
    deadly: bool = False

    def __call__(self) -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.size))
        if self.deadly:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def lead_output(out: str | Path, err: str | Path) -> None:
    """Have this process write into files, and heed Ctrl-C, which one that is started in the background does not."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for path, number in ((out, 1), (err, 2)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)


def become_vcm(arguments, place: Path, environment: dict[str, str], prepare: Callable[[], None]) -> NoReturn:
    """End this process, a copy of another, as `vcm` with these arguments would end; `prepare` leads its output."""
    code = 99
    try:
        os.environ.update(environment)
        os.chdir(place)
        prepare()
        sys.stdin = Path(os.devnull).open()  # noqa: SIM115
        sys.stdout, sys.stderr = (
            os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False) for number in (1, 2)
        )
        sys.argv = ["vcm", *arguments]
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        os.write(2, traceback.format_exc().encode("utf-8", "backslashreplace"))
    os._exit(code)


@dataclass(frozen=True)
class _Hardened:
    """What comes before `vcm` in a process of its own."""

    out: Path
    err: Path
    hardship: Callable[[], None] | None

    def __call__(self) -> None:
        import torch

        lead_output(self.out, self.err)
        torch.set_num_threads(1)
        if self.hardship is not None:
            self.hardship()
