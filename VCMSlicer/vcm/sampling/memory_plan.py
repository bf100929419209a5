"""Decide before sampling how the memory will do: estimated needs against free bytes, and the choice in words.

The estimates follow the networks' own shapes; `docs/performance.md` says against what they were measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from vcm.core.errors import Code, VcmError
from vcm.models.backbones.autoencoders import largest_decoder_activation, slab_decoding_bytes
from vcm.models.backbones.latent_diffusion import LatentDiffusion
from vcm.models.backbones.slab_decoding import CPU_SLAB_BYTES, SLAB_BYTES
from vcm.models.controls.condition_encoder import ConditionEncoder
from vcm.models.controls.patch_encoder import PatchEncoder
from vcm.models.controls.vcm_control import VcmControl

PLAIN_DECODE_FACTOR = 6.0
"""Peak of the plain decoder in units of its largest activation: half are tensors, half workspace."""

ENCODE_FACTOR = 7.0
"""Peak of a condition encoder in units of its largest activation: six are tensors, one is for workspace."""

STEP_FACTOR = 4.0
"""Peak of a step in units of its largest activation: a bit more than two are tensors, the rest workspace."""

TWINS = 2
"""A captured step keeps its memory, and a Sample may have a twin without control."""

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
    backbone: LatentDiffusion,
    control: VcmControl | None,
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
    device = next(backbone.denoiser.parameters()).device.type
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


def needed_bytes(
    backbone: LatentDiffusion, control: VcmControl | None, dtype: torch.dtype, batch: int, plan: str
) -> int:
    """An estimate of the peak over encoding the conditions, sampling a batch, and decoding its images one by one."""
    size = dtype.itemsize
    autoencoder = _weights(backbone.autoencoder, size)
    denoiser = _weights(backbone.denoiser, size) + (_weights(control, size) if control else 0)
    encoding = ENCODE_FACTOR * _largest_condition_activation(backbone, control) * size
    steps = TWINS * STEP_FACTOR * _largest_step_activation(backbone) * size * batch
    decoding = decoding_bytes(backbone, size, plan)
    if plan == "offload":
        peak = autoencoder + max(denoiser + steps + encoding, decoding)
    else:
        peak = autoencoder + denoiser + steps + max(encoding, decoding)
    return int(RESERVE * peak)


def decoding_bytes(backbone: LatentDiffusion, size: int, plan: str) -> float:
    """The peak of decoding one image in numbers of `size` bytes, without the weights."""
    if plan == "whole":
        return PLAIN_DECODE_FACTOR * largest_decoder_activation(backbone.autoencoder, backbone.latent_shape[1:]) * size
    device = next(backbone.autoencoder.parameters()).device.type
    return slab_decoding_bytes(backbone.autoencoder, backbone.latent_shape[1:], size, _slab_bytes(device))


def _largest_step_activation(backbone: LatentDiffusion) -> int:
    voxels = math.prod(backbone.latent_shape[1:]) // backbone.packing**3
    widest = max(m.in_channels for m in backbone.denoiser.modules() if isinstance(m, nn.Conv3d))
    return voxels * widest


def _largest_condition_activation(backbone: LatentDiffusion, control: VcmControl | None) -> int:
    if control is None:
        return 0
    network = control.network
    voxels = math.prod(backbone.grid.shape) // network.shrinks**3
    kinds = (ConditionEncoder, PatchEncoder)
    widths = [encoder.base for encoder in network.encoders.values() if isinstance(encoder, kinds)]
    return voxels * max(widths)


def _weights(module: nn.Module, size: int) -> int:
    return sum(p.numel() for p in module.parameters()) * size
