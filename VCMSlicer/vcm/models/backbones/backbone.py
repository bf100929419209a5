"""What a backbone offers. Nothing above this interface knows its networks."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from vcm.conditions.attributes import AttributeSpec
from vcm.core.grid import Grid
from vcm.models.schedule import Schedule


class Backbone(Protocol):
    """A pretrained latent diffusion model, whatever is inside.

    Images are `[B, 1, i, j, k]` in 0–1 on `grid`; latents `[B, *latent_shape]` with about unit variance.
    """

    grid: Grid
    latent_shape: tuple[int, int, int, int]
    schedule: Schedule
    attributes: tuple[AttributeSpec, ...]
    scale_factor: float

    def encode(self, image: Tensor) -> Tensor:
        """The latent of an image: the mean of its posterior, scaled."""
        ...

    def decode(self, latent: Tensor, scale_factor: float | None = None) -> Tensor:
        """The image of a latent; `scale_factor` overrides the backbone's own, for controls trained with another."""
        ...

    def typical_image(self) -> Tensor | None:
        """An image `[1, 1, i, j, k]` of no one in particular, on the CPU; None where the model has none."""
        ...

    def denoise(self, latent: Tensor, t: Tensor, attributes: Tensor) -> Tensor:
        """ε in the latent `[B, *latent_shape]` at timesteps `t` `[B]` with raw attributes `[B, n]`."""
        ...
