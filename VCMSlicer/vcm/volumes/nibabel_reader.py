"""Reads NIfTI and MGH files: nibabel says what the header means, `voxel_filling` reads the voxels at bounded cost.

nibabel alone would take what the header promises as memory, and whatever a compressed file holds beyond that on trust.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vcm.core.errors import Code, VcmError
from vcm.core.reading import open_ordinary
from vcm.volumes.image_refusals import MGH, damaged, not_one_number, three_sizes
from vcm.volumes.label_names import MOST_BYTES, names_in
from vcm.volumes.voxel_filling import (
    BROKEN,
    MOST_DEFLATED,
    PADDING,
    ImageContent,
    Stored,
    check_promise,
    read_voxels,
)

GZIP_MAGIC = b"\x1f\x8b"
HEADER_BYTES = 540
"""The longest header, NIfTI-2's; NIfTI-1 has 348 and MGH 284."""

MGH_TAGS = 1 << 24
"""Bytes that may follow the voxels of an MGH file: FreeSurfer keeps its colour tables and commands there."""


def read_with_nibabel(path: Path, kind: tuple[str, ...]) -> ImageContent:
    """The one 3-D image in a NIfTI or MGH file, scaled where its header says so; anything else is refused.

    Its place is the sform, else the qform, else the voxel sizes alone; the second is the qform where both are given.
    """
    from nibabel.spatialimages import HeaderDataError

    with _opened(path) as (file, packed):
        try:
            raw = file.read(HEADER_BYTES)
        except BROKEN as error:
            raise damaged(path, "its compressed part is broken") from error
        header = _mgh_header(path, raw) if kind is MGH else _nifti_header(path, raw)
        try:
            shape = three_sizes(path, tuple(int(size) for size in header.get_data_shape()))
            offset, scaling = int(header.get_data_offset()), header.get_slope_inter()
        except (ValueError, OverflowError, HeaderDataError) as error:
            raise damaged(path, "its header's offset, size or scaling is not a number") from error
        affine, is_placed, second = _mgh_place(header, raw) if kind is MGH else _nifti_place(header)
        if offset < len(header.binaryblock) and kind is not MGH:
            raise damaged(path, "its header does not say where the voxels begin")
        file_bytes, densest = os.fstat(file.fileno()).st_size, MOST_DEFLATED if packed else 1
        most_after = MGH_TAGS if kind is MGH else PADDING
        stored = Stored(shape, _number_type(path, header), file_bytes, _scaled(*scaling), densest, most_after)
        check_promise(path, stored, offset)
        names: dict[int, str] = {}
        try:
            if kind is not MGH and len(header.binaryblock) < offset and stored.dtype.kind in "iu":
                file.seek(len(header.binaryblock))
                between = file.read(min(offset - len(header.binaryblock), MOST_BYTES))
                names = names_in(between, "big" if header.endianness == ">" else "little")
            file.seek(offset)
        except BROKEN as error:
            raise damaged(path, "its compressed part breaks off or is broken") from error
        return ImageContent(read_voxels(path, file, stored), affine, is_placed, second, names)


def _nifti_header(path: Path, raw: bytes) -> Any:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    for kind, magic in ((Nifti1Header, raw[344:348]), (Nifti2Header, raw[4:8])):
        for order in ("little", "big"):
            size = kind.sizeof_hdr
            if int.from_bytes(raw[:4], order) == size and len(raw) >= size and magic == kind.single_magic + b"\0":
                header = kind(raw[:size], order, check=False)
                if not 1 <= header["dim"][0] <= 7:
                    raise damaged(path, f"it is said to have {header['dim'][0]} dimensions")
                return header
    raise _not_held(path, "a NIfTI")


def _mgh_header(path: Path, raw: bytes) -> Any:
    from nibabel.freesurfer.mghformat import DATA_OFFSET, MGHHeader

    if raw[:4] != b"\0\0\0\1" or len(raw) < DATA_OFFSET:
        raise _not_held(path, "an MGH")
    return MGHHeader(raw[:DATA_OFFSET], check=False)


MILLIMETRES_OF = {1: 1000.0, 3: 0.001}
"""Of a NIfTI's units of length that are not millimetres: metres and micrometres."""


def _nifti_place(header: Any) -> tuple[NDArray[np.float64], bool, NDArray[np.float64] | None]:
    """The affine, whether the file names one, and its qform where the affine is its sform; NaN where it is none."""
    from nibabel.spatialimages import HeaderDataError

    sizes = header["pixdim"]
    sizes[:4] = [-1 if sizes[0] < 0 else 1, *np.abs(sizes[1:4])]
    # As the format's own library does with a quaternion that rounding made too long.
    quaternion = np.array([header[f"quatern_{part}"] for part in "bcd"], np.float64)
    if (length := np.linalg.norm(quaternion)) > 1:
        for part, value in zip("bcd", quaternion / length, strict=True):
            header[f"quatern_{part}"] = value
    try:
        qform = header.get_qform() if header["qform_code"] > 0 else None
    except (ValueError, HeaderDataError):
        qform = np.full((4, 4), np.nan)
    millimetres = np.diag([*[MILLIMETRES_OF.get(int(header["xyzt_units"]) & 7, 1.0)] * 3, 1.0])
    if header["sform_code"] > 0:
        return millimetres @ header.get_sform(), True, None if qform is None else millimetres @ qform
    return (
        (millimetres @ np.diag([*sizes[1:4], 1.0]), False, None) if qform is None else (millimetres @ qform, True, None)
    )


def _mgh_place(header: Any, raw: bytes) -> tuple[NDArray[np.float64], bool, None]:
    is_placed = raw[28:30] != b"\0\0"
    if not is_placed:
        # FreeSurfer takes the axes as left, inferior and anterior; nibabel 5.4 has the last two the other way.
        header["Mdc"] = [[-1, 0, 0], [0, 0, -1], [0, 1, 0]]
    return header.get_affine().astype(np.float64), is_placed, None


def _number_type(path: Path, header: Any) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = header.get_data_dtype()
    except (KeyError, ValueError):
        raise not_one_number(path, "an unknown kind of number") from None
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        kinds = {"c": "complex numbers", "V": "colours"}
        raise not_one_number(path, kinds.get(dtype.kind if dtype.itemsize else "", "an unknown kind of number"))
    return dtype


def _scaled(slope: float | None, intercept: float | None) -> Callable[[NDArray[Any]], NDArray[Any]] | None:
    if slope is None or intercept is None or (slope == 1 and intercept == 0):
        return None

    def scaled(part: NDArray[Any]) -> NDArray[Any]:
        real = np.result_type(part.dtype, np.float32)
        # What grows beyond the number type becomes infinite, which is refused with the file's name later on.
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(part * real.type(slope) + real.type(intercept)).astype(real)

    return scaled


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


def _not_held(path: Path, kind: str) -> VcmError:
    return VcmError(
        Code.FILE_UNREADABLE,
        f"{path} is named like {kind} image but does not hold one.",
        "Export the image again as NIfTI (.nii.gz) or NRRD (.nrrd).",
    )
