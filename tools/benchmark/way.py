"""A way from noise to an image, as the benchmark calls it: the released one and the engine's are called alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn

AfterStep = Callable[[], None]


class Way(Protocol):
    """One way to make a Sample. Latents and images are `[1, …]`; `sample_steps` is what a Sample takes."""

    name: str
    words: str
    sample_steps: int
    weight_bytes: int

    def encode_condition(self) -> None:
        """Run the control's encoder once."""
        ...

    def first_eps(self) -> Tensor:
        """The guided ε of the first DDIM step."""
        ...

    def ddim(self, steps: int, after_step: AfterStep = lambda: None) -> Tensor:
        """Sample by DDIM from the noise; `after_step` is called after each."""
        ...

    def decode(self, latent: Tensor) -> Tensor:
        """The image of a latent."""
        ...

    def sample(self) -> None:
        """A Sample from noise to image, as the way's users get it."""
        ...


def weight_bytes(*modules: nn.Module) -> int:
    """What the weights of networks take."""
    return sum(p.numel() * p.element_size() for module in modules for p in module.parameters())
