"""What an image file must be, and the sentence for each way in which it is not."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

import numpy as np

from vcm.errors import Code, VcmError

NIFTI = (".nii", ".nii.gz")
NRRD = (".nrrd", ".nhdr")
MOST_VOXELS = 2**30


def image_format(path: Path) -> tuple[str, ...]:
    """`NIFTI` or `NRRD`, by the name of a file that is there, readable and not empty."""
    if path.is_dir():
        raise VcmError(
            Code.FILE_UNREADABLE,
            f"{path} is a folder; one NIfTI or NRRD file is expected.",
            "If it holds a DICOM series, load it in Slicer and save it as NIfTI.",
        )
    if not path.exists():
        raise VcmError(Code.FILE_MISSING, f"There is no file {path}.", "Check the path.")
    name = path.name.lower()
    if not name.endswith((*NIFTI, *NRRD)):
        raise VcmError(
            Code.FILE_UNREADABLE,
            f"{path} is not a NIfTI or NRRD image by its name.",
            "Give a .nii, .nii.gz, .nrrd or .nhdr file; Slicer can export all of them.",
        )
    if not path.is_file():
        raise VcmError(Code.FILE_UNREADABLE, f"{path} is not an ordinary file.", "Give a file with an image.")
    if not os.access(path, os.R_OK):
        raise VcmError(Code.NO_PERMISSION, f"This account may not read {path}.", "Ask for read permission.")
    if path.stat().st_size == 0:
        raise damaged(path, "it is empty")
    return NIFTI if name.endswith(NIFTI) else NRRD


def three_sizes(path: Path, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The sizes of a 3-D image; further dimensions of size 1 are dropped, anything else is refused."""
    sizes = list(shape)
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    text = " × ".join(str(size) for size in shape)
    if not sizes or min(sizes) < 1:
        raise damaged(path, f"its size is given as {text or 'nothing'}")
    if len(sizes) > 3:
        raise VcmError(
            Code.FILE_UNREADABLE,
            f"{path} has {len(sizes)} dimensions ({text}); one 3-D image is expected.",
            "Save the one image or time point that you mean as its own file.",
        )
    if len(sizes) < 3 or 1 in sizes:
        raise VcmError(
            Code.FILE_UNREADABLE,
            f"{path} holds a flat picture ({text}); a 3-D image is expected.",
            "Give the whole volume rather than one slice.",
        )
    if np.prod(sizes, dtype=float) > MOST_VOXELS:
        raise VcmError(
            Code.FILE_UNREADABLE,
            f"{path} says that it has {text} voxels, more than any head image.",
            "Crop or downsample it first.",
        )
    return sizes[0], sizes[1], sizes[2]


def check_compressed_nrrd(path: Path) -> None:
    """Hold the compressed voxels of an NRRD file against their own checksum, which SimpleITK does not."""
    with path.open("rb") as file:
        fields = {line.strip().lower() for line in takewhile(lambda line: line.strip(), iter(file.readline, b""))}
        if not fields & {b"encoding: gzip", b"encoding: gz"} or any(b"file:" in f or b"skip:" in f for f in fields):
            return
        try:
            with gzip.GzipFile(fileobj=file) as voxels:
                while voxels.read(1 << 20):
                    pass
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise damaged(path, "its compressed part breaks off or is broken") from error


def damaged(path: Path, how: str) -> VcmError:
    """The error for a file that is cut off or broken."""
    return VcmError(
        Code.FILE_UNREADABLE,
        f"{path} is damaged or incomplete: {how}.",
        "Copy or export the file again; an interrupted copy or a full disk is the usual cause.",
    )


def not_one_number(path: Path, found: str) -> VcmError:
    """The error for colours, vectors and complex numbers."""
    return VcmError(
        Code.FILE_UNREADABLE,
        f"{path} holds {found} in each voxel; one real number is expected.",
        "Save it as a plain greyscale image or label map.",
    )


def several_layers(path: Path, count: int, segmentation: bool) -> VcmError:
    """The error for several numbers a voxel, which in a segmentation are overlapping segments."""
    if not segmentation:
        return not_one_number(path, f"{count} numbers")
    return VcmError(
        Code.FILE_UNREADABLE,
        f"{path} is a segmentation with {count} layers, as its segments overlap; one layer is expected.",
        "In Slicer's Segmentations module export the segment that you mean to its own file.",
    )


@contextmanager
def simpleitk_in_words(path: Path) -> Iterator[None]:
    """Turn what SimpleITK says about a file into a sentence about it."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = str(error).lower()
        if "spacing" in text or "direction" in text:
            raise VcmError(
                Code.GEOMETRY,
                f"{path} does not say where its voxels lie: a voxel size or a direction in it is zero or impossible.",
                "Export it again from the program that made it.",
            ) from error
        raise damaged(path, "its header or its voxels cannot be read") from error
