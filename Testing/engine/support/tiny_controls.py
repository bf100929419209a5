"""Every kind of control, made for the tiny backbone with random weights that are nowhere silent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import tiny
import torch
from vcm.conditions.condition import Condition, ConditionSpec
from vcm.core.volume import Volume
from vcm.models.loading import CONTROLS
from vcm.packs.store import find_pack

KINDS = [
    "controlnet", "controlnet-lite", "controlnet-mlp", "t2i-adapter", "mcm", "mcm-l", "ldm-fine-tuned", "ldm-scratch",
]  # fmt: skip
"""Those beside VCM that are for any family."""

SPECS = tuple(map(ConditionSpec.from_dict, tiny.CONDITIONS))


def manifest(packing: int = 1):
    """The manifest of the pack `tiny`; with a packing, of a backbone whose U-Net works on the packed latent."""
    read = find_pack("tiny").backbone
    width = 3 * packing**3
    denoiser = {**tiny.DENOISER, "in_channels": width + 4, "out_channels": width}
    schedule = {**read.schedule, "prediction": "v" if packing > 1 else "epsilon"}
    return replace(
        read,
        latent=replace(read.latent, packing=packing, whitened=packing > 1),
        networks={**read.networks, "denoiser": denoiser},
        schedule=schedule,
    )


def fresh(kind: str, packing: int = 1, variant: str = "small", specs=SPECS):
    """A control as a training begins with it."""
    torch.manual_seed(5)
    made = CONTROLS[kind].configure(manifest(packing), specs, variant, {})
    return CONTROLS[kind].create(made, specs)


def trained(kind: str, packing: int = 1, **options):
    """One whose layers that start at zero have some other value."""
    control = fresh(kind, packing, **options)
    torch.manual_seed(6)
    with torch.no_grad():
        for parameter in control.network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.5)
    return control.eval()


def condition(index: int, **options) -> Condition:
    """A mask, or an image, off every middle."""
    array = np.zeros(tiny.GRID.shape, np.float32)
    array[3:9, 5:20, 7:11] = 1.0 if index == 0 else 0.6
    return Condition(SPECS[index], Volume(array, tiny.GRID), **options)
