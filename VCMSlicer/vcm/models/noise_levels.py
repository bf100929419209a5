"""ᾱ at any timestep, also between two."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vcm.models.schedule import Schedule


class NoiseLevels(nn.Module):
    """ᾱ of a schedule at timesteps `[B]`, interpolated linearly in λ, as the samplers space them.

    It follows its network to another device, but stays in fp32: at high noise, v is a small difference of ε and the
    latent, and a rounded ᾱ would drown it.

    >>> levels = NoiseLevels(Schedule()).to(torch.bfloat16)
    >>> [f"{a:.3e}" for a in levels(torch.tensor([0.0, 999.0])).flatten().tolist()]
    ['9.985e-01', '9.691e-05']
    """

    half_log_snr: Tensor

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.last = schedule.last
        self.register_buffer("half_log_snr", torch.from_numpy(schedule.half_log_snr).float(), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> NoiseLevels:
        self.half_log_snr = self.half_log_snr.to(fn(self.half_log_snr).device)
        return self

    def forward(self, t: Tensor) -> Tensor:
        """ᾱ in fp32, as `[B, 1, 1, 1, 1]` for latents."""
        table = self.half_log_snr
        low = t.floor().long().clamp(0, len(table) - 2)
        weight = t.float() - low
        half = table[low] + (table[low + 1] - table[low]) * weight
        return torch.sigmoid(2 * half)[:, None, None, None, None]
