"""`vcm generate --cases`: a table of cases, one shard of it here."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from vcm.cli.display.batch import BatchBars, BatchDisplay, BatchLines
from vcm.core.errors import Code, VcmError

if TYPE_CHECKING:
    from vcm.runs.batches.run import Batch, Tally
    from vcm.runs.batches.shards import Rank, Shard

MOST_JOBS = 256
NAMES_LISTED = 5


def generate_cases(batch: Batch, *, shard: str | None, jobs: int, only_summary: bool, as_json: bool) -> None:
    """Make this process's share of the cases; whoever finds every case done writes the summary."""
    from vcm.runs.batches.shards import shard_of
    from vcm.runs.batches.summary import settled, summarise

    if not 1 <= jobs <= MOST_JOBS:
        raise VcmError(Code.BAD_REQUEST, f"The number of jobs must lie between 1 and {MOST_JOBS}, not {jobs}.")
    display: BatchDisplay = BatchLines() if as_json else BatchBars()
    names = [case.name for case in batch.cases()]
    if only_summary:
        with batch.opened():
            summary = summarise(batch.folder, names)
        display.summary(summary)
        _end_badly(batch, summary.refused, summary.missing, len(names))
        return
    mine, rank = shard_of(shard, os.environ)
    with display:
        tally = _run(batch, mine, rank, jobs, display)
    if settled(batch.folder, names):
        with batch.opened():
            display.summary(summarise(batch.folder, names))
    if rank is not None:
        from vcm.runs.batches.other_ranks import end_with_other_ranks

        end_with_other_ranks(last=bool(tally.refused))
    _end_badly(batch, tally.refused, (), tally.before + tally.made + len(tally.refused))


def _run(batch: Batch, shard: Shard, rank: Rank | None, jobs: int, display: BatchDisplay) -> Tally:
    from vcm.runs.batches.local_jobs import run_jobs
    from vcm.runs.batches.run import run_shard

    if jobs > 1:
        listeners = [display.listeners(shard.split(job, jobs)) for job in range(jobs)]
        return run_jobs(batch, shard, jobs, listeners, rank.local if rank else 0)
    listener = display.listeners(shard)
    if rank is not None:
        from vcm.machine.local_device import device_of_local_rank

        listener.words(f"{shard.words} by {rank.source}")
        device, words = device_of_local_rank(batch.defaults.device, rank.local)
        if words:
            listener.words(words)
        batch = replace(batch, defaults=replace(batch.defaults, device=device))
    return run_shard(batch, shard, listener)


def _end_badly(batch: Batch, refused: tuple[str, ...], missing: tuple[str, ...], total: int) -> None:
    if missing:
        raise VcmError(
            Code.CONDITION,
            f"{len(missing):,} of {total:,} cases are not made yet: {_listed(missing)}.",
            "Run vcm generate --cases again for their shards; what is finished is kept.",
        )
    if refused:
        raise VcmError(
            Code.CONDITION,
            f"{len(refused):,} of {total:,} cases were refused: {_listed(refused)}.",
            f"{batch.defaults.out / 'refused'} says why. Correct them and run the same command again.",
        )


def _listed(names: tuple[str, ...]) -> str:
    more = len(names) - NAMES_LISTED
    return ", ".join(names[:NAMES_LISTED]) + (f" and {more:,} more" if more > 0 else "")
