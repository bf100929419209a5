"""The same work on many things, in several processes; what any of them says and how any of them ends is told here."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, TypeVar

from vcm.core.errors import Code, VcmError

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 3
"""How many things for each process are handed out before the first of them is done."""

_work: Callable[[Any], Any] | None = None


def in_processes(work: Callable[[Item], Result], items: Sequence[Item], jobs: int) -> Iterator[Result]:
    """`work` of each item, in the order in which they are done; with one job, here and one after the other.

    `work` and the items are pickled. Each process computes on one core. The first error ends everything: what is begun
    is finished first. A process that dies is an error too, and processes do not outlive the one that started them.
    """
    jobs = min(jobs, len(items))
    if jobs <= 1:
        yield from map(work, items)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(work,))
    try:
        left = iter(items)
        running: set[Future[Any]] = set()
        while True:
            running |= {pool.submit(_do, item) for item in islice(left, AHEAD * jobs - len(running))}
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield _result(future)
    finally:
        pool.shutdown(cancel_futures=True)


def _result(future: Future[Any]) -> Any:
    try:
        result, error = future.result()
    except BrokenProcessPool as broken:
        raise VcmError(
            Code.INTERNAL,
            "One of the processes was ended from outside; too little memory is the usual cause.",
            "Run the same command again to go on, with fewer --jobs.",
        ) from broken
    if error is not None:
        raise VcmError(Code(error["code"]), error["sentence"], error["remedy"], **error["details"])
    return result


def _begin(work: Callable[[Any], Any]) -> None:
    global _work  # noqa: PLW0603
    _work = work
    # Ctrl-C reaches all processes of a terminal; it is the first one's to end the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    compute_on_one_core()


def _end_with_the_first() -> None:
    first = multiprocessing.parent_process()
    if first is not None:
        first.join()
        os._exit(1)


def compute_on_one_core() -> None:
    """Tell the packages that are loaded to use no more threads than one."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _do(item: Any) -> tuple[Any, dict[str, Any] | None]:
    assert _work is not None
    try:
        return _work(item), None
    except VcmError as error:
        # Its constructor takes more than its text, so it could not be unpickled as it is.
        return None, error.as_dict()
