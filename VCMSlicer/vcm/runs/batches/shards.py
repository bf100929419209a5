"""Which cases of a table are whose: shards of it, and the processes that were started together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from vcm.core.errors import Code, VcmError

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Every `count`th case from `index` on, both counted from 0; over all indices each case comes exactly once.

    >>> [Shard(index, 3).of("abcdefg") for index in range(3)]
    [['a', 'd', 'g'], ['b', 'e'], ['c', 'f']]
    """

    index: int = 0
    count: int = 1

    def of(self, cases: Sequence[T]) -> list[T]:
        """The cases of this shard, in the table's order."""
        return list(cases[self.index :: self.count])

    def split(self, index: int, count: int) -> Shard:
        """A part of this shard, of `count` that together are this one."""
        return Shard(self.index + self.count * index, self.count * count)

    @property
    def words(self) -> str:
        return f"shard {self.index + 1} of {self.count}"


@dataclass(frozen=True)
class Rank:
    """This process among those that were started together; `local` counts on this machine, all from 0."""

    index: int
    count: int
    local: int
    source: str


def read_shard(text: str) -> Shard:
    """A shard as people write it, from 1.

    >>> read_shard("3/16")
    Shard(index=2, count=16)
    """
    found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text, re.ASCII)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise VcmError(
            Code.BAD_REQUEST,
            f"A shard is written K/N, the K-th of N shares counted from 1; {text!r} was given.",
            "Give, for example, --shard 1/16 for the first of sixteen.",
        )
    return Shard(int(found[1]) - 1, int(found[2]))


def rank_from(environment: Mapping[str, str]) -> Rank | None:
    """What torchrun, accelerate or Slurm's srun say about this process; None where it was started alone.

    >>> rank_from({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"})
    Rank(index=1, count=2, local=1, source='RANK of WORLD_SIZE')
    """
    for index, count, local in (
        ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
        ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
    ):
        if index in environment and count in environment:
            source = f"{index} of {count}"
            try:
                rank = Rank(int(environment[index]), int(environment[count]), int(environment.get(local, 0)), source)
            except ValueError:
                rank = Rank(-1, 0, 0, source)
            if not (0 <= rank.index < rank.count and rank.local >= 0):
                named = ", ".join(f"{name}={environment.get(name, '')}" for name in (index, count, local))
                raise VcmError(
                    Code.BAD_REQUEST,
                    f"The environment says {named}, which names no process of several.",
                    f"Unset {index} and {count}, or start with torchrun, accelerate launch or srun.",
                )
            return rank
    return None


def shard_of(given: str | None, environment: Mapping[str, str]) -> tuple[Shard, Rank | None]:
    """The shard of this process: that of `--shard`, all cases without one, split among the processes of one start."""
    if given is None and environment.get("SLURM_ARRAY_TASK_COUNT", "1") != "1":
        count = environment["SLURM_ARRAY_TASK_COUNT"]
        raise VcmError(
            Code.BAD_REQUEST,
            f"This is one of {count} tasks of a Slurm array, and each of them would make all cases.",
            f"Give each its share: --shard $SLURM_ARRAY_TASK_ID/{count} with --array=1-{count}.",
        )
    shard, rank = read_shard(given) if given is not None else Shard(), rank_from(environment)
    return (shard.split(rank.index, rank.count), rank) if rank else (shard, None)
