"""What a control is taught with: VCM's Eq. 4, and how much each noise level counts in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from vcm.core.errors import Code, VcmError
from vcm.training.trainer.noise_steps import LEAST_ALPHA

EDGE = " edge"
"""Ends a focus's key that means a structure's edge alone."""

FAINT = 0.02
"""An image condition is taken to show something above this intensity."""

WEIGHTINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "epsilon": lambda alpha, sigma: torch.ones_like(alpha),
    "v": lambda alpha, sigma: 1 / alpha.clamp(min=LEAST_ALPHA).square(),
    "min_snr": lambda alpha, sigma: (5 * (sigma / alpha).square()).clamp(max=1),
}
"""Weights of the squared error of ε, from α and σ `[B, 1, 1, 1, 1]`.

`epsilon` is the paper's. Its high-noise steps hardly count: there ε is nearly the latent itself, whatever the layout.
`v` measures the error of v, for which every noise level is about as hard; it is what a backbone that predicts v was
taught with, and the layout, which forms at high noise, is learned; where next to nothing of the image is left, its
weight rises no further. `min_snr` (Hang et al. 2023, γ = 5) is `epsilon`
with the nearly finished images counting less.
"""


def control_loss(
    predicted: Tensor,
    noise: Tensor,
    penalty: Tensor,
    weight: Tensor,
    place: Tensor | None = None,
    l1_weight: float | None = None,
) -> Tensor:
    """MSE(ε, ε′) + λ·(L1(γ) + L1(β)), λ⁻¹ = b·c·h·w·d (Ahn et al. 2025, Eq. 4), the first term weighted.

    `penalty` is L1(γ) + L1(β), or that of another control.

    `weight` `[B, 1, 1, 1, 1]` weighs the samples (see `WEIGHTINGS`), `place` `[B, 1, …]` the places, with a mean of
    one; `l1_weight` stands in for λ.
    """
    squared = weight * (predicted - noise).square()
    if place is not None:
        squared = squared * place
    lam = 1 / noise.numel() if l1_weight is None else l1_weight
    return squared.mean() + lam * penalty


def focus_on(
    conditions: Mapping[str, Tensor],
    classes: Mapping[str, Sequence[int]],
    shape: Sequence[int],
    focus: float | Mapping[str, float],
) -> Tensor:
    """Weights `[B, 1, *shape]` of the latent's places, higher near the conditions' structures; each sample's mean is 1.

    "Near" is within one of the latent's voxels of any voxel of a structure: it takes in what must not lie beside it.
    Without a focus, a structure that fills a fiftieth of a head is a fiftieth of the loss, and the network learns to
    paint air. One number weighs the places near any structure 1 + `focus` times; a table adds a number for each of its
    keys (`FocusKey`). `classes` names the values that the channels of a label map stand for.
    """
    example = next(iter(conditions.values()))
    place = example.new_ones(len(example), 1, *shape)
    if isinstance(focus, Mapping):
        for words, weight in focus.items():
            key = FocusKey.read(words)
            shown = conditions[key.name][:, key.channels(classes)]
            place = place + weight * (edge(shown, shape) if key.edge else near(shown, shape))
    elif focus:
        places = [near(condition, shape) for condition in conditions.values()]
        place = place + focus * torch.stack(places).amax(0)
    return place / place.mean(dim=(2, 3, 4), keepdim=True)


@dataclass(frozen=True)
class FocusKey:
    """Which places a number in a focus's table is for: those near a condition's structures, or at the edge of these.

    >>> FocusKey.read("semantics:4,5"), FocusKey.read("brain edge")
    (FocusKey(name='semantics', classes=(4, 5), edge=False), FocusKey(name='brain', classes=(), edge=True))
    """

    name: str
    classes: tuple[int, ...] = ()
    """The structures that are meant, by value; none means all."""
    edge: bool = False

    @classmethod
    def read(cls, words: str) -> FocusKey:
        """From `name[:class,…][ edge]`; a ValueError where it is something else."""
        plain = words.removesuffix(EDGE)
        name, colon, classes = plain.partition(":")
        return cls(name, tuple(int(value) for value in classes.split(",")) if colon else (), plain != words)

    def channels(self, classes: Mapping[str, Sequence[int]]) -> list[int] | slice:
        """The channels of the condition in which these structures are; see `focus_on` for `classes`."""
        if missing := sorted(set(self.classes) - set(classes.get(self.name, ()))):
            raise VcmError(
                Code.BAD_REQUEST,
                f"The focus is on class {', '.join(map(str, missing))} of {self.name}, which has no such class.",
                f"Its classes are {', '.join(map(str, classes.get(self.name, ()))) or 'none'}.",
            )
        return [classes[self.name].index(value) for value in self.classes] or slice(None)


def near(condition: Tensor, shape: Sequence[int]) -> Tensor:
    """1 within one of the latent's places of any channel that is set, `[B, 1, *shape]`."""
    return functional.max_pool3d(functional.adaptive_max_pool3d(_set(condition), tuple(shape)), 3, stride=1, padding=1)


def edge(condition: Tensor, shape: Sequence[int]) -> Tensor:
    """1 where some, but not all, of the voxels of the latent's place are set in any channel, `[B, 1, *shape]`.

    How well an outline is kept is decided there: what lies deep inside a structure says nothing of it.
    """
    there = _set(condition)
    some_set, some_not = (functional.adaptive_max_pool3d(part, tuple(shape)) for part in (there, 1 - there))
    return some_set * some_not


def _set(condition: Tensor) -> Tensor:
    """1 where any channel of a condition is set, `[B, 1, …]`."""
    return (condition.amax(1, keepdim=True) > FAINT).float()
