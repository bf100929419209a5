"""Decide before sampling how the memory will do: estimated needs against free bytes, and the choice in words.

The estimates follow the networks' own shapes; `docs/performance.md` says against what they were measured.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from vcm.core.errors import Code, VcmError
from vcm.models.backbones.backbone import Backbone
from vcm.models.backbones.slab_decoding import CPU_SLAB_BYTES, SLAB_BYTES
from vcm.models.controls.control import Control

ENCODE_FACTOR = 7.0
"""Peak of a condition encoder in units of its largest activation: six are tensors, one is for workspace."""

STEP_FACTOR = 4.0
"""Peak of a step in units of its largest activation: a bit more than two are tensors, the rest workspace."""

TWINS = 2
"""A Sample may have a twin without control: of one batch with it, or with a captured step that keeps its memory."""

RESERVE = 1.1
"""For what the allocator cannot fill."""

PLANS = ("whole", "slabs", "offload")
"""From the heaviest to the lightest."""


@dataclass(frozen=True)
class MemoryPlan:
    """How a Sample will be made within the memory there is.

    `whole` decodes in one go; `slabs` decodes slab by slab, with the same result; `offload` also moves the denoiser
    out of the device's memory before decoding, where the device has a memory of its own.
    """

    name: str
    needed: int
    free: int
    device: str = "cuda"

    @property
    def slab_bytes(self) -> int | None:
        """How large the slabs are in which the decoder works; None where it works in one go."""
        return None if self.name == "whole" else _slab_bytes(self.device)

    @property
    def offload(self) -> bool:
        """Whether the denoiser leaves the device before decoding."""
        return self.name == "offload"

    @property
    def lighter(self) -> str | None:
        """The name of the next lighter plan, if there is one here."""
        plans = _plans(self.device)
        return next(iter(plans[plans.index(self.name) + 1 :]), None)

    @property
    def words(self) -> str:
        """The choice, as it is announced."""
        how = {
            "whole": "decode in one go",
            "slabs": "decode in slabs (the same image, less memory)",
            "offload": "decode in slabs with the denoiser moved out of the way (the same image, least memory)",
        }[self.name]
        return f"{how}: needs about {self.needed / 1e9:.1f} GB of {self.free / 1e9:.1f} GB free"


def plan_memory(
    backbone: Backbone,
    control: Control | None,
    dtype: torch.dtype,
    batch: int,
    free: int,
    wanted: str = "auto",
) -> MemoryPlan:
    """The first plan, from `slabs` to the lighter, that fits into `free` bytes; or the one that is `wanted`.

    `free` counts what the networks' own weights take or will take. Slabs come first because they cost nothing in
    quality and, on a processor, save time.
    """
    check_name(wanted)
    device = backbone.device.type
    if wanted == "offload" and wanted not in _plans(device):
        raise VcmError(
            Code.BAD_REQUEST,
            "The memory plan “offload” moves networks out of a graphics card's own memory; this device has none.",
            "Use --memory slabs.",
        )
    candidates = _plans(device)[1:] if wanted == "auto" else (wanted,)
    plans = [MemoryPlan(name, needed_bytes(backbone, control, dtype, batch, name), free, device) for name in candidates]
    for plan in plans:
        if plan.needed <= free:
            return plan
    raise out_of_memory(plans[-1], batch)


def check_name(wanted: str) -> None:
    """Raise where no memory plan goes by this name."""
    if wanted not in ("auto", *PLANS):
        raise VcmError(Code.BAD_REQUEST, f"The memory plan must be auto, {', '.join(PLANS)}; not {wanted!r}.")


def out_of_memory(plan: MemoryPlan, batch: int) -> VcmError:
    """The error for a plan that does not fit, or did not, with the next lighter step named."""
    steps = ([f"--memory {plan.lighter}"] if plan.lighter else []) + (["--batch 1"] if batch > 1 else [])
    last = "--precision bf16" if plan.device == "cpu" else "--device cpu"
    return VcmError(
        Code.OUT_OF_MEMORY,
        f"The memory does not suffice: the plan “{plan.name}” needs about {plan.needed / 1e9:.1f} GB and "
        f"{plan.free / 1e9:.1f} GB are free.",
        f"Try {' or '.join(steps)}, or close other programs that use the same memory."
        if steps
        else f"This is the lightest plan: close other programs that use the same memory, or try {last}.",
        plan=plan.name,
        lighter=" ".join(steps),
        needed=plan.needed,
        free=plan.free,
    )


def _plans(device: str) -> tuple[str, ...]:
    """Where a device computes in the main memory, moving a network there frees nothing."""
    return PLANS[:-1] if device in ("cpu", "mps") else PLANS


def _slab_bytes(device: str) -> int:
    return CPU_SLAB_BYTES if device == "cpu" else SLAB_BYTES


def needed_bytes(backbone: Backbone, control: Control | None, dtype: torch.dtype, batch: int, plan: str) -> int:
    """An estimate of the peak over encoding the conditions, sampling a batch, and decoding its images one by one."""
    size = dtype.itemsize
    decoder = _weights(backbone.decoding_networks, size)
    sampler = _weights((*backbone.sampling_networks, *([control] if control else [])), size)
    encoding = ENCODE_FACTOR * (control.condition_elements(backbone.grid.shape) if control else 0) * size
    steps = TWINS * STEP_FACTOR * backbone.step_elements() * size * batch
    decoding = backbone.decoding_bytes(size, None if plan == "whole" else _slab_bytes(backbone.device.type))
    if plan == "offload":
        peak = decoder + max(sampler + steps + encoding, decoding)
    else:
        peak = decoder + sampler + steps + max(encoding, decoding)
    return int(RESERVE * peak)


def _weights(networks: Iterable[nn.Module], size: int) -> int:
    return sum(p.numel() for network in networks for p in network.parameters()) * size
