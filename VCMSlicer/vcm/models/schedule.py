"""The noise schedule of a diffusion model, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Schedule:
    """A variance-preserving noise schedule of `timesteps` discrete steps.

    `alphas_cumprod[t]` is ᾱ_t: a latent at step t is √ᾱ_t·z + √(1−ᾱ_t)·ε. `kind` is `scaled_linear` (linear in √β,
    which the paper and CompVis call "linear") or `linear` (linear in β). Sampling goes from the first noise down to the
    timestep `last` and ends in the clean latent foreseen there: what a small denoiser would add below is mottle.

    >>> schedule = Schedule()
    >>> f"{schedule.alphas_cumprod[-1]:.2e}"
    '9.69e-05'
    """

    timesteps: int = 1000
    kind: str = "scaled_linear"
    beta_start: float = 0.0015
    beta_end: float = 0.0205
    prediction: str = "epsilon"
    last: int = 0
    alphas_cumprod: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.kind == "scaled_linear":
            betas = np.linspace(self.beta_start**0.5, self.beta_end**0.5, self.timesteps) ** 2
        elif self.kind == "linear":
            betas = np.linspace(self.beta_start, self.beta_end, self.timesteps)
        else:
            raise ValueError(f"Unknown kind of schedule: {self.kind}")
        if not 0 <= self.last < self.timesteps - 1:
            raise ValueError(f"Sampling cannot end at timestep {self.last} of {self.timesteps}.")
        object.__setattr__(self, "alphas_cumprod", np.cumprod(1.0 - betas))

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Schedule:
        """Read the `schedule` of a manifest."""
        return cls(**{name: entry[name] for name in cls.__dataclass_fields__ if name in entry})

    @property
    def half_log_snr(self) -> NDArray[np.float64]:
        """λ_t = log(√ᾱ_t / √(1−ᾱ_t)), which falls as t grows."""
        return 0.5 * (np.log(self.alphas_cumprod) - np.log1p(-self.alphas_cumprod))

    def timestep_of(self, half_log_snr: float) -> float:
        """The (fractional) timestep at which the schedule has this λ."""
        return float(np.interp(-half_log_snr, -self.half_log_snr, np.arange(self.timesteps)))

    def fraction_done(self, t: float) -> float:
        """How far the sampling has come at timestep t: 0 is pure noise, 1 the last step."""
        return (self.timesteps - 1 - t) / (self.timesteps - 1 - self.last)
