"""One answer from the web, heard in a thread of its own, so that whoever waits for it can stop at any moment.

A server may send nothing, a byte now and then, or without end. A connection that falls silent counts as broken off, one
that stays too slow is given up, and a cancellation is heard at once, whatever the server does.
"""

from __future__ import annotations

import http.client
import queue
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from typing import Any

from vcm.core.errors import Code, VcmError

PIECE = 1 << 20
SLOWEST = 1000.0
"""Bytes a second; less than that over `PATIENCE_S` is no download."""

PATIENCE_S = 30.0
TICK_S = 0.1
AHEAD = 4
"""Pieces that are fetched before they are asked for."""

_END = b""


class SilentError(OSError):
    """Nothing came for too long; it may come on another connection."""


@dataclass(frozen=True)
class Head:
    """What comes before the body."""

    status: int
    headers: Message


class Connection:
    """An answer that is under way: its `head`, then its `pieces`."""

    def __init__(self, host: str, silence: float, cancelled: Callable[[], bool]) -> None:
        self._host, self._silence, self._cancelled = host, silence, cancelled
        self._given_up = threading.Event()
        self._queue: queue.Queue[Head | bytes | Exception] = queue.Queue(AHEAD)
        self._heard = self._since = time.monotonic()
        self._bytes = 0

    def head(self) -> Head:
        """Wait for the beginning of the answer; what the request raises is raised here."""
        head = self._next()
        assert isinstance(head, Head)
        return head

    def pieces(self) -> Iterator[bytes]:
        """The body, piece by piece as it comes."""
        self._since, self._bytes = time.monotonic(), 0
        while piece := self._next():
            assert isinstance(piece, bytes)
            yield piece

    def _next(self) -> Head | bytes:
        while True:
            refuse_if_cancelled(self._cancelled)
            try:
                found = self._queue.get(timeout=TICK_S)
            except queue.Empty:
                if time.monotonic() - self._heard >= self._silence:
                    raise SilentError(f"it sent nothing for {self._silence:g} s") from None
                continue
            finally:
                self._check_pace()
            if isinstance(found, Exception):
                raise found
            self._heard = time.monotonic()
            self._bytes += len(found) if isinstance(found, bytes) else 0
            return found

    def _check_pace(self) -> None:
        seconds = time.monotonic() - self._since
        if seconds < PATIENCE_S:
            return
        if 0 < self._bytes < SLOWEST * seconds:
            raise VcmError(
                Code.DOWNLOAD,
                f"{self._host} sends {self._bytes / seconds:,.0f} bytes a second, too slow for the download to end.",
                "Try again later or on another network; what has come is kept.",
            )
        self._since, self._bytes = time.monotonic(), 0

    def _listen(self, opener: urllib.request.OpenerDirector, request: urllib.request.Request) -> None:
        try:
            # Longer than silence is borne: it only sees to it that the thread ends some time.
            with opener.open(request, timeout=2 * self._silence + 1) as answer:
                self._put(Head(answer.status, answer.headers))
                while not self._given_up.is_set() and (piece := answer.read1(PIECE)):
                    self._put(piece)
            self._put(_END)
        except Exception as error:
            self._put(error)

    def _put(self, what: Head | bytes | Exception) -> None:
        while not self._given_up.is_set():
            try:
                return self._queue.put(what, timeout=TICK_S)
            except queue.Full:
                continue


@contextmanager
def connected(
    opener: urllib.request.OpenerDirector,
    request: urllib.request.Request,
    silence: float,
    cancelled: Callable[[], bool],
) -> Iterator[Connection]:
    """Send a request; `silence` is how many seconds nothing may come. Nobody waits for the thread at the end."""
    connection = Connection(urllib.parse.urlsplit(request.full_url).hostname or "", silence, cancelled)
    threading.Thread(target=connection._listen, args=(opener, request), name="download", daemon=True).start()
    try:
        yield connection
    finally:
        connection._given_up.set()


def web_opener(proxy: str | None) -> urllib.request.OpenerDirector:
    """Opens addresses of the web alone: a redirection to a file or an FTP server leads nowhere."""
    if proxy is not None and urllib.parse.urlsplit(proxy).scheme not in ("http", "https"):
        raise VcmError(
            Code.BAD_REQUEST, "The proxy must be an address such as http://proxy.hospital.org:3128.", "Check --proxy."
        )
    opener = urllib.request.OpenerDirector()
    handlers: list[Any] = [
        urllib.request.ProxyHandler({"http": proxy, "https": proxy} if proxy else None),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ]
    if hasattr(http.client, "HTTPSConnection"):
        handlers.append(urllib.request.HTTPSHandler())
    for handler in handlers:
        opener.add_handler(handler)
    return opener


def refuse_if_cancelled(cancelled: Callable[[], bool]) -> None:
    """Raise where the user has cancelled."""
    if cancelled():
        raise VcmError(Code.CANCELLED, "The download was cancelled.", "Start it again to go on from there.")
