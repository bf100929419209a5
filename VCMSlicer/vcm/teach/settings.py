"""Settings for a teaching that nobody has to choose: from the number of cases, what is taught and the machine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vcm.conditions.condition import ConditionSpec, Kind
from vcm.models.loading import CONTROLS
from vcm.packs.manifest import BackboneManifest
from vcm.training.control.settings import ControlSettings

KIND = "vcm"
"""The kind of control where none is asked for."""

FULL_SIZE = 2_000_000
"""Grids of so many voxels and more are taught the paper's full-size network; smaller ones where there is no other."""

FEW_PLACES = 500
"""In latents of fewer places PyTorch's bf16 gradient of a convolution has been seen to go wrong."""

WEIGHT, MOST_FOCUS = 0.25, 60.0
"""The share of the loss near a structure that is aimed at, and how much more one place there may count at most."""

TRIALS = 4
"""So many held-out cases are tried while it learns."""


@dataclass(frozen=True)
class Chosen:
    """Settings, and a sentence for each that says why."""

    settings: ControlSettings
    reasons: tuple[str, ...]


def choose_settings(
    backbone: BackboneManifest,
    specs: Sequence[ConditionSpec],
    shares: Mapping[str, float],
    learned: int,
    *,
    gpu: bool,
    steps: int | None = None,
    batch: int | None = None,
    kind: str = KIND,
) -> Chosen:
    """`shares` are the conditions' shares of the latent's places (`CheckedCases.shares`)."""
    full = math.prod(backbone.grid.shape) >= FULL_SIZE or _has_no_small(kind, backbone)
    size = batch or (16 if gpu or full else 8)
    wanted = steps or _steps(learned, gpu)
    focus = {spec.name: 0.0 if full else _focus(spec, shares[spec.name]) for spec in specs}
    places = math.prod(backbone.latent.shape[1:]) // backbone.latent.packing**3
    settings = ControlSettings(
        backbone=backbone.name,
        conditions=tuple(spec.name for spec in specs),
        architecture=kind,
        variant="paper" if full else "small",
        learning_rate=5e-5 if full else CONTROLS[kind].small_learning_rate,
        course="linear" if full else "cosine",
        weighting="epsilon" if full else "v",
        steps=wanted,
        batch=size,
        micro_batch=1 if full else 0,
        recompute=full,
        warmup=min(40, wanted // 10),
        focus=next(iter(focus.values())) if len(focus) == 1 else focus,
        dropout="paper" if len(specs) > 1 else "none",
        precision="fp32" if places < FEW_PLACES else "auto",
        log_every=max(1, min(20, wanted // 40)),
        validate_every=max(1, wanted // 8),
        patience=3,
    )
    return Chosen(settings, tuple(_reasons(settings, learned, shares, focus, gpu, steps is not None)))


def _has_no_small(kind: str, backbone: BackboneManifest) -> bool:
    """VCM's small network corrects noise predictions alone, not the velocity of a flow."""
    return kind == "vcm" and backbone.process.guided != "epsilon"


def _steps(learned: int, gpu: bool) -> int:
    """More cases bear more steps, by their root; few cases are soon learned by heart, and early stopping sees to it."""
    wanted = (400 if gpu else 200) * math.sqrt(learned)
    return int(round(min(max(wanted, 400), 10_000 if gpu else 4000), -1))


def _focus(spec: ConditionSpec, share: float) -> float:
    """How much more a place near the structure must count for all of them to make up `WEIGHT` of the loss.

    >>> spec = ConditionSpec.from_dict({"name": "ventricles", "kind": "mask"})
    >>> [_focus(spec, share) for share in (0.02, 0.3)]
    [15.0, 0.0]
    """
    if spec.kind is Kind.IMAGE or share >= WEIGHT:
        return 0.0
    return float(round(min((WEIGHT - share) / ((1 - WEIGHT) * max(share, 1e-6)), MOST_FOCUS)))


def steps_in_words(settings: ControlSettings, learned: int, *, gpu: bool, given: bool) -> str:
    """The first of the reasons: how many steps, and why so many; `given` where they were asked for."""
    where = "a graphics card" if gpu else "a processor"
    why = "as asked for" if given else f"enough for {learned} cases on {where}"
    return (
        f"At most {settings.steps} steps of {settings.batch} heads, {why}: each head is met about "
        f"{settings.steps * settings.batch / learned:.0f} times, half of them mirrored, with other noise each time."
    )


def _reasons(
    settings: ControlSettings,
    learned: int,
    shares: Mapping[str, float],
    focus: Mapping[str, float],
    gpu: bool,
    given: bool,
) -> list[str]:
    reasons = [
        steps_in_words(settings, learned, gpu=gpu, given=given),
        f"It stops earlier when {settings.patience} tries in a row on held-out cases bring nothing better; there is "
        f"one every {settings.validate_every} steps.",
        f"The network is the {'full-size one of the paper' if settings.variant == 'paper' else 'small one'} of "
        f"the kind {settings.architecture}, at a learning rate of {settings.learning_rate:g}.",
    ]
    for name, weight in focus.items():
        if weight:
            reasons.append(
                f"What lies near the {name} counts {1 + weight:.0f} times: it is {shares[name]:.1%} of the head's box "
                "and would have as little say otherwise."
            )
    if settings.dropout != "none":
        reasons.append("Conditions are left out at random (as in the paper), so that any part of them may be given.")
    return reasons
