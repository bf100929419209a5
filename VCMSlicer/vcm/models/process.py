"""The noising of a diffusion model: z = α·x + σ·n at each time, and what a network may predict of x and n."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vcm.core.errors import Code, VcmError
from vcm.core.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Level: TypeAlias = "float | Tensor"
"""α or σ: one number, or `[B, 1, 1, 1, 1]`."""


@dataclass(frozen=True)
class Parameterisation:
    """What a network predicts at the noisy latent z = α·x + σ·n, and how the clean x and the noise n follow from it."""

    name: str
    clean: Callable[[Tensor, Tensor, Level, Level], Tensor]
    noise: Callable[[Tensor, Tensor, Level, Level], Tensor]
    of: Callable[[Tensor, Tensor, Level, Level], Tensor]


PARAMETERISATIONS = {
    kind.name: kind
    for kind in (
        Parameterisation(
            "epsilon", lambda z, p, a, s: (z - s * p) / a, lambda z, p, a, s: p, lambda x, n, a, s: n
        ),
        Parameterisation(
            "clean", lambda z, p, a, s: p, lambda z, p, a, s: (z - a * p) / s, lambda x, n, a, s: x
        ),
        # α² + σ² = 1
        Parameterisation(
            "v", lambda z, p, a, s: a * z - s * p, lambda z, p, a, s: s * z + a * p, lambda x, n, a, s: a * n - s * x
        ),
        # α + σ = 1
        Parameterisation(
            "velocity", lambda z, p, a, s: z - s * p, lambda z, p, a, s: z + a * p, lambda x, n, a, s: n - x
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was predicted of noisy latents, and in which parameterisation."""

    latent: Tensor
    value: Tensor
    kind: str = "epsilon"
    bound: float | None = None

    def clean(self, alpha: Level, sigma: Level) -> Tensor:
        """The clean latents it stands for at this level of noise, between −`bound` and `bound` where there is one."""
        clean = PARAMETERISATIONS[self.kind].clean(self.latent, self.value, alpha, sigma)
        return clean if self.bound is None else clean.clamp(-self.bound, self.bound)

    def noise(self, alpha: Level, sigma: Level) -> Tensor:
        """The noise it stands for at this level of noise."""
        return PARAMETERISATIONS[self.kind].noise(self.latent, self.value, alpha, sigma)

    def as_kind(self, kind: str, alpha: Level, sigma: Level) -> Tensor:
        """The same in another parameterisation."""
        if kind == self.kind:
            return self.value
        if kind == "epsilon":
            return self.noise(alpha, sigma)
        return PARAMETERISATIONS[kind].of(self.clean(alpha, sigma), self.noise(alpha, sigma), alpha, sigma)


class Process(ABC):
    """How noise is added: α and σ over the times from 0, the clean latent, to `first`, pure noise.

    Sampling goes from `first` down to `last` and ends in the clean latent predicted there. `prediction` is what the
    networks of the process predict, `guided` the parameterisation in which controls correct a prediction. Samplers hold
    the clean latents that follow from a prediction between −`bound` and `bound`, where there is one.
    """

    prediction: str
    guided: str
    timesteps: int
    last: int
    bound: float | None = None

    @property
    def first(self) -> float:
        """The time of pure noise."""
        return float(self.timesteps - 1)

    @abstractmethod
    def level(self, t: float) -> tuple[float, float]:
        """α and σ at a time."""

    @abstractmethod
    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """α and σ at times `[B]`, each `[B, 1, 1, 1, 1]` in fp32 on their device."""

    @abstractmethod
    def log_snr_range(self) -> tuple[float, float]:
        """λ = log(α/σ) at `first` and at `last`, both finite."""

    @abstractmethod
    def levels_of(self, half_log_snr: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """α and σ where λ has these values."""

    @abstractmethod
    def timestep_of(self, half_log_snr: float) -> float:
        """The time at which λ has this value."""

    def time_at(self, share: float) -> float:
        """The time at a share of the way from `last` (0) to `first` (1): even shares are Euler's steps, and training
        draws them evenly."""
        return self.last + share * (self.first - self.last)

    def fraction_done(self, t: float) -> float:
        """How far sampling has come at a time: 0 is pure noise, 1 the last step."""
        return (self.first - t) / (self.first - self.last)

    def as_dict(self) -> dict[str, Any]:
        """The entry of a manifest."""
        return {name: value for name, value in asdict(self).items() if value is not None}  # type: ignore[call-overload]


NEXT_TO_NOISE = -5.5
"""λ of ᾱ = 1.7e-5: below it, where a third of the cosine schedule's range lies, steps would be spent on noise alone."""


@dataclass(frozen=True, eq=False)
class VariancePreserving(Process):
    """α² + σ² = 1 at `timesteps` discrete times, with ᾱ = α².

    `kind` is `scaled_linear` (linear in √β, which the paper and CompVis call "linear"), `linear` (linear in β) or
    `cosine` (Nichol and Dhariwal 2021). Between two times λ is interpolated linearly, as the samplers space them.

    >>> f"{VariancePreserving().alphas_cumprod[-1]:.2e}"
    '9.69e-05'
    """

    timesteps: int = 1000
    kind: str = "scaled_linear"
    beta_start: float = 0.0015
    beta_end: float = 0.0205
    prediction: str = "epsilon"
    last: int = 0
    bound: float | None = None
    alphas_cumprod: NDArray[np.float64] = field(init=False, repr=False)
    _tables: dict[torch.device, Tensor] = field(init=False, repr=False, default_factory=dict)

    guided = "epsilon"

    def __post_init__(self) -> None:
        if self.prediction not in ("epsilon", "v", "clean"):
            raise _refused(f"a {self.kind} schedule cannot predict {self.prediction!r}; choose epsilon, v or clean")
        if self.kind == "scaled_linear":
            betas = np.linspace(self.beta_start**0.5, self.beta_end**0.5, self.timesteps) ** 2
        elif self.kind == "linear":
            betas = np.linspace(self.beta_start, self.beta_end, self.timesteps)
        else:
            steps = np.arange(self.timesteps + 1) / self.timesteps
            curve = np.cos((steps + 0.008) / 1.008 * np.pi / 2) ** 2
            betas = np.clip(1 - curve[1:] / curve[:-1], 0, 0.9999)
        if not 0 <= self.last < self.timesteps - 1:
            raise _refused(f"sampling cannot end at timestep {self.last} of {self.timesteps}")
        if self.bound is not None and not self.bound > 0:
            raise _refused(f"its bound must be above 0, not {self.bound}")
        object.__setattr__(self, "alphas_cumprod", np.cumprod(1.0 - betas))

    @cached_property
    def half_log_snr(self) -> NDArray[np.float64]:
        """λ_t = log(√ᾱ_t / √(1−ᾱ_t)), which falls as t grows."""
        table: NDArray[np.float64] = 0.5 * (np.log(self.alphas_cumprod) - np.log1p(-self.alphas_cumprod))
        return table

    def level(self, t: float) -> tuple[float, float]:
        """α and σ at a time."""
        if t == int(t):
            a = float(self.alphas_cumprod[int(t)])
        else:
            a = float(1 / (1 + np.exp(-2 * np.interp(t, np.arange(self.timesteps), self.half_log_snr))))
        return a**0.5, (1 - a) ** 0.5

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """α and σ at times `[B]`, in fp32: at high noise, v is a small difference of ε and the latent.

        >>> import torch
        >>> [f"{a:.3e}" for a in (VariancePreserving().levels(torch.tensor([0.0, 999.0]))[0] ** 2).flatten().tolist()]
        ['9.985e-01', '9.691e-05']
        """
        import torch

        table = self._tables.get(t.device)
        if table is None:
            table = self._tables[t.device] = torch.from_numpy(self.half_log_snr).float().to(t.device)
        low = t.floor().long().clamp(0, len(table) - 2)
        weight = t.float() - low
        half = table[low] + (table[low + 1] - table[low]) * weight
        alpha_bar = torch.sigmoid(2 * half)[:, None, None, None, None]
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    def log_snr_range(self) -> tuple[float, float]:
        """λ at the last time of sampling, and at the first or, where that is nothing but noise, next to it."""
        return max(float(self.half_log_snr[-1]), NEXT_TO_NOISE), float(self.half_log_snr[self.last])

    def levels_of(self, half_log_snr: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """α and σ where λ has these values."""
        return (1 / (1 + np.exp(-2 * half_log_snr))) ** 0.5, (1 / (1 + np.exp(2 * half_log_snr))) ** 0.5

    def timestep_of(self, half_log_snr: float) -> float:
        """The (fractional) timestep at which the schedule has this λ."""
        return float(np.interp(-half_log_snr, -self.half_log_snr, np.arange(self.timesteps)))

    def as_dict(self) -> dict[str, Any]:
        """The entry of a manifest."""
        entries = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        return {name: value for name, value in entries.items() if value is not None}

    def __deepcopy__(self, memo: dict[int, Any]) -> VariancePreserving:
        return self  # it never changes, and a network's copy shares it


EDGE = 1e-4
"""How near to its ends, in units of σ, a flow's λ is taken as infinite."""


@dataclass(frozen=True, eq=False)
class RectifiedFlow(Process):
    """α + σ = 1 on straight lines: σ = t / `timesteps`, for any t between; networks predict the velocity n − x.

    `shift` s draws the times of steps and of training towards noise, as larger images need it: the share u of the way
    is at σ = s·u / (1 + (s − 1)·u).

    >>> RectifiedFlow().level(250.0)
    (0.75, 0.25)
    >>> RectifiedFlow(shift=2.0).time_at(0.25)
    400.0
    """

    timesteps: int = 1000
    kind: str = "flow"
    prediction: str = "velocity"
    last: int = 0
    shift: float = 1.0

    guided = "velocity"

    def __post_init__(self) -> None:
        if self.prediction != "velocity":
            raise _refused(f"a flow predicts the velocity, not {self.prediction!r}")
        if not self.shift > 0:
            raise _refused(f"its shift must be above 0, not {self.shift}")
        if not 0 <= self.last < self.timesteps - 1:
            raise _refused(f"sampling cannot end at timestep {self.last} of {self.timesteps}")

    @property
    def first(self) -> float:
        """The time of pure noise."""
        return float(self.timesteps)

    def level(self, t: float) -> tuple[float, float]:
        """α and σ at a time."""
        return 1 - t / self.timesteps, t / self.timesteps

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """α and σ at times `[B]`."""
        sigma = (t.float() / self.timesteps)[:, None, None, None, None]
        return 1 - sigma, sigma

    def time_at(self, share: float) -> float:
        """The time at a share of the way from `last` (0) to `first` (1), shifted."""
        # s·u / (1 + (s − 1)·u), written so that both ends are met exactly.
        return super().time_at(1 - (1 - share) / (1 + (self.shift - 1) * share))

    def log_snr_range(self) -> tuple[float, float]:
        """λ next to pure noise, and at the last time or next to the clean latent."""
        last = min(max(self.last / self.timesteps, EDGE), 1 - EDGE)
        return float(np.log(EDGE / (1 - EDGE))), float(np.log((1 - last) / last))

    def levels_of(self, half_log_snr: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """α and σ where λ has these values."""
        return 1 / (1 + np.exp(-half_log_snr)), 1 / (1 + np.exp(half_log_snr))

    def timestep_of(self, half_log_snr: float) -> float:
        """The time at which λ has this value."""
        return float(self.timesteps / (1 + np.exp(half_log_snr)))


PROCESSES: Registry[Callable[..., Process]] = Registry(
    "processes",
    "noise schedule",
    {
        "scaled_linear": "vcm.models.process:VariancePreserving",
        "linear": "vcm.models.process:VariancePreserving",
        "cosine": "vcm.models.process:VariancePreserving",
        "flow": "vcm.models.process:RectifiedFlow",
    },
)


def process_from(entry: Mapping[str, Any]) -> Process:
    """The Process of a manifest's `schedule`."""
    make = PROCESSES[entry.get("kind", "scaled_linear")]
    try:
        whole = {name: int(entry[name]) for name in ("timesteps", "last") if name in entry}
        return make(**{**entry, **whole})
    except (TypeError, ValueError) as error:
        raise _refused(f"its entries do not describe a {entry['kind']} schedule ({error})") from error


def _refused(reason: str) -> VcmError:
    return VcmError(Code.PACK_INVALID, f"The noise schedule does not fit together: {reason}.")
