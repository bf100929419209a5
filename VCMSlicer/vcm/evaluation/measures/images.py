"""How like two images are, by MONAI's metrics: SSIM, MS-SSIM, MAE, MSE, PSNR, over the whole volume."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from monai.metrics import MAEMetric, MSEMetric, MultiScaleSSIMMetric, PSNRMetric, SSIMMetric
from numpy.typing import NDArray
from torch import Tensor

SSIM_WINDOW = 11
"""Voxels of the Gaussian window (σ 1.5), as in the paper that defined SSIM."""

MS_SSIM_WINDOW = 4
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Five scales with the weights of the paper that defined MS-SSIM. Its window of 11 voxels would need 176 voxels along
every axis; one of 4, which MONAI's examples for volumes use, fits 80×112×80 and 160×224×160 alike."""


def image_measures(image: NDArray[Any], reference: NDArray[Any]) -> dict[str, tuple[float | None, str]]:
    """Value and remark of each measure of an image against its reference, both `[i, j, k]` in 0–1."""
    pair = tuple(torch.from_numpy(np.ascontiguousarray(a, dtype=np.float32))[None, None] for a in (image, reference))
    scales = ms_ssim_scales(min(image.shape))
    measures: dict[str, tuple[float | None, str]] = {
        "mae": (_value(MAEMetric(), pair), ""),
        "mse": (_value(MSEMetric(), pair), ""),
        "psnr": _psnr(pair),
    }
    if min(image.shape) < SSIM_WINDOW:
        measures["ssim"] = None, f"not measured: the image is smaller than SSIM's window of {SSIM_WINDOW} voxels"
    else:
        measures["ssim"] = _value(SSIMMetric(spatial_dims=3, win_size=SSIM_WINDOW), pair), ""
    if scales < 2:
        measures["ms_ssim"] = None, "not measured: the image is too small for two scales"
    else:
        weights = np.array(MS_SSIM_WEIGHTS[:scales]) / sum(MS_SSIM_WEIGHTS[:scales])
        metric = MultiScaleSSIMMetric(spatial_dims=3, kernel_size=MS_SSIM_WINDOW, weights=weights.tolist())
        few = "" if scales == len(MS_SSIM_WEIGHTS) else f"{scales} scales: the image is too small for five"
        measures["ms_ssim"] = _value(metric, pair), few
    return measures


def ms_ssim_scales(size: int) -> int:
    """How many scales MONAI takes for an image whose shortest axis has `size` voxels, each scale half the one before.

    >>> ms_ssim_scales(80), ms_ssim_scales(16), ms_ssim_scales(4)
    (5, 3, 1)
    """
    every = range(1, len(MS_SSIM_WEIGHTS) + 1)
    fitting = [n for n in every if min(size // max(1, n - 1) ** 2, size >> (n - 1)) >= MS_SSIM_WINDOW]
    return max(fitting, default=0)


def _psnr(pair: tuple[Tensor, ...]) -> tuple[float | None, str]:
    if torch.equal(*pair):
        return None, "not measurable: the images are the same, voxel by voxel"
    return _value(PSNRMetric(max_val=1.0), pair), ""


def _value(metric: Callable[[Tensor, Tensor], Tensor], pair: tuple[Tensor, ...]) -> float:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return float(metric(*pair))
