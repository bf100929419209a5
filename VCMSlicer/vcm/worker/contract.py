"""What the worker asks of an engine, and what it hands to it for each request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from vcm.core.errors import Code, VcmError
from vcm.core.findings import Finding
from vcm.protocol import (
    Examine,
    Examined,
    Found,
    Generate,
    Generated,
    GetPack,
    ListPacks,
    Machine,
    Message,
    PackObtained,
    Packs,
    Preflight,
    Preview,
    Progress,
    Ready,
    Register,
    Registered,
    Said,
    Segment,
    Segmented,
    Transfer,
    Warm,
    Warmed,
)


class Call:
    """One request's way back to the client, for as long as the request is being worked on."""

    def __init__(self, id: str, send: Callable[[Message], None], cancelled: Callable[[], bool]) -> None:
        self.id = id
        self._send = send
        self.cancelled = cancelled

    def progress(
        self, stage: str, step: int = 0, total: int = 0, *, fraction: float = 0.0, seconds_left: float | None = None
    ) -> None:
        self._send(Progress(self.id, stage, step, total, fraction, seconds_left))

    def preview(self, path: str, sample: int, step: int) -> None:
        self._send(Preview(self.id, path, sample, step))

    def transfer(self, file: str, done: int, total: int | None, bytes_per_second: float | None) -> None:
        self._send(Transfer(self.id, file, done, total, bytes_per_second))

    def say(self, words: str) -> None:
        self._send(Said(self.id, words))

    def found(self, finding: Finding) -> None:
        self._send(Found(self.id, finding))

    def stop_if_cancelled(self) -> None:
        """Leave the request where the client no longer wants it."""
        if self.cancelled():
            raise VcmError(Code.CANCELLED, "It was cancelled.")


class Engine(Protocol):
    """One method a request. Each runs on the main thread, alone, and raises VcmError where it fails."""

    def start(self) -> Ready:
        """Load what every request needs; called once, before the first of them."""
        ...

    def generate(self, request: Generate, call: Call) -> Generated: ...

    def examine(self, request: Examine, call: Call) -> Examined: ...

    def segment(self, request: Segment, call: Call) -> Segmented: ...

    def register(self, request: Register, call: Call) -> Registered: ...

    def list_packs(self, request: ListPacks, call: Call) -> Packs: ...

    def get_pack(self, request: GetPack, call: Call) -> PackObtained: ...

    def preflight(self, request: Preflight, call: Call) -> Machine: ...

    def warm(self, request: Warm, call: Call) -> Warmed: ...

    def release(self) -> None:
        """Let go of all memory that can be had again; called after a request ran out of it."""
        ...
