"""What can go wrong with a worker: faults that strike within a request, and wires that spoil its lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from vcm.core.errors import Code, VcmError
from vcm.protocol import Progress
from vcm.worker.contract import Call

FOREVER = 3600


def hang(call: Call) -> None:
    """Freeze the whole process: it hears neither Cancel nor Shutdown nor SIGTERM."""
    os.kill(os.getpid(), signal.SIGSTOP)


def be_deaf(call: Call) -> None:
    """Work on without ever looking whether it was cancelled."""
    step = 0
    while True:
        step += 1
        call.progress("sampling", step, FOREVER)
        time.sleep(0.1)


def leave_a_child(call: Call) -> None:
    """Hang with a child process of its own, whose id goes to stderr."""
    child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({FOREVER})"])
    print(f"child {child.pid}", file=sys.stderr, flush=True)
    child.wait()


def flood(call: Call) -> None:
    for step in range(5000):
        call.progress("sampling", step, 5000)


def chatter(call: Call) -> None:
    """More on stderr than a pipe holds, for a client that does not read it."""
    sys.stderr.write("step 3 of 20, größer werdend…\n" * 20_000)
    sys.stderr.flush()


def fail(call: Call) -> None:
    raise VcmError(Code.GEOMETRY, "mask.nii.gz lies 80 mm outside the model's field of view.", "Align it to MNI space.")


def run_out_of_memory(call: Call) -> None:
    raise MemoryError


def be_unforeseen(call: Call) -> None:
    raise ZeroDivisionError("division by zero")


FAULTS: dict[str, Callable[[Call], None]] = {
    "hang": hang,
    "deaf": be_deaf,
    "child": leave_a_child,
    "crash": lambda call: os.abort(),
    "exit": lambda call: os._exit(0),
    "flood": flood,
    "chatter": chatter,
    "fail": fail,
    "out-of-memory": run_out_of_memory,
    "unforeseen": be_unforeseen,
    "not-mine": lambda call: call._send(Progress("nobody asked", "sampling", 1, 2)),
}


def whole(line: bytes) -> Iterator[bytes]:
    yield line


def garbage(line: bytes) -> Iterator[bytes]:
    """Before each message what careless programs print: words, a progress bar, bytes that are no text."""
    yield "Lädt Modell … 37%|███▋      | 12/32 [00:03<00:05]\r\n".encode()
    yield b'\x1b[31mwarning\x1b[0m \xff\xfe\x00\n{"type": "progress"}\n'
    yield line


def cut(line: bytes) -> Iterator[bytes]:
    """In pieces of five bytes, as UTF-8 rather than ASCII, so that characters are cut; lines end as on Windows."""
    raw = json.dumps(json.loads(line), ensure_ascii=False).encode() + b"\r\n"
    for begin in range(0, len(raw), 5):
        yield raw[begin : begin + 5]
        time.sleep(0.0005)


def half(line: bytes) -> Iterator[bytes]:
    """Half of the first `progress`, then nothing more, ever."""
    if b'"progress"' in line:
        yield line[: len(line) // 2]
        os._exit(0)
    yield line


def huge(line: bytes) -> Iterator[bytes]:
    """A line longer than any reader should keep, before each message."""
    yield b"x" * (5 * 1024 * 1024) + b"\n"
    yield line


def other_version(line: bytes) -> Iterator[bytes]:
    yield line.replace(b'"version":1', b'"version":99')


WIRES: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "garbage": garbage,
    "cut": cut,
    "half": half,
    "huge": huge,
    "other-version": other_version,
}
