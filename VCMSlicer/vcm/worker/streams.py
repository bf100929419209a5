"""The protocol's two streams, kept apart from everything else that reads or prints in this process."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator

from vcm.protocol import Message, encode_answer

PIECE_BYTES = 65536
HANDOVER_SECONDS = 0.2


def open_closed_streams() -> int:
    """Lead those of the descriptors 0, 1 and 2 nowhere that are closed, and give another one that leads nowhere.

    A file that is opened later would land in their place otherwise, and whatever prints would write into it.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    while nothing <= 2:
        nothing = os.open(os.devnull, os.O_RDWR)
    return nothing


def take_streams() -> tuple[int, int]:
    """Private descriptors of what were stdin and stdout.

    From here on descriptor 0 is empty and descriptor 1 leads to stderr: whatever prints or reads, C libraries and
    child processes included, cannot touch the protocol.
    """
    nothing = open_closed_streams()
    inlet, outlet = os.dup(0), os.dup(1)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    if sys.stderr is None:
        sys.stderr = os.fdopen(nothing, "w", encoding="utf-8")
    sys.stdout = sys.stderr
    return inlet, outlet


def pieces(inlet: int) -> Iterator[bytes]:
    """The bytes of a descriptor as they come, until its end."""
    try:
        while piece := os.read(inlet, PIECE_BYTES):
            yield piece
    except OSError:
        return


def write_whole(outlet: int, line: bytes) -> None:
    """Write all of a line to a descriptor, however long its reader takes."""
    while line:
        line = line[os.write(outlet, line) :]


class Outbox:
    """Sends messages in their order, from a thread of its own: a client that does not read holds up no job."""

    def __init__(self, write: Callable[[bytes], None], on_broken: Callable[[], None]) -> None:
        self._write_line = write
        self._on_broken = on_broken
        self._lines: deque[bytes] = deque()
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write, name="outbox", daemon=True)
        self._thread.start()

    def put(self, message: Message) -> None:
        """Send a message. It has left when this returns, unless the client is behind with its reading."""
        line = encode_answer(message)
        with self._changed:
            behind = bool(self._lines)
            self._lines.append(line)
            self._changed.notify_all()
            # What follows may crash, or keep the interpreter's lock to itself: the client should know how far we got.
            self._changed.wait_for(lambda: not self._lines, timeout=0 if behind else HANDOVER_SECONDS)

    def close(self, seconds: float) -> None:
        """Send what is left, for at most so long."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(seconds)

    def _write(self) -> None:
        while (line := self._next()) is not None:
            try:
                self._write_line(line)
            except OSError:
                self._on_broken()
                return
            with self._changed:
                self._lines.popleft()
                self._changed.notify_all()

    def _next(self) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._closed)
            return self._lines[0] if self._lines else None
