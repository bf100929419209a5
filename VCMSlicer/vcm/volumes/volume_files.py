"""Volumes out of NIfTI, MGH and NRRD files and into NIfTI and NRRD, with RAS affines on our side of the door."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from vcm.core.disk import require_utf8
from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.outputs.atomic_files import atomic_path
from vcm.volumes.image_refusals import NIFTI, NRRD, image_format, three_sizes
from vcm.volumes.label_names import COMMENT, comment_of
from vcm.volumes.nibabel_reader import read_with_nibabel
from vcm.volumes.nrrd_reader import read_nrrd

# SimpleITK counts millimetres towards Left, Posterior, Superior.
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

sitk.ProcessObject.SetGlobalWarningDisplay(False)


@dataclass(frozen=True, eq=False)
class VolumeFile:
    """A Volume and what its file says besides.

    `has_orientation` is False where the file does not say how it lies in the patient (its axes are then taken as they
    come); `forms_disagree` is True where a NIfTI file holds two different affines, of which the sform is used;
    `segment_names` are the names that a Slicer segmentation, or one of our label maps, gives its values.
    """

    volume: Volume
    path: Path
    has_orientation: bool = True
    forms_disagree: bool = False
    segment_names: dict[int, str] = field(default_factory=dict)


def read_volume(path: str | Path) -> Volume:
    """The Volume in a NIfTI, MGH or NRRD file, with its stored number type (see `read_volume_file`)."""
    return read_volume_file(path).volume


def read_volume_file(path: str | Path) -> VolumeFile:
    """Read a 3-D image of one finite real number a voxel; anything else is refused in a sentence.

    A 4-D file with one time point counts as 3-D. Sheared and slightly non-orthogonal affines are kept as they are.
    """
    path = Path(path)
    kind = image_format(path)
    image = read_nrrd(path) if kind is NRRD else read_with_nibabel(path, kind)
    grid = _grid(path, image.voxels, image.affine)
    return VolumeFile(
        volume=Volume(_finite(path, image.voxels), grid),
        path=path,
        has_orientation=image.is_placed,
        forms_disagree=image.second is not None and not _same_place(grid, image.second),
        segment_names=image.segment_names,
    )


def write_volume(
    path: str | Path,
    volume: Volume,
    *,
    description: str = "",
    synthetic: bool = True,
    names: Mapping[int, str] | None = None,
) -> None:
    """Write a Volume whole or not at all, as NIfTI or NRRD by the name's ending; into a NIfTI also the `names` of its
    labels.

    Both say that it is synthetic, unless it is a patient's own, brought onto another Grid (`synthetic` False).
    Integers of 8 to 64 bits and floats of 32 and 64 are kept exactly; NIfTI holds the affine in 32-bit floats.
    """
    path = Path(path)
    if not path.name.lower().endswith((*NIFTI, ".nrrd")):
        raise VcmError(
            Code.BAD_REQUEST, f"{path} has no ending that can be written.", "Name it .nii.gz, .nii or .nrrd."
        )
    require_utf8(path)
    words = description or "research only"
    if synthetic and "synthetic" not in words.lower():
        words = f"synthetic, {words}"
    array = _writable(volume.array)
    image = to_image(array, volume.grid)
    image.SetMetaData("ITK_FileNotes", words[:79])
    if synthetic:
        image.SetMetaData("synthetic", words)
    with atomic_path(path) as temporary:
        # SimpleITK leaves a cut-off NIfTI on a full disk without a word: only what reads back the same is kept.
        written: Volume | None = None
        with contextlib.suppress(RuntimeError, VcmError):
            if names and path.name.lower().endswith(NIFTI):
                _write_with_names(temporary, array, volume.grid, words, names)
            else:
                sitk.WriteImage(image, str(temporary), True)
            written = read_volume(temporary)
        if written is None or not (np.array_equal(written.array, array) and written.grid.same_as(volume.grid, 0.01)):
            _reserve(temporary, array.nbytes)
            raise VcmError(Code.INTERNAL, f"{path} could not be written as an image.", "Try the other format, .nrrd.")


def _grid(path: Path, voxels: NDArray[Any], affine: NDArray[np.float64]) -> Grid:
    try:
        return Grid(three_sizes(path, voxels.shape), affine)
    except VcmError as error:
        raise VcmError(
            Code.GEOMETRY,
            f"{path} does not say where its voxels lie: a voxel size or a direction in it is zero or not a number.",
            "Export it again from the program that made it; the spacing must be above 0 mm on each axis.",
        ) from error


def _same_place(grid: Grid, affine: NDArray[np.float64]) -> bool:
    try:
        return grid.same_as(Grid(grid.shape, affine), tolerance_mm=0.1)
    except VcmError:
        return False


def _finite(path: Path, array: NDArray[np.generic]) -> NDArray[np.generic]:
    # The least and the largest tell of any NaN or infinity, and take no memory.
    if array.dtype.kind == "f" and not (np.isfinite(array.min()) and np.isfinite(array.max())):
        raise VcmError(
            Code.FILE_UNREADABLE,
            f"{path} holds {array.size - int(np.isfinite(array).sum()):,} voxels that are not a number (NaN or "
            f"infinite), out of {array.size:,}.",
            "Replace them, by 0 outside the head for example, and save it again.",
        )
    return array


def to_image(array: NDArray[np.generic], grid: Grid) -> Any:
    """SimpleITK's image of an array on a Grid whose axes are at right angles."""
    affine = LPS @ grid.affine
    directions = affine[:3, :3] / grid.spacing
    if not np.allclose(directions.T @ directions, np.eye(3), atol=1e-4):
        raise VcmError(
            Code.GEOMETRY,
            "A volume with a sheared affine cannot be written: its axes are not at right angles.",
            "Resample it onto a grid with right angles first.",
        )
    image = sitk.GetImageFromArray(array.T)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection(directions.ravel().tolist())
    return image


def _writable(array: NDArray[np.generic]) -> NDArray[np.generic]:
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        raise VcmError(Code.BAD_REQUEST, f"A volume of {array.dtype} cannot be written; real numbers are expected.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise VcmError(
            Code.BAD_REQUEST, "A volume with voxels that are not a number (NaN or infinite) cannot be written."
        )
    return array


def _write_with_names(path: Path, array: NDArray[np.generic], grid: Grid, words: str, names: Mapping[int, str]) -> None:
    """A NIfTI file with names for its labels, which SimpleITK cannot write."""
    from nibabel.nifti1 import Nifti1Extension, Nifti1Image

    image = Nifti1Image(array, grid.affine, dtype=array.dtype)
    for place in (image.set_sform, image.set_qform):
        place(grid.affine, code="scanner")
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = words[:79].encode("ascii", "replace")
    image.header.extensions.append(Nifti1Extension(COMMENT, comment_of(names)))
    image.to_filename(path)


def _reserve(path: Path, size: int) -> None:
    """Write as many bytes as the image has, so that the system names the reason for which it could not be written."""
    with path.open("wb") as file:
        for _ in range(size // (1 << 20) + 1):
            file.write(bytes(1 << 20))
        file.flush()
        os.fsync(file.fileno())
