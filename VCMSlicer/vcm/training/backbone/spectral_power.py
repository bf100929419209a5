"""How much of an image's detail another one has: the power of a band of wavelengths against that of the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def power_share(made: Tensor, real: Tensor, spacing_mm: Sequence[float], band_mm: tuple[float, float]) -> float:
    """The power of `made` within a band of wavelengths, as a share of that of `real`; volumes `[i, j, k]`.

    >>> noise = torch.randn(16, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> round(power_share(0.5 * noise, noise, (2, 2, 2), (8, 16)), 3)
    0.25
    """
    power = band_power(real, spacing_mm, band_mm)
    return band_power(made, spacing_mm, band_mm) / power if power > 0 else math.nan


def band_power(volume: Tensor, spacing_mm: Sequence[float], band_mm: tuple[float, float]) -> float:
    """The power of a volume `[i, j, k]` within a band of wavelengths."""
    axes = [torch.fft.fftfreq(n, d=step) for n, step in zip(volume.shape, spacing_mm, strict=True)]
    i, j, k = torch.meshgrid(*axes, indexing="ij")
    wave_number = (i.square() + j.square() + k.square()).sqrt()
    short, long = band_mm
    within = (wave_number >= 1 / long) & (wave_number <= 1 / short)
    return float(torch.fft.fftn(volume.double().cpu()).abs().square()[within].sum())
