"""What a process may use of its machine: its memory, before C libraries abort without it, and its cores."""

from __future__ import annotations

import os
import sys

from vcm.core.errors import Code, VcmError

LEAST_ADDRESS_SPACE, LITTLE_ADDRESS_SPACE = 3 << 29, 4 << 30
"""Below the first PyTorch can hardly be loaded, and image readers abort; below the second there is little to spare."""
MOST_THREADS_A_CORE = 4


def refuse_little_memory() -> None:
    """Refuse to begin where the process is allowed less memory (`ulimit -v`) than the libraries need to be loaded."""
    if sys.platform == "win32":
        return
    import resource

    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        limit = resource.getrlimit(kind)[0]
        if limit == resource.RLIM_INFINITY or limit >= LITTLE_ADDRESS_SPACE:
            continue
        # OpenBLAS reserves memory for each of its threads, and interrupts the process where it gets none.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        if limit < LEAST_ADDRESS_SPACE:
            raise VcmError(
                Code.OUT_OF_MEMORY,
                f"This process is allowed {limit / 1e6:.0f} MB of memory; VCMSlicer needs at least 1.6 GB.",
                "Raise the limit: ulimit -v unlimited, or the memory of the batch job.",
            )


def use_threads(count: int | None) -> None:
    """Have PyTorch compute with so many threads; None leaves it the choice."""
    if count is None:
        return
    cores = os.cpu_count() or 1
    if count > MOST_THREADS_A_CORE * cores:
        raise VcmError(
            Code.BAD_REQUEST,
            f"--threads {count} is more than this machine can serve: it has {cores} processor cores.",
            f"Give {cores}, or leave the option out.",
        )
    import torch

    torch.set_num_threads(count)
