"""Which device a process takes that shares its machine with others of the same start."""

from __future__ import annotations

import torch


def device_of_local_rank(device: str, local_rank: int) -> tuple[str, str]:
    """The device for the process `local_rank` (from 0) of a machine, and a sentence where one had to be chosen.

    Where any GPU will do each process takes one of its own, and they share where there are fewer; a device that was
    named is everyone's.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.lower() not in ("auto", "gpu", "cuda") or not count:
        return device, ""
    own = f"cuda:{local_rank % count}"
    shared = f", which it shares: there are {count} GPUs" if local_rank >= count else ""
    return own, f"Process {local_rank} of this machine takes {own}{shared}."
