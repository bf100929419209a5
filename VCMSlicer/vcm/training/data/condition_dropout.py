"""Modality latent dropout: which of a control's conditions a slot is taught with (Ahn et al. 2025, §3.3 and §A.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from vcm.training.trainer.task import Slot

ALL_TOGETHER = 0.4
"""The paper's probability of all conditions at once; the rest is shared by each of them alone."""


def kept_conditions(
    dropout: str | Mapping[str, float], names: Sequence[str], slots: Sequence[Slot]
) -> dict[str, Tensor] | None:
    """1 where a slot keeps a condition and 0 where not, `{name: [B]}`; None where all are always kept."""
    if dropout == "none" or (len(names) == 1 and not isinstance(dropout, Mapping)):
        return None
    chosen = [_subset(dropout, names, slot) for slot in slots]
    return {name: torch.tensor([float(name in subset) for subset in chosen]) for name in names}


def _subset(dropout: str | Mapping[str, float], names: Sequence[str], slot: Slot) -> set[str]:
    if isinstance(dropout, Mapping):
        return {name for name in names if slot.uniform() >= dropout.get(name, 0.0)}
    draw = slot.uniform()
    if dropout == "uniform":
        number = 1 + int(draw * (2 ** len(names) - 1))
        return {name for place, name in enumerate(names) if number >> place & 1}
    alone = (draw - ALL_TOGETHER) / (1 - ALL_TOGETHER)
    return set(names) if alone < 0 else {names[min(int(alone * len(names)), len(names) - 1)]}
