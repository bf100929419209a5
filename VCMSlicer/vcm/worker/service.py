"""The worker itself: hears requests on one thread, works on them on the main thread, one after the other."""

from __future__ import annotations

import contextlib
import os
import platform
import threading
import time
from collections.abc import Callable
from typing import Any

import vcm
from vcm.core.errors import Code, VcmError
from vcm.protocol import (
    Accepted,
    Cancel,
    Cancelled,
    Ending,
    Examine,
    Failed,
    Garbage,
    Generate,
    GetPack,
    Hello,
    LineDecoder,
    ListPacks,
    Message,
    Preflight,
    ProtocolError,
    Register,
    Request,
    Segment,
    Shutdown,
    Warm,
)
from vcm.protocol.failures import failed, in_words
from vcm.worker.contract import Call, Engine
from vcm.worker.jobs import Job, JobQueue
from vcm.worker.lifeline import end_by_force
from vcm.worker.streams import Outbox, pieces

GRACE_SECONDS = 2.0
LAST_WORDS_SECONDS = 0.2


class Worker:
    """Answers a client that writes to the descriptor `inlet` and reads the lines given to `write`.

    It ends at Shutdown, at the end of `inlet`, when `write` raises OSError or when `stop` is called: the running
    request is cancelled, and if it does not notice within `GRACE_SECONDS` the process ends all the same.
    """

    def __init__(self, engine: Engine, inlet: int, write: Callable[[bytes], None], debug: bool = False) -> None:
        self._engine = engine
        self._inlet = inlet
        self._debug = debug
        self._jobs = JobQueue()
        self._stopping = threading.Lock()
        self._exit_code = 0
        self._outbox = Outbox(write, on_broken=self.stop)
        self._routes: dict[type[Request], Callable[[Any, Call], Ending]] = {
            Generate: engine.generate,
            Examine: engine.examine,
            Segment: engine.segment,
            Register: engine.register,
            ListPacks: engine.list_packs,
            GetPack: engine.get_pack,
            Preflight: engine.preflight,
            Warm: engine.warm,
        }

    def run(self) -> int:
        """Serve requests until a stop; returns the exit code of the process."""
        self._outbox.put(Hello(vcm.__version__, platform.python_version(), os.getpid()))
        threading.Thread(target=self._listen, name="inlet", daemon=True).start()
        try:
            self._outbox.put(self._engine.start())
        except BaseException as error:  # a library that is broken may raise anything
            self._give_up(error)
            return 1
        while job := self._jobs.take():
            self._work_on(job)
        self._outbox.close(GRACE_SECONDS)
        return self._exit_code

    def stop(self, exit_code: int = 0) -> None:
        """Cancel everything and let `run` return; safe to call from any thread, and more than once."""
        if not self._stopping.acquire(blocking=False):
            return
        self._exit_code = exit_code
        threading.Thread(target=self._end_after_grace, name="grace", daemon=True).start()
        for job in self._jobs.close():
            self._outbox.put(Cancelled(job.request.id))

    def _give_up(self, error: BaseException) -> None:
        for id in ["", *(job.request.id for job in self._jobs.close())]:
            self._outbox.put(self._failure(id, error))
        self._outbox.close(GRACE_SECONDS)

    def _end_after_grace(self) -> None:
        time.sleep(GRACE_SECONDS)
        self._jobs.finish(lambda id: self._outbox.put(Cancelled(id)))
        self._outbox.close(LAST_WORDS_SECONDS)
        end_by_force(self._exit_code)

    def _work_on(self, job: Job) -> None:
        id = job.request.id
        call = Call(id, self._outbox.put, job.cancelled)
        try:
            call.stop_if_cancelled()
            ending = self._routes[type(job.request)](job.request, call)
        except BaseException as error:  # a library may raise SystemExit; only the client ends the worker
            ending = self._failure(id, error)
        self._jobs.finish(lambda _: self._outbox.put(ending))
        if isinstance(ending, Failed) and ending.code is Code.OUT_OF_MEMORY:
            with contextlib.suppress(Exception):  # the device may be past help; the next request will show
                self._engine.release()

    def _listen(self) -> None:
        decoder = LineDecoder()
        try:
            for piece in pieces(self._inlet):
                for item in decoder.feed(piece):
                    self._hear(item)
            for item in decoder.end():
                self._hear(item)
        finally:
            self.stop()

    def _hear(self, item: Message | Garbage) -> None:
        """Do what a line asks for. Nothing that a line holds may end the thread that listens."""
        try:
            self._carry_out(item)
        except Exception as error:
            self._refuse(in_words(error, self._debug), "")

    def _carry_out(self, item: Message | Garbage) -> None:
        if isinstance(item, Garbage):
            self._refuse(item.error, item.error.id)
        elif isinstance(item, Cancel):
            if self._jobs.cancel(item.id):
                self._outbox.put(Cancelled(item.id))
        elif isinstance(item, Shutdown):
            self.stop()
        elif isinstance(item, Request):
            try:
                _refuse_contradictions(item)
                self._jobs.add(item, lambda ahead: self._outbox.put(Accepted(item.id, ahead)))
            except VcmError as error:
                self._refuse(error, item.id)
        else:
            self._refuse(ProtocolError(f"A worker sends messages of the type {item.type} and takes none."), "")

    def _refuse(self, error: VcmError, id: str) -> None:
        # Under the id of an open request it would end that request in the client's eyes.
        belongs = "" if self._jobs.holds(id) else id
        self._outbox.put(self._failure(belongs, error))

    def _failure(self, id: str, error: BaseException) -> Ending:
        known = in_words(error, self._debug)
        if known.code is Code.CANCELLED:
            return Cancelled(id)
        return failed(id, known)


def _refuse_contradictions(request: Request) -> None:
    """What makes no sense whatever the engine knows is refused before it waits for its turn."""
    if isinstance(request, Generate) and request.preview_every and request.preview_dir is None:
        raise VcmError(
            Code.BAD_REQUEST,
            f"A preview every {request.preview_every} steps was asked for, but no folder for them.",
            "Give a preview_dir, or leave preview_every at 0.",
        )
