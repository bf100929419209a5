"""Shards: every case exactly once, however the work is shared out, and what starters of processes say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vcm.core.errors import Code, VcmError
from vcm.runs.batches.shards import Rank, Shard, rank_from, read_shard, shard_of

COUNTS = st.integers(1, 9)


@given(st.integers(0, 200), COUNTS, st.lists(COUNTS, min_size=9, max_size=9), st.data())
def test_every_case_is_in_exactly_one_share_however_each_shard_is_split_again(cases, count, parts, data):
    """Machines of one array may have different numbers of ranks, and these of jobs."""
    shares = []
    for index in range(count):
        shard = read_shard(f"{index + 1}/{count}")
        for part in range(parts[index]):
            jobs = data.draw(COUNTS)
            shares += [shard.split(part, parts[index]).split(job, jobs).of(range(cases)) for job in range(jobs)]
    assert sorted(case for share in shares for case in share) == list(range(cases))
    assert all(share == sorted(share) for share in shares)


@given(st.integers(1, 500), COUNTS)
def test_shares_are_as_even_as_can_be(cases, count):
    sizes = [len(Shard(index, count).of(range(cases))) for index in range(count)]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "3", "a/b", "1/4/2", "-1/4", "1.5/4", "", "²/4"])
def test_a_shard_that_cannot_be_is_refused_by_how_it_is_written(text):
    with pytest.raises(VcmError, match="the K-th of N shares") as caught:
        read_shard(text)
    assert caught.value.code is Code.BAD_REQUEST


TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
SLURM = {"SLURM_PROCID": "2", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0"}


def test_ranks_are_taken_from_torchrun_before_slurm_and_from_nothing_else():
    assert rank_from(TORCHRUN | SLURM) == Rank(5, 8, 1, "RANK of WORLD_SIZE")
    assert rank_from(SLURM) == Rank(2, 4, 0, "SLURM_PROCID of SLURM_NTASKS")
    assert rank_from({"RANK": "1", "SLURM_NTASKS": "4"}) is None and rank_from({}) is None


@pytest.mark.parametrize(
    "wrong", [{"RANK": "8"}, {"RANK": "x"}, {"WORLD_SIZE": "0"}, {"RANK": "-1"}, {"LOCAL_RANK": "q"}]
)
def test_an_environment_that_names_no_process_of_several_is_told(wrong):
    with pytest.raises(VcmError, match="names no process of several") as caught:
        rank_from(TORCHRUN | wrong)
    assert all(f"{name}={value}" in caught.value.sentence for name, value in wrong.items())


def test_the_ranks_of_a_start_share_the_shard_that_was_given():
    assert shard_of(None, {}) == (Shard(0, 1), None)
    shares = [shard_of("2/3", TORCHRUN | {"RANK": str(rank), "WORLD_SIZE": "2"})[0] for rank in range(2)]
    assert sorted(case for share in shares for case in share.of(range(20))) == Shard(1, 3).of(range(20))


def test_the_tasks_of_a_slurm_array_must_be_told_their_shares():
    array = {"SLURM_ARRAY_TASK_COUNT": "16", "SLURM_ARRAY_TASK_ID": "3"}
    with pytest.raises(VcmError) as caught:
        shard_of(None, array)
    assert "each of them would make all cases" in caught.value.sentence and "--array=1-16" in caught.value.remedy
    assert shard_of("3/16", array)[0] == Shard(2, 16)
    assert shard_of(None, array | {"SLURM_ARRAY_TASK_COUNT": "1"})[0] == Shard(0, 1)
