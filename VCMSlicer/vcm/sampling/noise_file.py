"""Initial noise from a file, in place of a seed's own."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vcm.core.errors import Code, VcmError
from vcm.core.reading import missing_as, read_bytes

LARGEST_NUMBER, MOST_HEADER = 16, 1 << 16
"""Bytes of a number, and of what a NumPy file says about its array."""


def read_noise(path: Path, samples: int, latent_shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Noise `[samples, *latent_shape]` from a NumPy file (.npy), without unpickling anything."""
    most = LARGEST_NUMBER * samples * math.prod(latent_shape) + MOST_HEADER
    with missing_as(f"There is no file {path}.", "Check the path given with --noise."):
        data = read_bytes(path, most)
    if data.startswith(b"PK"):
        raise VcmError(
            Code.FILE_UNREADABLE,
            f"{path} must hold one NumPy array (.npy), not an archive of several.",
            "Save it with numpy.save as float32, without objects.",
        )
    try:
        noise = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except MemoryError:  # a header that promises more than the file can hold; the computer's memory is not at fault
        raise _no_array(path) from None
    except Exception as error:  # NumPy hands on whatever its parsers of headers raise
        raise _no_array(path) from error
    return fitted_noise(noise, samples, latent_shape, str(path))


def _no_array(path: Path) -> VcmError:
    return VcmError(
        Code.FILE_UNREADABLE,
        f"{path} cannot be read as a NumPy array of noise.",
        "Save it with numpy.save as float32, without objects.",
    )


def fitted_noise(
    noise: NDArray[Any], samples: int, latent_shape: tuple[int, ...], called: str = "The noise"
) -> NDArray[np.float32]:
    """The noise as float32 `[samples, *latent_shape]`; of one sample it may be `latent_shape` alone.

    >>> fitted_noise(np.zeros((3, 4, 6, 8)), 1, (3, 4, 6, 8)).shape
    (1, 3, 4, 6, 8)
    """
    wanted = (samples, *latent_shape)
    found = noise[None] if samples == 1 and noise.shape == latent_shape else noise
    if noise.dtype.kind not in "fiu" or found.shape != wanted:
        raise VcmError(
            Code.BAD_REQUEST,
            f"{called} must hold numbers of shape {_times(wanted)} for {samples} sample(s) of this model; it holds "
            f"{noise.dtype} of shape {_times(noise.shape)}.",
            "The first size is the number of samples.",
        )
    with np.errstate(over="ignore", invalid="ignore"):
        fitted = np.array(found, dtype=np.float32)
    if not (finite := np.isfinite(fitted)).all():
        bad = fitted.size - int(finite.sum())
        raise VcmError(
            Code.BAD_REQUEST,
            f"{called} must hold finite numbers; {bad:,} of its {fitted.size:,} are not.",
            "Draw it from a normal distribution, for example with numpy.random.default_rng(1).standard_normal.",
        )
    return fitted


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "nothing"
