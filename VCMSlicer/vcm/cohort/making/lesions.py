"""Lesions for made heads: irregular, of white matter and cortex, dark in T1w images, labelled as their own class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vcm.anatomy.structures import CORTEX, LESION, SEGMENTER_CLASSES
from vcm.cohort.making.head_shape import on_device, smallest
from vcm.cohort.making.label_maps import LabelTable
from vcm.core.errors import Code, VcmError

LEAST_ML, MOST_ML = 1.0, 20.0
KEPT = 0.4
"""The share of heads that keep the lesions which their label map has; in the others they are white matter."""

REACH = 30
"""How many voxels of 1 mm from its middle a lesion reaches at most, along each axis."""
RAGGED_MM = 5.0
"""How far its outline goes in and out, as a standard deviation before smoothing."""
DARKEST, BRIGHTEST = 48.0, 90.0
"""The mean of a lesion in T1w images on the priors' scale: between CSF (44) and cortex (96)."""

_SIDES = tuple(
    (lesion, white, cortex) for lesion, white, cortex in zip(SEGMENTER_CLASSES[LESION][1], (2, 41), CORTEX, strict=True)
)
"""The label of a lesion, and those of the white matter and the cortex of its side."""


@dataclass(frozen=True, eq=False)
class Lesion:
    """One lesion, drawn before anything is computed: where among all places it lies (0-1), its volume and its form."""

    place: float
    ml: float
    stretch: NDArray[np.float32]
    ragged: NDArray[np.float32]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Lesion:
        return cls(
            place=float(rng.random()),
            ml=float(np.exp(rng.uniform(np.log(LEAST_ML), np.log(MOST_ML)))),
            stretch=np.exp(rng.normal(0, 0.25, 3)).astype(np.float32),
            ragged=(RAGGED_MM * rng.normal(size=(9, 9, 9))).astype(np.float32),
        )


@dataclass(frozen=True, eq=False)
class Lesions:
    """The lesions of one head: new ones, and whether those of its label map stay. `brightness` is theirs in T1w images
    on the priors' scale; None leaves the prior's."""

    new: tuple[Lesion, ...] = ()
    own: bool = True
    brightness: float | None = None

    @classmethod
    def draw(cls, rng: np.random.Generator, share: float) -> Lesions:
        """In a `share` of heads there are one to three new ones."""
        there, own, number = rng.random() < share, rng.random() < KEPT, int(rng.integers(1, 4))
        brightness = float(rng.uniform(DARKEST, BRIGHTEST))
        new = tuple(Lesion.draw(rng) for _ in range(number)) if there else ()
        # Without new ones nothing would make those of the map as dark as their class says.
        return cls(new, bool(own and there), brightness if there else None)

    def put_into(self, labels: Tensor, table: LabelTable) -> Tensor:
        """Label positions `[i, j, k]` at 1 mm with these lesions; the tensor that was given is changed."""
        names = table.labels.tolist()
        sides = [tuple(names.index(n) for n in side) for side in _SIDES if set(side) <= set(names)]
        if not self.own:
            for lesion, white, _ in sides:
                labels.masked_fill_(labels == lesion, white)
        for one in self.new:
            _put(one, labels, sides)
        return labels


def require_lesion_labels(table: LabelTable) -> None:
    """Refuse a table of labels in which no lesion differs from what is around it."""
    if not any(set(side) <= set(table.labels.tolist()) for side in _SIDES):
        raise VcmError(
            Code.CONDITION,
            "Heads with lesions need the labels 25 or 57 (lesion), and 2, 3 or 41, 42 (white matter, cortex) of the "
            "same side in labels.json.",
            "Add them, or make heads without lesions: --lesions 0.",
        )


def _put(lesion: Lesion, labels: Tensor, sides: list[tuple[int, ...]]) -> None:
    """Within the tissue of one side: the voxels that are nearest to the middle, along a ragged distance."""
    thin = labels[::4, ::4, ::4]
    places = torch.isin(thin, torch.tensor([n for side in sides for n in side[1:]], device=labels.device)).nonzero()
    if not len(places):
        return
    middle = (places[min(int(lesion.place * len(places)), len(places) - 1)] * 4).tolist()
    side = next(side for side in sides if int(labels[tuple(middle)]) in side)
    box = tuple(slice(max(0, m - REACH), m + REACH) for m in middle)
    part = labels[box]
    axes = [
        (torch.arange(b.start, b.start + n, device=labels.device) - m) / float(s)
        for b, n, m, s in zip(box, part.shape, middle, lesion.stretch, strict=True)
    ]
    i, j, k = torch.meshgrid(*axes, indexing="ij")
    ragged = on_device(lesion.ragged, labels.device)[None, None]
    ragged = functional.interpolate(ragged, part.shape, mode="trilinear", align_corners=True)[0, 0]
    allowed = torch.isin(part, torch.tensor(side, device=labels.device))
    distance = torch.where(allowed, (i**2 + j**2 + k**2).sqrt() + ragged, float("inf"))
    count = min(round(lesion.ml * 1000), int(allowed.sum()))
    part[distance <= smallest(distance.flatten(), max(1, count))] = side[0]
