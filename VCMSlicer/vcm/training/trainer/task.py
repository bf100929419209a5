"""The interface between the trainer and a kind of training: items, loss and validation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Slot:
    """One place of a step's batch: the item that stands there, and a generator of its own for all that is random.

    The generator follows from the training's seed, the step and the `place`, so that the same item meets the same noise
    however many processes share the batch of `of` places.
    """

    place: int
    of: int
    item: int
    generator: torch.Generator

    def uniform(self) -> float:
        """A number in 0–1."""
        return float(torch.rand((), generator=self.generator))


@dataclass(frozen=True, eq=False)
class Outcome:
    """The mean loss of some slots, figures for the log (means too), and what an adversary is given."""

    loss: Tensor
    figures: Mapping[str, Tensor | float] = field(default_factory=dict)
    shown: Any = None


@dataclass(frozen=True, eq=False)
class ValidationCase:
    """One case of a validation: its place among them, its figures, and a picture `[row, column, RGB]` of it."""

    place: int
    figures: Mapping[str, float]
    picture: NDArray[np.uint8] | None = None


@dataclass(frozen=True, eq=False)
class Adversary:
    """A second network that learns against the first, from `start` (a step) on."""

    network: nn.Module
    start: int
    learning_rate: float


class TrainingTask(ABC):
    """One kind of training. A task knows nothing of optimisers, processes or files.

    `network` is what learns. `identity` names what must be the same for a checkpoint to fit (hashes of the backbone's
    files); `cases` in it may differ. `columns` are the figures of an `Outcome`; `score` names the figure of a
    validation by which checkpoints are compared, the higher the better where it is `rising`. `validation_size` is the
    number of validation cases; `pictured` says what its images are, from the left.
    """

    columns: tuple[str, ...]
    pictured: tuple[str, ...] = ()
    score: str
    rising: bool
    network: nn.Module
    identity: Mapping[str, str]
    validation_size: int
    adversary: Adversary | None = None

    @abstractmethod
    def __len__(self) -> int:
        """How many items there are."""

    @abstractmethod
    def outcome(self, network: nn.Module, slots: Sequence[Slot], step: int) -> Outcome:
        """The loss of `network` on these slots at a step, counted from 0."""

    @abstractmethod
    def validate(self, network: nn.Module, places: Sequence[int]) -> Iterator[ValidationCase]:
        """Evaluate `network` on the validation cases of these places."""

    def opposing(self, adversary: nn.Module, shown: Any) -> Tensor:
        """The adversary's own loss on what an outcome has shown."""
        raise NotImplementedError("this task has no adversary")


def slots_of(seed: int, step: int, batch: int, items: int, places: Sequence[int]) -> list[Slot]:
    """These places of a step's batch. Each epoch is another shuffle of the items, and none is left out between epochs.

    >>> [slot.item for step in (0, 1) for slot in slots_of(7, step, 2, 4, [0, 1])]
    [0, 2, 1, 3]
    """
    return [
        Slot(place, batch, item_at(seed, step * batch + place, items), generator_of(seed, step, place))
        for place in places
    ]


def item_at(seed: int, position: int, items: int) -> int:
    """The item at a position of the endless row of shuffled epochs."""
    return int(_order(seed, position // items, items)[position % items])


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, items: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(items)


def generator_of(*numbers: int) -> torch.Generator:
    """A generator that follows from these numbers and from nothing else."""
    mixed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
    return torch.Generator().manual_seed(mixed)
