"""What a control offers: encode the conditions once, then correct ε at each step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from torch import Tensor

from vcm.conditions.condition import ConditionSpec

DenoiseLatent = Callable[[Tensor, Tensor], Tensor]
"""`denoise(latent, t) → ε` of the backbone, attributes bound; `t` has one entry a sample."""


class Control(Protocol):
    """A trained module that steers a backbone.

    `encode` runs once a Sample; `guide` once a step and set of conditions. `active` names the conditions that act;
    those given but not active are as if they had not been given. `as_latents` names those that it wants to be given as
    the backbone's latents, not as voxels.
    """

    conditions: tuple[ConditionSpec, ...]

    @property
    def as_latents(self) -> frozenset[str]: ...

    def encode(self, conditions: Mapping[str, Tensor], subsets: Iterable[frozenset[str]]) -> Any:
        """The state that `guide` needs, from `{name: [1, channels, i, j, k]}` (or latents); `subsets` are those that
        will act."""
        ...

    def guide(self, denoise: DenoiseLatent, latent: Tensor, t: Tensor, state: Any, active: frozenset[str]) -> Tensor:
        """The guided ε of `latent` `[B, *latent_shape]` at timesteps `t` `[B]`."""
        ...
