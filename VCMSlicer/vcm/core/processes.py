"""The same work on many things, in several processes of this machine.

What a process says is heard here and an error is raised here as it was there. One that dies is reported in words, and
none outlives the process that started it: it is asked to put its folder in order, and ended if it does not.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar, cast

from vcm.core.errors import Code, VcmError
from vcm.protocol.failures import in_words

Item = TypeVar("Item")
Result = TypeVar("Result")
Report = Callable[[Any], None]

PATIENCE_S = 60
"""How long a process may take to put its folder in order before it is killed."""
CANCELLED = 130


def in_processes(
    work: Callable[[Item], Result], items: Sequence[Item], jobs: int, prepare: Callable[[], None] | None = None
) -> Iterator[Result]:
    """`work` of each item, in the order in which they are done; with one job, here and one after the other.

    `work`, the items and `prepare`, which each process calls first, are pickled. The first error ends everything: what
    is begun is finished first. A process that dies is an error too.
    """
    jobs = min(jobs, len(items))
    if jobs <= 1:
        yield from map(work, items)
        return
    left = iter(items)
    with _started(partial(_silently, work), jobs, prepare) as crew:
        busy = {line: member.given(next(left)) for line, member in crew.items()}
        while busy:
            for line in cast(list[Connection], wait(list(busy))):
                kind, content = busy[line].heard()
                if kind == "failed":
                    raise content
                for item in left:
                    busy[line].given(item)
                    break
                else:
                    del busy[line]
                yield content


def each_in_a_process(
    work: Callable[[Item, Report], Result], items: Sequence[Item], hear: Callable[[int, Any], None]
) -> list[Result]:
    """`work(item, report)` of each item in a process of its own; `hear(number, content)` gets what that item reports.

    One that ends badly does not end the others; the first failure is raised when all have ended.
    """
    results: list[Result] = []
    failures: list[VcmError] = []
    with _started(work, len(items), None) as crew:
        busy = {line: member.given(item) for (line, member), item in zip(crew.items(), items, strict=True)}
        while busy:
            for line in cast(list[Connection], wait(list(busy))):
                kind, content = busy[line].heard()
                if kind == "message":
                    hear(busy[line].number, content)
                    continue
                del busy[line]
                (results if kind == "done" else failures).append(content)
    if failures:
        raise failures[0]
    return results


def _silently(work: Callable[[Item], Result], item: Item, report: Report) -> Result:
    return work(item)


@dataclass(frozen=True, eq=False)
class _Member:
    """One of the processes, as the first one sees it."""

    number: int
    jobs: int
    process: BaseProcess
    line: Connection

    def given(self, item: Any) -> _Member:
        with suppress(BrokenPipeError, ConnectionResetError):  # its death is heard of as the answer
            self.line.send(item)
        return self

    def heard(self) -> tuple[str, Any]:
        """`message` with what was said, `done` with the result, or `failed` with the error."""
        try:
            kind, content = self.line.recv()
        except (EOFError, OSError):
            return "failed", self._death()
        if kind == "failed":
            return kind, VcmError(Code(content["code"]), content["sentence"], content["remedy"], **content["details"])
        return kind, content

    def _death(self) -> VcmError:
        self.process.join(PATIENCE_S)
        code = self.process.exitcode or 0
        how = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
        return VcmError(
            Code.INTERNAL,
            f"Process {self.number + 1} of {self.jobs} {how} before its work was done; too little memory is the usual "
            "cause. What was finished is kept.",
            "Run the same command again to go on, with fewer --jobs.",
        )


@contextmanager
def _started(
    work: Callable[[Any, Report], Any], jobs: int, prepare: Callable[[], None] | None
) -> Iterator[dict[Connection, _Member]]:
    """So many processes by their lines. At the end they finish what they have begun, or stop where it is cancelled."""
    context = multiprocessing.get_context("spawn")
    crew: dict[Connection, _Member] = {}
    stopped = False
    try:
        # Ctrl-C reaches every process of a terminal; they hear of it from here, once, as SIGTERM.
        with _deaf_to_interrupts():
            for number in range(jobs):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(work, prepare, theirs))
                process.start()
                theirs.close()
                crew[ours] = _Member(number, jobs, process, ours)
        yield crew
    except BaseException as error:
        stopped = not isinstance(error, (VcmError, GeneratorExit))
        raise
    finally:
        for line, member in crew.items():
            line.close()
            if stopped:
                member.process.terminate()
        for member in crew.values():
            member.process.join(PATIENCE_S if stopped else None)
            if member.process.is_alive():
                member.process.kill()
                member.process.join()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(work: Callable[[Any, Report], Any], prepare: Callable[[], None] | None, line: Connection) -> None:
    """What each process does: one item after the other, until the line is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    try:
        if prepare is not None:
            prepare()
        while True:
            try:
                item = line.recv()
            except (EOFError, OSError):
                return
            line.send(("done", work(item, lambda content: line.send(("message", content)))))
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(CANCELLED)
    except Exception as error:
        with suppress(BrokenPipeError):
            line.send(("failed", in_words(error).as_dict()))


def _end_with_the_first() -> None:
    first = multiprocessing.parent_process()
    if first is not None:
        first.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE_S)
        os._exit(1)
