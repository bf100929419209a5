"""Reads NIfTI files: what the header says, and the voxels behind it.

SimpleITK does this too, but takes the spacing from one field and the direction from another, refuses sheared affines,
gives zeros for the missing end of a truncated file, and reads `a.nii` when asked for an `a.nii.gz` beside it.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vcm.core.errors import Code, VcmError
from vcm.core.reading import open_ordinary
from vcm.volumes.image_refusals import damaged, not_one_number
from vcm.volumes.voxel_filling import BROKEN, MOST_DEFLATED, PART, Stored, check_promise, read_voxels

GZIP_MAGIC = b"\x1f\x8b"
NIFTI1_SIZE, NIFTI2_SIZE = 348, 540
NUMBERS = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
NOT_REAL = {32: "complex numbers", 1792: "complex numbers", 2048: "complex numbers", 128: "colours", 2304: "colours"}


@dataclass(frozen=True)
class NiftiHeader:
    """The geometry and the layout of a NIfTI file.

    `shape` has the file's own number of dimensions. `sform` and `qform` are RAS affines, each None where the file says
    nothing; `pixdim` are the voxel sizes in millimetres. A stored
    number times `slope` plus `intercept` is the voxel's value, unless `slope` is 0.
    """

    shape: tuple[int, ...]
    datatype: int
    byte_order: str
    offset: int
    slope: float
    intercept: float
    pixdim: tuple[float, ...]
    sform: NDArray[np.float64] | None
    qform: NDArray[np.float64] | None

    @property
    def affine(self) -> NDArray[np.float64]:
        """Voxel index to RAS millimetres: the sform, else the qform, else the voxel sizes alone."""
        if self.sform is not None:
            return self.sform
        if self.qform is not None:
            return self.qform
        return np.diag([*self.pixdim[:3], 1.0])

    @property
    def has_orientation(self) -> bool:
        return self.sform is not None or self.qform is not None


def read_nifti_header(path: Path) -> NiftiHeader:
    """The header of a `.nii` or `.nii.gz` file; a file that is neither is refused in a sentence."""
    try:
        with _opened(path) as (file, _):
            raw = file.read(NIFTI2_SIZE)
    except BROKEN as error:
        raise damaged(path, "its compressed part is broken") from error
    for order in "<>":
        size = struct.unpack(f"{order}i", raw[:4])[0] if len(raw) >= 4 else 0
        if size == NIFTI1_SIZE and len(raw) >= NIFTI1_SIZE and raw[344:348] == b"n+1\0":
            return _nifti1(raw, order)
        if size == NIFTI2_SIZE and len(raw) >= NIFTI2_SIZE and raw[4:8] == b"n+2\0":
            return _nifti2(raw, order)
    raise VcmError(
        Code.FILE_UNREADABLE,
        f"{path} is named like a NIfTI image but does not hold one.",
        "Export the image again as NIfTI (.nii.gz) or NRRD (.nrrd).",
    )


def read_nifti_voxels(path: Path, header: NiftiHeader, shape: tuple[int, int, int]) -> NDArray[Any]:
    """All voxels as `[i, j, k]` of that `shape`, scaled where the header says so.

    A file that ends before its voxels do, or whose compressed part is damaged, is refused; see `voxel_filling`.
    """
    dtype = NUMBERS.get(header.datatype)
    if dtype is None:
        raise not_one_number(path, NOT_REAL.get(header.datatype, "an unknown kind of number"))
    if header.offset < NIFTI1_SIZE:
        raise damaged(path, "its header does not say where the voxels begin")
    with _opened(path) as (file, packed):
        stored = Stored(
            shape,
            np.dtype(header.byte_order + dtype),
            os.fstat(file.fileno()).st_size,
            _scaling(header),
            MOST_DEFLATED if packed else 1,
        )
        check_promise(path, stored, header.offset)
        _skip(path, file, header.offset)
        return read_voxels(path, file, stored)


def _scaling(header: NiftiHeader) -> Callable[[NDArray[Any]], NDArray[Any]] | None:
    if (header.slope in (0.0, 1.0) and header.intercept == 0) or header.slope == 0 or not math.isfinite(header.slope):
        return None

    def scaled(part: NDArray[Any]) -> NDArray[Any]:
        real = np.result_type(part.dtype, np.float32)
        # What grows beyond the number type becomes infinite, which is refused with the file's name later on.
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(part * real.type(header.slope) + real.type(header.intercept)).astype(real)

    return scaled


def _skip(path: Path, file: BinaryIO, offset: int) -> None:
    """Go to the voxels, through what may be compressed."""
    try:
        while offset and (piece := file.read(min(offset, PART))):
            offset -= len(piece)
    except BROKEN as error:
        raise damaged(path, "its compressed part breaks off or is broken") from error


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, bool]]:
    """The file's content, unpacked where it is packed, and whether it is."""
    with open_ordinary(path) as file:
        packed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if not packed:
            yield file, False
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield unpacked, True  # type: ignore[misc]


def _nifti1(raw: bytes, order: str) -> NiftiHeader:
    def numbers(start: int, layout: str) -> tuple[Any, ...]:
        return struct.unpack_from(order + layout, raw, start)

    return _header(
        order,
        dims=numbers(40, "8h"),
        datatype=numbers(70, "h")[0],
        pixdim=numbers(76, "8f"),
        layout=numbers(108, "3f"),
        codes=numbers(252, "2h"),
        quaternion=numbers(256, "6f"),
        rows=numbers(280, "12f"),
    )


def _nifti2(raw: bytes, order: str) -> NiftiHeader:
    def numbers(start: int, layout: str) -> tuple[Any, ...]:
        return struct.unpack_from(order + layout, raw, start)

    return _header(
        order,
        dims=numbers(16, "8q"),
        datatype=numbers(12, "h")[0],
        pixdim=numbers(104, "8d"),
        layout=numbers(168, "q2d"),
        codes=numbers(344, "2i"),
        quaternion=numbers(352, "6d"),
        rows=numbers(400, "12d"),
    )


def _header(
    order: str,
    *,
    dims: tuple[int, ...],
    datatype: int,
    pixdim: tuple[float, ...],
    layout: tuple[float, float, float],
    codes: tuple[int, int],
    quaternion: tuple[float, ...],
    rows: tuple[float, ...],
) -> NiftiHeader:
    count = dims[0] if 1 <= dims[0] <= 7 else 0
    sizes = tuple(abs(size) for size in pixdim[1:4])
    qform_code, sform_code = codes
    return NiftiHeader(
        shape=tuple(dims[1 : 1 + count]),
        datatype=datatype,
        byte_order=order,
        offset=int(layout[0]) if math.isfinite(layout[0]) else 0,
        slope=layout[1],
        intercept=layout[2],
        pixdim=sizes,
        sform=np.vstack([np.reshape(rows, (3, 4)), (0, 0, 0, 1)]).astype(float) if sform_code > 0 else None,
        qform=_from_quaternion(quaternion, sizes, -1.0 if pixdim[0] < 0 else 1.0) if qform_code > 0 else None,
    )


def _from_quaternion(values: tuple[float, ...], sizes: tuple[float, ...], handedness: float) -> NDArray[np.float64]:
    b, c, d = values[:3]
    norm = math.sqrt(b * b + c * c + d * d)
    if norm > 1:
        b, c, d = b / norm, c / norm, d / norm
    a = math.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    affine = np.eye(4)
    affine[:3, :3] = rotation * (sizes[0], sizes[1], sizes[2] * handedness)
    affine[:3, 3] = values[3:]
    return affine
