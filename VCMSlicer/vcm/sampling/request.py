"""What is asked of a generator, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from vcm.conditions.attributes import AttributeValue
from vcm.conditions.condition import Condition
from vcm.core.errors import Code, VcmError
from vcm.core.records import Bounds, out_of_bounds
from vcm.core.volume import Volume
from vcm.models.process import Process
from vcm.protocol.requests import LARGEST_SEED
from vcm.sampling.samplers import DEFAULT_STEPS, SAMPLERS


@dataclass(frozen=True, eq=False)
class GenerateRequest:
    """What to make. `noise` is `[samples, *latent_shape]` and takes the place of the seeds' own.

    With `contrasts`, values of one of the attributes, each noise becomes a Sample of every one of them; `samples`
    counts the noises, `batch` the Samples.
    """

    attributes: tuple[AttributeValue, ...]
    conditions: tuple[Condition, ...] = ()
    seed: Annotated[int, Bounds(0, LARGEST_SEED)] = 0
    samples: Annotated[int, Bounds(1, 10_000, title="number of samples")] = 1
    sampler: str = "dpm++"
    steps: Annotated[int | None, Bounds(1, 1000, title="number of steps")] = None
    noise: NDArray[np.floating] | None = None
    uncontrolled: bool = False
    preview_every: Annotated[int, Bounds(0, 1000, title="interval of previews")] = 0
    batch: Annotated[int, Bounds(1, 1024)] = 1
    contrasts: tuple[AttributeValue, ...] = ()

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise VcmError(Code.BAD_REQUEST, f"The sampler must be {' or '.join(SAMPLERS)}, not {self.sampler!r}.")
        if fault := out_of_bounds(self):
            raise VcmError(Code.BAD_REQUEST, f"The {fault}.")
        if self.noise is None and self.seed + self.samples - 1 > LARGEST_SEED:
            raise VcmError(
                Code.BAD_REQUEST,
                f"Sample n uses seed + n, and {self.seed} + {self.samples - 1} is above the largest seed, "
                f"{LARGEST_SEED}.",
                "Choose a smaller seed.",
            )

    @cached_property
    def variants(self) -> tuple[tuple[AttributeValue, ...], ...]:
        """The attributes of each Sample that one noise becomes."""
        return tuple(
            tuple(contrast if own.spec == contrast.spec else own for own in self.attributes)
            for contrast in self.contrasts
        ) or (self.attributes,)

    @property
    def count(self) -> int:
        """How many Samples come of it."""
        return self.samples * len(self.variants)

    def place(self, number: int) -> tuple[int, int]:
        """Of which noise a Sample is made and which variant it is: all variants of one noise follow each other."""
        return divmod(number, len(self.variants))

    def inputs(self, members: Sequence[int]) -> list[list[float]]:
        """The raw attributes of some Samples, a row each, or one row where they are the same for all."""
        rows = [[value.raw for value in self.variants[self.place(number)[1]]] for number in members]
        return rows if any(row != rows[0] for row in rows) else rows[:1]

    def on(self, process: Process) -> GenerateRequest:
        """The same with its number of steps settled: of the sampler's usual one, as many as the process knows."""
        known = process.timesteps - process.last
        return self if self.steps is not None else replace(self, steps=min(self.step_count, known))

    @property
    def step_count(self) -> int:
        """The steps asked for, or the sampler's usual number."""
        return self.steps if self.steps is not None else DEFAULT_STEPS.get(self.sampler, 30)


@dataclass(frozen=True, eq=False)
class Sample:
    """One generated volume, and its twin from the same noise without control where that was asked for.

    `index` is that of its noise, `variant` says which of the request's it is. `seconds` is its share, by stage, of the
    time its batch took.
    """

    index: int
    seed: int
    volume: Volume
    noise: NDArray[np.float32]
    uncontrolled: Volume | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    variant: int = 0
