"""Waiting for the processes that torchrun started together with this one."""

from __future__ import annotations

import os
import time

ENDED = "vcm-ranks-ended"


def end_with_other_ranks(*, last: bool) -> None:
    """Say that this rank has ended its work and, to come `last`, wait until all have.

    torchrun ends all ranks as soon as one of them fails, so one that will report refused cases has to come last. Where
    torchrun did not start this process, nothing is said and nobody waited for.
    """
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= set(os.environ):
        return
    from torch.distributed.rendezvous import rendezvous

    store, _, ranks = next(iter(rendezvous("env://")))
    ended = store.add(ENDED, 1)
    while last and ended < ranks:
        time.sleep(0.5)
        ended = store.add(ENDED, 0)
