"""Decide before sampling how the memory will do: measured needs against free bytes, and the choice in words."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from vcm.backbones.latent_diffusion import LatentDiffusion
from vcm.controls.condition_encoder import ConditionEncoder
from vcm.controls.vcm_control import VcmControl
from vcm.errors import Code, VcmError

PLAIN_DECODE_FACTOR = 6.0
"""Peak of the plain decoder in units of its largest activation: 8.6 GB for 1.47 GB, measured on an H200."""

SLAB_DECODE_FACTOR = 2.6
"""The same when decoding in slabs; see docs/performance.md for the measurement."""

STEP_FACTOR = 6.0
RESERVE = 1.15
PLANS = ("whole", "slabs", "offload")


@dataclass(frozen=True)
class MemoryPlan:
    """How a Sample will be made within the memory there is.

    `whole` decodes in one go; `slabs` decodes slab by slab, with the same result; `offload` also moves the denoiser
    out of the device's memory before decoding.
    """

    name: str
    needed: int
    free: int

    @property
    def slabs(self) -> bool:
        """Whether the decoder works slab by slab."""
        return self.name != "whole"

    @property
    def offload(self) -> bool:
        """Whether the denoiser leaves the device before decoding."""
        return self.name == "offload"

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

    Slabs come first because they cost nothing in quality and, on a processor, save time.
    """
    if wanted not in ("auto", *PLANS):
        raise VcmError(Code.BAD_REQUEST, f"The memory plan must be auto, {', '.join(PLANS)}; not {wanted!r}.")
    candidates = ("slabs", "offload") if wanted == "auto" else (wanted,)
    plans = [MemoryPlan(name, needed_bytes(backbone, control, dtype, batch, name), free) for name in candidates]
    for plan in plans:
        if plan.needed <= free:
            return plan
    raise out_of_memory(plans[-1], batch)


def out_of_memory(plan: MemoryPlan, batch: int) -> VcmError:
    """The error for a plan that does not fit, or did not, with the next lighter step named."""
    index = PLANS.index(plan.name)
    lighter = f"--memory {PLANS[index + 1]}" if index + 1 < len(PLANS) else ""
    if batch > 1:
        lighter = "--batch 1"
    return VcmError(
        Code.OUT_OF_MEMORY,
        f"The memory does not suffice: the plan “{plan.name}” needs about {plan.needed / 1e9:.1f} GB and "
        f"{plan.free / 1e9:.1f} GB are free.",
        f"Try {lighter}, or close other programs that use the GPU."
        if lighter
        else "Close other programs, or use --device cpu.",
        plan=plan.name,
        lighter=lighter,
        needed=plan.needed,
        free=plan.free,
    )


def needed_bytes(
    backbone: LatentDiffusion, control: VcmControl | None, dtype: torch.dtype, batch: int, plan: str
) -> int:
    """An estimate of the peak: the larger of sampling and decoding, with a reserve."""
    size = torch.finfo(dtype).bits // 8
    decoder = _weights(backbone.autoencoder.decoder, size)  # type: ignore[arg-type]
    denoiser = _weights(backbone.denoiser, size) + (_weights(control, size) if control else 0)
    decode_factor = PLAIN_DECODE_FACTOR if plan == "whole" else SLAB_DECODE_FACTOR
    decoding = decode_factor * largest_decoder_activation(backbone) * size * batch
    condition = _largest_condition_activation(backbone, control) * size
    step = STEP_FACTOR * _largest_step_activation(backbone) * size * batch
    sampling = max(STEP_FACTOR * condition, step)
    if plan == "offload":
        peak = max(denoiser + sampling, decoder + decoding)
    else:
        peak = denoiser + decoder + max(sampling, decoding)
    return int(RESERVE * peak)


def largest_decoder_activation(backbone: LatentDiffusion) -> int:
    """Elements of the decoder's largest tensor for one image: channels × voxels after each doubling."""
    blocks = backbone.autoencoder.decoder.blocks  # type: ignore[union-attr]
    voxels = int(torch.tensor(backbone.latent_shape[1:]).prod())
    largest = 0
    for block in blocks:  # type: ignore[union-attr]
        convolutions = [m for m in block.modules() if isinstance(m, nn.Conv3d)]
        if type(block).__name__.lower().startswith("upsample"):
            voxels *= 8
        for conv in convolutions:
            largest = max(largest, max(conv.in_channels, conv.out_channels) * voxels)
    return largest


def _largest_step_activation(backbone: LatentDiffusion) -> int:
    voxels = int(torch.tensor(backbone.latent_shape[1:]).prod()) // backbone.packing**3
    widest = max(m.in_channels for m in backbone.denoiser.modules() if isinstance(m, nn.Conv3d))
    return voxels * widest


def _largest_condition_activation(backbone: LatentDiffusion, control: VcmControl | None) -> int:
    if control is None:
        return 0
    network = control.network
    voxels = int(torch.tensor(backbone.grid.shape).prod()) // network.condition_packing**3
    widths = [encoder.base for encoder in network.encoders.values() if isinstance(encoder, ConditionEncoder)]
    return voxels * max(widths)


def _weights(module: nn.Module, size: int) -> int:
    return sum(p.numel() for p in module.parameters()) * size
