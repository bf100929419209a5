"""What of its machine a process takes that shares it with others of the same start."""

from __future__ import annotations

import os
import sys


def device_of_local_rank(device: str, local_rank: int) -> tuple[str, str]:
    """The device for the process `local_rank` (from 0) of a machine, and a sentence where one had to be chosen.

    Where any GPU will do each process takes one of its own, and they share where there are fewer; a device that was
    named is everyone's.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.lower() not in ("auto", "gpu", "cuda") or not count:
        return device, ""
    own = f"cuda:{local_rank % count}"
    shared = f", which it shares: there are {count} GPUs" if local_rank >= count else ""
    return own, f"Process {local_rank} of this machine takes {own}{shared}."


def share_processor(jobs: int) -> None:
    """Take one of `jobs` parts of the cores, unless the user has said how many threads there should be."""
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // jobs))


def compute_on_one_core() -> None:
    """Limit the packages that are loaded to one thread."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
