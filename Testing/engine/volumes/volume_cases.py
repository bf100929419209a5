"""What the tests of volume files share: arrays, NRRD files written by hand, and how a refusal is read."""

import gzip

import numpy as np
import pytest
from vcm.core.errors import VcmError
from vcm.volumes.volume_files import read_volume

SHAPE = (4, 5, 6)
SFORM = np.array([[0, 0, -3, 40], [2, 0, 0, -50], [0, 1.5, 0, 7], [0, 0, 0, 1.0]])
ENDINGS = [".nii", ".nii.gz", ".nrrd"]


def counted(dtype="i2", shape=SHAPE):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def nrrd_text(
    *,
    sizes="4 5 6",
    space="left-posterior-superior",
    directions="(0,-2,0) (0,0,1.5) (3,0,0)",
    origin="(-40,50,7)",
    kinds="domain domain domain",
    encoding="raw",
    more="",
):
    lines = [
        "NRRD0005",
        "type: int16",
        f"dimension: {len(sizes.split())}",
        f"space: {space}" if space else "",
        f"sizes: {sizes}",
        f"space directions: {directions}" if directions else "",
        f"kinds: {kinds}",
        "endian: little",
        f"encoding: {encoding}",
        f"space origin: {origin}" if origin else "",
        more,
    ]
    return ("\n".join(line for line in lines if line) + "\n\n").encode()


def write_nrrd(path, array, **header):
    data = array.tobytes(order="F")
    path.write_bytes(nrrd_text(**header) + (gzip.compress(data) if header.get("encoding") == "gzip" else data))
    return path


def refusal(path):
    with pytest.raises(VcmError) as caught:
        read_volume(path)
    error = caught.value
    assert str(path) in error.sentence
    assert error.remedy
    assert "itk" not in str(error).lower()
    return error
