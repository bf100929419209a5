"""A shard split among several processes of this machine, each with its own models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from vcm.core.processes import Report, each_in_a_process
from vcm.runs.batches.run import Batch, BatchListeners, Tally, run_shard
from vcm.runs.batches.shards import Shard


def run_jobs(batch: Batch, shard: Shard, jobs: int, listeners: Sequence[BatchListeners], local_rank: int = 0) -> Tally:
    """Do the shard in `jobs` processes; `listeners` has an entry for each.

    One that ends badly does not end the others; its failure is raised when all have ended.
    """

    def hear(job: int, said: tuple[str, Any]) -> None:
        kind, content = said
        if listener := getattr(listeners[job], kind):
            listener(content)

    shares = [_Share(batch, shard.split(job, jobs), jobs, local_rank * jobs + job) for job in range(jobs)]
    return sum(each_in_a_process(_make, shares, hear), Tally())


@dataclass(frozen=True)
class _Share:
    """What one of the `jobs` processes makes; `local_rank` is its place among all of this machine."""

    batch: Batch
    shard: Shard
    jobs: int
    local_rank: int


def _make(share: _Share, report: Report) -> Tally:
    from vcm.machine.local_device import device_of_local_rank, share_processor

    share_processor(share.jobs)
    device, words = device_of_local_rank(share.batch.defaults.device, share.local_rank)
    if words:
        report(("words", words))
    batch = replace(share.batch, defaults=replace(share.batch.defaults, device=device))
    kinds = ("progress", "case", "words")
    return run_shard(batch, share.shard, BatchListeners(**{kind: _reporting(report, kind) for kind in kinds}))


def _reporting(report: Report, kind: str) -> Report:
    return lambda content: report((kind, content))
