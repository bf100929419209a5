"""A shard split among several processes of this machine, each with its own models."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, cast

from vcm.core.errors import Code, VcmError
from vcm.protocol.failures import in_words
from vcm.runs.batches.run import Batch, BatchListeners, Tally, run_shard
from vcm.runs.batches.shards import Shard

PATIENCE_S = 60
"""How long a process may take to put its folder in order before it is killed."""
CANCELLED = 130


@dataclass(frozen=True)
class Place:
    """A process among the `jobs` of this machine; `first` is the local rank of the first of them."""

    job: int
    jobs: int
    first: int = 0


def run_jobs(batch: Batch, shard: Shard, jobs: int, listeners: Sequence[BatchListeners], local_rank: int = 0) -> Tally:
    """Do the shard in `jobs` processes; `listeners` has an entry for each.

    One that ends badly does not end the others; its failure is raised when all have ended.
    """
    context = multiprocessing.get_context("spawn")
    processes: dict[Connection, tuple[int, BaseProcess]] = {}
    # Ctrl-C reaches every process of a terminal; they hear of it from here, once, as SIGTERM.
    with _deaf_to_interrupts():
        for job in range(jobs):
            ours, theirs = context.Pipe(duplex=False)
            place = Place(job, jobs, local_rank * jobs)
            process: BaseProcess = context.Process(target=_work, args=(batch, shard.split(job, jobs), place, theirs))
            process.start()
            theirs.close()
            processes[ours] = (job, process)
    started = [process for _, process in processes.values()]
    try:
        tally, failures = _listen(processes, listeners, jobs)
    except BaseException:
        for process in started:
            process.terminate()
        raise
    finally:
        _wait_for(started)
    if failures:
        raise failures[0]
    return tally


def _listen(
    processes: dict[Connection, tuple[int, BaseProcess]], listeners: Sequence[BatchListeners], jobs: int
) -> tuple[Tally, list[VcmError]]:
    """What the processes made and how those failed that did, once all have ended."""
    open_ends, tally = dict(processes), Tally()
    failures: list[VcmError] = []
    while open_ends:
        for end in wait(list(open_ends)):
            connection = cast(Connection, end)
            job, process = open_ends[connection]
            try:
                kind, content = connection.recv()
            except (EOFError, OSError):
                kind, content = "failed", _killed(process, job, jobs)
            if kind in ("ended", "failed"):
                del open_ends[connection]
            if kind == "ended":
                tally += content
            elif kind == "failed":
                code, sentence, remedy = content
                failures.append(VcmError(code, sentence, remedy))
            else:
                _hear(listeners[job], kind, content)
    return tally, failures


def _hear(listeners: BatchListeners, kind: str, content: Any) -> None:
    hears = {"progress": listeners.progress, "case": listeners.case, "words": listeners.words}[kind]
    if hears:
        hears(content)


def _killed(process: BaseProcess, job: int, jobs: int) -> tuple[Code, str, str]:
    process.join(PATIENCE_S)
    number = process.exitcode or 0
    how = f"ended by signal {-number}" if number < 0 else f"ended with {number}"
    return (
        Code.INTERNAL,
        f"Process {job + 1} of {jobs} was {how} before its cases were done. What was finished is kept.",
        "Run the same command again to go on; if memory was short, with fewer --jobs.",
    )


def _wait_for(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.join(PATIENCE_S)
        if process.is_alive():
            process.kill()
            process.join()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(batch: Batch, shard: Shard, place: Place, connection: Connection) -> None:
    """What each process does; where nobody listens any more it stops at the next word."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    from vcm.machine.local_device import device_of_local_rank

    def tell(kind: str) -> Callable[[object], None]:
        return lambda content: connection.send((kind, content))

    try:
        _share_processor(place.jobs)
        device, words = device_of_local_rank(batch.defaults.device, place.first + place.job)
        if words:
            tell("words")(words)
        own = replace(batch, defaults=replace(batch.defaults, device=device))
        tell("ended")(run_shard(own, shard, BatchListeners(tell("progress"), tell("case"), tell("words"))))
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(CANCELLED)
    except Exception as error:
        told = in_words(error)
        tell("failed")((told.code, told.sentence, told.remedy))


def _share_processor(jobs: int) -> None:
    """Give each process its part of the cores, unless the user has said how many threads there should be."""
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
