"""ᾱ at any timestep, also between two."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vcm.schedule import Schedule


class NoiseLevels(nn.Module):
    """ᾱ of a schedule at timesteps `[B]`, interpolated linearly in λ, as the samplers space them.

    >>> levels = NoiseLevels(Schedule())
    >>> levels(torch.tensor([0.0, 999.0])).flatten().tolist() == Schedule().alphas_cumprod[[0, 999]].round(9).tolist()
    False
    """

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.register_buffer("half_log_snr", torch.from_numpy(schedule.half_log_snr).float(), persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        """ᾱ in fp32, as `[B, 1, 1, 1, 1]` for latents."""
        table: Tensor = self.half_log_snr  # type: ignore[assignment]
        low = t.floor().long().clamp(0, len(table) - 2)
        weight = t.float() - low
        half = table[low] + (table[low + 1] - table[low]) * weight
        return torch.sigmoid(2 * half.float())[:, None, None, None, None]
