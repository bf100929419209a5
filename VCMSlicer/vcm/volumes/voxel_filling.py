"""The voxels behind a header, in parts, so that no file costs much more memory than it is worth.

A megabyte of zeros unpacks to a gigabyte. What a header promises is therefore held against the file's size before
anything is read, unpacking ends where the voxels end, and an array that is large beside its file must be worth a byte
a voxel (a mask, a label map) or is refused. Whole heads of 512³ labels and of 256³ floats pass however well they are
packed; anything larger passes where the file is in proportion, as every real scan's is.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vcm.core.errors import Code, VcmError
from vcm.volumes.image_refusals import damaged

FREE_LABELS = 2**27
"""Bytes that any file may unpack to at a byte a voxel: 512³ labels."""

FREE_NUMBERS = 2**26
"""Bytes that any file may unpack to in its own number type: 256³ floats."""

PROPORTION = 32
"""How many times its own size a file may unpack to beyond that. Real scans reach 10, segmentations 500."""

MOST_DEFLATED = 1032
"""No byte of a gzip stream stands for more."""

PADDING = 1 << 16
"""Bytes that may follow the voxels."""

PART = 1 << 22
BROKEN = (OSError, EOFError, zlib.error, ValueError)
"""What the unpackers raise; a broken gzip file is an OSError."""


@dataclass(frozen=True, eq=False)
class ImageContent:
    """The voxels `[i, j, k]` of a file and where it says they lie, RAS; `second` is another place that it gives."""

    voxels: NDArray[Any]
    affine: NDArray[np.float64]
    is_placed: bool
    second: NDArray[np.float64] | None = None
    segment_names: dict[int, str] = field(default_factory=dict)


class Source(Protocol):
    """Where the stored bytes come from, unpacked."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""


@dataclass(frozen=True)
class Stored:
    """How the voxels are stored: first index fastest, numbers as `dtype`, packed into `file_bytes`.

    `scale` is applied to each part as it is read; `densest` says how many bytes one stored byte can stand for, and
    `padding` how many may follow the voxels.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    file_bytes: int
    scale: Callable[[NDArray[Any]], NDArray[Any]] | None = None
    densest: int = 1
    padding: int = PADDING

    @property
    def promised(self) -> int:
        """Bytes of all voxels as they are stored."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def kind(self) -> np.dtype[Any]:
        """The number type of the voxels."""
        plain = np.empty(1, self.dtype.newbyteorder("="))
        return plain.dtype if self.scale is None else self.scale(plain).dtype


def check_promise(path: Path, stored: Stored, before: int = 0) -> None:
    """Refuse a header whose voxels, `before` bytes into the file, cannot come of a file of its size."""
    if before + stored.promised > stored.file_bytes * stored.densest:
        expected = f"{before + stored.promised:,}"
        packed = " unpacked" if stored.densest > 1 else ""
        raise damaged(path, f"it should hold {expected} bytes{packed} and has {stored.file_bytes:,}")


def read_voxels(path: Path, source: Source, stored: Stored) -> NDArray[Any]:
    """All voxels as `[i, j, k]`, and the end of the source behind them. A source that ends sooner is refused.

    The number type is the stored one, or that of `scale`; only where the array would be out of proportion to the file
    is it the narrowest that holds the same numbers.
    """
    if not _affordable(stored, np.dtype(np.uint8), FREE_LABELS):
        raise out_of_proportion(path, stored)
    layers = max(1, PART // max(1, stored.promised // stored.shape[2]))
    array = np.empty(stored.shape, _first_kind(stored))
    for start in range(0, stored.shape[2], layers):
        part = _part(path, source, stored, min(layers, stored.shape[2] - start))
        if array.dtype != part.dtype:
            array = _holding(path, array, part, stored)
        array[:, :, start : start + part.shape[2]] = part
    _end(path, source, stored.padding)
    return array


def _first_kind(stored: Stored) -> np.dtype[Any]:
    wanted = stored.kind
    return wanted if _affordable(stored, wanted, FREE_NUMBERS) or wanted.itemsize == 1 else np.dtype(np.uint8)


def _affordable(stored: Stored, dtype: np.dtype[Any], free: int) -> bool:
    return math.prod(stored.shape) * dtype.itemsize <= free + PROPORTION * stored.file_bytes


def _holding(path: Path, array: NDArray[Any], part: NDArray[Any], stored: Stored) -> NDArray[Any]:
    """The array in a type that holds this part's numbers too."""
    if array.dtype == np.uint8 and not _small_and_whole(part):
        single = np.dtype(np.float32)
        if part.dtype != np.float64 or not _affordable(stored, single, FREE_NUMBERS):
            raise out_of_proportion(path, stored)
        return array.astype(single)
    return array


def _small_and_whole(part: NDArray[Any]) -> bool:
    low, high = part.min(), part.max()
    return bool(low >= 0 and high <= 255 and (part.dtype.kind in "iu" or (part == np.rint(part)).all()))


def _part(path: Path, source: Source, stored: Stored, layers: int) -> NDArray[Any]:
    i, j, _ = stored.shape
    size = i * j * layers * stored.dtype.itemsize
    raw = bytearray()
    try:
        while len(raw) < size and (piece := source.read(size - len(raw))):
            raw += piece
    except BROKEN as error:
        raise damaged(path, "its compressed part breaks off or is broken") from error
    if len(raw) < size:
        raise damaged(path, f"its voxels should take {stored.promised:,} bytes and end before that")
    numbers = np.frombuffer(raw, stored.dtype).astype(stored.dtype.newbyteorder("="), copy=False)
    part = numbers.reshape((i, j, layers), order="F")
    return part if stored.scale is None else stored.scale(part)


def _end(path: Path, source: Source, padding: int) -> None:
    """Read to the end, where the checksum of a compressed file stands; what comes besides is refused."""
    left = padding
    try:
        while piece := source.read(1 << 16):
            left -= len(piece)
            if left < 0:
                raise damaged(path, f"more than {padding:,} bytes follow its voxels")
    except BROKEN as error:
        raise damaged(path, "its compressed part breaks off or is broken") from error


def out_of_proportion(path: Path, stored: Stored) -> VcmError:
    """The error for voxels that would take far more memory than their file."""
    size = math.prod(stored.shape) * stored.kind.itemsize
    return VcmError(
        Code.FILE_UNREADABLE,
        f"{path} has {stored.file_bytes / 1e6:.1f} MB and would take {size / 1e6:,.0f} MB unpacked, far more than such "
        "an image can be worth.",
        "Save it with fewer voxels or in a smaller number type: a mask needs one byte a voxel.",
    )
