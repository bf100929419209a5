"""The one sampling loop: from noise to finished latents, with or without a control."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vcm.conditions.condition import Condition
from vcm.core.errors import Code, VcmError
from vcm.models.backbones.backbone import Backbone
from vcm.models.controls.control import Control
from vcm.models.preparers.preparer import PREPARERS, Finish
from vcm.sampling.guidance import GuidedDenoiser
from vcm.sampling.samplers import SAMPLERS, Denoise, OnStep


def sample_latents(
    backbone: Backbone,
    inputs: Tensor,
    noise: Tensor,
    control: Control | None = None,
    conditions: Sequence[Condition] = (),
    *,
    sampler: str = "dpm++",
    steps: int = 20,
) -> Tensor:
    """Finished latents `[B, *latent_shape]` from noise, with raw inputs `[1, n]`."""
    with torch.no_grad():
        latent = run_sampler(GuidedDenoiser(backbone, inputs, control, conditions), backbone, noise, sampler, steps)
        latent = restored(latent, spread_of(backbone, control, conditions))
        for finish in finishing(control, conditions, backbone):
            latent = finish(latent, control.decoding_scale(conditions) if control else None)
    return latent


def run_sampler(
    denoise: Denoise, backbone: Backbone, noise: Tensor, sampler: str, steps: int, on_step: OnStep | None = None
) -> Tensor:
    """The latents that a sampler comes to, before preparers finish them."""
    return SAMPLERS[sampler](denoise, noise, backbone.process, steps, on_step)


def spread_of(backbone: Backbone, control: Control | None, conditions: Sequence[Condition]) -> Tensor | None:
    """What samples lack under these conditions: the control's own figure where it acts, else the backbone's."""
    acts = control is not None and any(condition.strength > 0 for condition in conditions)
    return control.spread if control is not None and acts else backbone.spread


def restored(latent: Tensor, spread: Tensor | None) -> Tensor:
    """Finished latents with the spread that samples lack at each place, as `Backbone.spread` tells."""
    if spread is None:
        return latent
    if spread.shape != latent.shape[2:]:
        raise VcmError(
            Code.PACK_INVALID,
            f"A pack gives its samples' spread on a grid of {tuple(spread.shape)}, and the latents' is "
            f"{tuple(latent.shape[2:])}.",
            "Import or download the pack again.",
        )
    return latent * spread.to(latent)


def finishing(control: Control | None, conditions: Sequence[Condition], backbone: Backbone) -> tuple[Finish, ...]:
    """What the preparers of the control's conditions do with finished latents."""
    if control is None or not conditions:
        return ()
    ways = control.preparers
    steps = []
    for way in sorted({ways[c.spec.name] for c in conditions}):
        given = [c for c in conditions if ways[c.spec.name] == way]
        steps.append(PREPARERS[way]().finish(given, backbone, backbone.device))
    return tuple(step for step in steps if step is not None)
