"""What an image file must be, and the sentence for each way in which it is not."""

from __future__ import annotations

import math
from pathlib import Path

from vcm.core.errors import Code, VcmError
from vcm.core.plain_text import plain
from vcm.core.reading import open_ordinary

NIFTI = (".nii", ".nii.gz")
MGH = (".mgz", ".mgh")
NRRD = (".nrrd", ".nhdr")
READABLE = (*NIFTI, *MGH, *NRRD)
DICOM = (".dcm", ".ima")

MOST_VOXELS = 2**29
"""The finest published scan of a whole head, at 0.25 mm, has 640 × 880 × 880; no model's grid is near that."""

MOST_ALONG = 4096
"""Voxels along one axis."""


def image_format(path: Path) -> tuple[str, ...]:
    """`NIFTI`, `MGH` or `NRRD`, by the name of a file that is there, readable and not empty."""
    shown = plain(str(path))
    name = shown.lower()
    if "\0" not in str(path) and path.is_dir():
        raise VcmError(
            Code.FILE_UNREADABLE,
            f"{shown} is a folder; one NIfTI, MGH or NRRD file is expected.",
            "If it holds a DICOM series, load it in Slicer and save it as NIfTI.",
        )
    with open_ordinary(path) as file:
        if not name.endswith(READABLE):
            raise VcmError(
                Code.FILE_UNREADABLE,
                f"{shown} is not a NIfTI, MGH or NRRD image by its name.",
                "Load the DICOM series in Slicer and save it as .nii.gz, or use dcm2niix."
                if name.endswith(DICOM)
                else "Give a .nii, .nii.gz, .mgz, .nrrd or .nhdr file; Slicer can export NIfTI and NRRD.",
            )
        if not file.read(1):
            raise damaged(path, "it is empty")
    return next(kind for kind in (NIFTI, MGH, NRRD) if name.endswith(kind))


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
    if math.prod(sizes) > MOST_VOXELS or max(sizes) > MOST_ALONG:
        raise VcmError(
            Code.FILE_UNREADABLE,
            f"{path} says that it has {text} voxels, more than any head image.",
            "Crop or downsample it first.",
        )
    return sizes[0], sizes[1], sizes[2]


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
