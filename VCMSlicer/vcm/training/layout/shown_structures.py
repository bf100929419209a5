"""Which structures of a training head the denoiser is shown: any that a user may draw."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vcm.cohort.case_conditions import CONDITION_SPECS
from vcm.training.layout.settings import LayoutSettings
from vcm.training.trainer.task import Slot

Structure = frozenset[int]
"""A structure that may be drawn, as a cohort's labels that it is made of."""

CLASSES: tuple[Structure, ...] = tuple(frozenset(c["segmenter"]) for c in CONDITION_SPECS["semantics"]["classes"])
"""Those that a label map gives; together they are a whole head."""

MASKS: tuple[Structure, ...] = tuple(
    frozenset(entry["classes"][0]["segmenter"]) for entry in CONDITION_SPECS.values() if entry["kind"] == "mask"
)
"""Those that masks give, and that may overlap with the others."""


def draw_structures(settings: LayoutSettings, slot: Slot) -> tuple[Structure, ...]:
    """The structures that a slot shows."""
    draw = slot.uniform()
    if draw < settings.nothing:
        return ()
    pool = (*MASKS, *CLASSES)
    if draw < settings.nothing + settings.alone:
        # A mask as often as any class: ventricles are what is painted most.
        each = MASKS if slot.uniform() < 0.5 else CLASSES
        return (each[int(slot.uniform() * len(each))],)
    if draw < settings.nothing + settings.alone + settings.all:
        return CLASSES
    share = slot.uniform()
    return tuple(structure for structure in pool if slot.uniform() < share)


def possible_labels(shown: Sequence[Sequence[Structure]], labels: int) -> Tensor:
    """`[B, labels, labels]` of 0 and 1: for each item, whether a voxel of the first label may have the second when
    these structures are shown. Two labels are told apart where a structure holds one of them and not the other.

    >>> possible_labels([[frozenset({2})]], 3)[0].int().tolist()
    [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    """
    return torch.stack([_confusable(structures, labels) for structures in shown])


def _confusable(structures: Sequence[Structure], labels: int) -> Tensor:
    if not structures:
        return torch.ones(labels, labels)
    inside = torch.tensor([[label in structure for structure in structures] for label in range(labels)])
    return (inside[:, None] == inside[None]).all(-1).float()
