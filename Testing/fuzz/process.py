"""One case as a process of its own, and what is held against it when it has ended."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from command_line import become_vcm, lead_output

PATIENCE = 60.0
MEMORY = 1_000_000_000
"""Bytes that a case with small inputs may take beyond what the program takes for itself."""

ALLOWED = {0, 1, 2, 71, 130}
CODES: Counter[int] = Counter()
"""How the processes of this campaign ended."""

CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]")


@dataclass
class Ended:
    """How a process ended: its exit code, or minus the signal that ended it; `seconds` are the processor's."""

    code: int
    seconds: float
    peak: int
    out: bytes = b""
    err: bytes = b""
    timed_out: bool = False


@dataclass
class Hardship:
    """What is done to a process: where its outputs go, what it may take, and a signal after some seconds."""

    stdout: str | None = None
    stderr: str | None = None
    limits: Mapping[int, int] = field(default_factory=dict)
    signal_after: tuple[int, float] | None = None
    closed: Sequence[int] = ()

    @property
    def silent(self) -> bool:
        """Whether nothing can be expected to be read from it."""
        small = self.limits.get(resource.RLIMIT_FSIZE, 1000) < 1000  # what it says goes into files
        return bool(self.stdout or self.stderr or self.closed or small)


EASE = Hardship()


def environment(home: Path) -> dict[str, str]:
    """As little as the program needs; packs and caches lie below `home`."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {
        **kept,
        "HOME": str(home),
        "VCM_PACKS": str(home / "packs"),
        "TERM": "dumb",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",  # a file limit would leave half of one in the package
        "LC_ALL": "C.UTF-8",
    }


def run(arguments: Sequence[str], folder: Path, home: Path, hardship: Hardship = EASE) -> Ended:
    """Run `vcm` from a new interpreter."""
    command = [sys.executable, "-m", "vcm", *arguments]
    return _watch(lambda out, err: _started(command, folder, home, hardship, out, err), folder, hardship)


def forked(arguments: Sequence[str], folder: Path, home: Path, hardship: Hardship = EASE) -> Ended:
    """Run `vcm` in a copy of this process, which has the program's packages loaded already: twenty times as fast."""
    return _watch(lambda out, err: _fork(list(arguments), folder, home, hardship, out, err), folder, hardship)


def _started(command: list[str], folder: Path, home: Path, hardship: Hardship, out: Path, err: Path) -> int:
    def prepare() -> None:
        _prepare(hardship, out, err)

    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(home),
        stdin=subprocess.DEVNULL,
        preexec_fn=prepare,  # noqa: PLW1509 - nothing else runs here
        start_new_session=True,
    )
    process.returncode = 0  # it is waited for below, with its use of memory
    return process.pid


def _fork(arguments: list[str], folder: Path, home: Path, hardship: Hardship, out: Path, err: Path) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return pid
    os.setsid()
    clean = environment(home)
    os.environ.clear()
    become_vcm(arguments, folder, clean, lambda: _prepare(hardship, out, err))


def _prepare(hardship: Hardship, out: Path, err: Path) -> None:
    lead_output(hardship.stdout or out, hardship.stderr or err)
    for kind, value in hardship.limits.items():
        resource.setrlimit(kind, (value, value))
    for number in hardship.closed:
        os.close(number)


def _watch(start: Callable[[Path, Path], int], folder: Path, hardship: Hardship) -> Ended:
    out, err = folder.parent / f"{folder.name}.out", folder.parent / f"{folder.name}.err"
    began = time.monotonic()
    pid = start(out, err)
    to_send, timed_out, pause = hardship.signal_after, False, 0.001
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            break
        passed = time.monotonic() - began
        if to_send and passed >= to_send[1]:
            os.kill(pid, to_send[0])
            to_send = None
        if passed > PATIENCE:
            timed_out = True
            os.killpg(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            break
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    code = os.waitstatus_to_exitcode(status)
    CODES[code] += 1
    result = Ended(
        code,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss * 1024,
        out.read_bytes() if out.exists() else b"",
        err.read_bytes() if err.exists() else b"",
        timed_out,
    )
    out.unlink(missing_ok=True)
    err.unlink(missing_ok=True)
    return result


def complaints(ended: Ended, hardship: Hardship = EASE, own_memory: int = 0) -> list[str]:
    """What the process did that no input may make it do."""
    found = []
    if ended.timed_out:
        found.append(f"did not end within {PATIENCE:.0f} s")
    elif ended.code < 0:
        # Python ends itself by SIGINT where an interrupt came inside code that was run from a string.
        expected = hardship.signal_after and -ended.code in (hardship.signal_after[0], signal.SIGINT)
        if not expected:
            found.append(f"was ended by {signal.Signals(-ended.code).name}")
    elif ended.code not in ALLOWED:
        found.append(f"exit code {ended.code}")
    said = ended.out + ended.err
    if b"Traceback (most recent call last)" in said or b"Exception ignored in" in said:
        found.append("printed a traceback")
    if b"should not have" in said:
        found.append("called it an internal error")
    if CONTROL.search(said):
        found.append(f"printed a control character: {CONTROL.search(said)[0]!r}")
    if ended.code in {1, 2} and not said.strip() and not hardship.silent:
        found.append(f"ended with {ended.code} without a word")
    if ended.peak > own_memory + MEMORY:
        found.append(f"took {ended.peak / 1e9:.2f} GB")
    return found
