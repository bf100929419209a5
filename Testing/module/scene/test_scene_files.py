"""Volumes to and from NIfTI files exactly, in one go and in pieces, and refused in words where that cannot be."""

import gzip
import struct

import numpy as np
import pytest
import slicer
import vtk
from logicSetup import turned
from vcm.core.errors import VcmError
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.volumes.volume_files import read_volume, write_volume
from VCMSlicerLib.scene.niftiFile import TYPES, WorldImage, readNifti, readNiftiInPieces, writeNifti
from VCMSlicerLib.scene.scene import importVolume

AFFINE = turned(0, 21) @ turned(2, 7) @ np.diag([-1.5, 0.75, 2.25, 1])
AFFINE[:3, 3] = (12.5, -7.25, 33.0)
SHEARED = AFFINE @ np.array([[1, 0.2, 0, 0], [0, 1, 0.1, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def values(kind="f4", shape=(5, 7, 11)):
    return np.arange(np.prod(shape)).reshape(shape).astype(kind)


def placesOfValues(node):
    """The place in millimetres of each of the values, which all differ, in their order."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    array = slicer.util.arrayFromVolume(node)
    k, j, i = np.unravel_index(np.argsort(array, axis=None), array.shape)
    return np.stack([i, j, k, np.ones_like(i)]).T @ slicer.util.arrayFromVTKMatrix(matrix).T


@pytest.mark.parametrize("kind", sorted(TYPES))
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_every_type_of_number_comes_back_as_it_went(tmp_path, kind, ending):
    path = writeNifti(tmp_path / f"v{ending}", WorldImage(values(kind), AFFINE))
    read = readNifti(path)
    assert read.array.dtype == np.dtype(kind) and np.array_equal(read.array, values(kind))
    assert np.allclose(read.ijkToRas, AFFINE, atol=1e-5)


@pytest.mark.parametrize("affine", [AFFINE, SHEARED])
def test_the_engine_reads_what_we_write_and_we_what_it_writes(tmp_path, affine):
    theirs = read_volume(writeNifti(tmp_path / "ours.nii", WorldImage(values(), affine)))
    assert np.array_equal(theirs.array, values().T) and np.allclose(theirs.grid.affine, affine, atol=1e-5)
    write_volume(tmp_path / "theirs.nii.gz", Volume(values().T, Grid((11, 7, 5), AFFINE)))
    ours = readNifti(tmp_path / "theirs.nii.gz")
    assert np.array_equal(ours.array, values()) and np.allclose(ours.ijkToRas, AFFINE, atol=1e-4)


def test_slicers_own_reader_finds_the_same_place(tmp_path, scene):
    path = writeNifti(tmp_path / "v.nii.gz", WorldImage(values(), AFFINE))
    theirs = slicer.modules.volumes.logic().AddArchetypeVolume(str(path), "theirs")
    ours = importVolume(path, "ours", {"VCMSlicer.Seed": "3"})
    assert ours.GetName() == "ours" and ours.GetAttribute("VCMSlicer.Seed") == "3"
    # Slicer's reader turns the third axis round where the axes are left-handed; each value stays where it is.
    assert np.allclose(placesOfValues(ours), placesOfValues(theirs), atol=1e-3)
    low, high = ours.GetDisplayNode().GetWindowLevelMin(), ours.GetDisplayNode().GetWindowLevelMax()
    assert (low, high) == (0.0, values().max())


def test_an_imported_volume_can_be_changed_and_outlives_its_file(tmp_path, scene):
    path = writeNifti(tmp_path / "v.nii", WorldImage(values(), AFFINE))
    node = importVolume(path, "v")
    path.unlink()
    slicer.util.arrayFromVolume(node)[0, 0, 0] = 77
    slicer.util.arrayFromVolumeModified(node)
    assert slicer.util.arrayFromVolume(node)[0, 0, 0] == 77 and node.GetImageData().GetScalarRange()[1] == 384


def test_a_nrrd_is_imported_too(tmp_path, scene):
    write_volume(tmp_path / "v.nrrd", Volume(values().T, Grid((11, 7, 5), AFFINE)))
    ours = importVolume(writeNifti(tmp_path / "v.nii", WorldImage(values(), AFFINE)), "v")
    assert np.allclose(placesOfValues(importVolume(tmp_path / "v.nrrd", "v")), placesOfValues(ours), atol=1e-3)


def test_a_file_is_read_in_pieces_with_its_progress(tmp_path):
    array = np.random.default_rng(0).random((40, 150, 100), np.float32)
    path = writeNifti(tmp_path / "v.nii.gz", WorldImage(array, AFFINE))
    pieces, fractions = readNiftiInPieces(path), []
    with pytest.raises(StopIteration) as end:
        while True:
            fractions.append(next(pieces))
    assert len(fractions) >= 2 and fractions == sorted(fractions) and fractions[-1] == 1.0
    assert np.array_equal(end.value.value.array, array)


def test_a_quaternion_alone_gives_the_place(tmp_path):
    path = writeNifti(tmp_path / "v.nii", WorldImage(values(), np.diag([2.0, 3, 4, 1])))
    content = bytearray(path.read_bytes())
    half = np.deg2rad(90) / 2
    struct.pack_into("<2h", content, 252, 1, 0)
    struct.pack_into("<6f", content, 256, 0, 0, np.sin(half), 5, 6, 7)
    struct.pack_into("<f", content, 76, -1)
    path.write_bytes(content)
    assert np.allclose(readNifti(path).ijkToRas, read_volume(path).grid.affine, atol=1e-5)
    assert np.allclose(readNifti(path).ijkToRas[:3, 3], (5, 6, 7))


def test_a_scale_and_the_other_byte_order_are_understood(tmp_path):
    path = writeNifti(tmp_path / "v.nii", WorldImage(values("i2"), AFFINE))
    content = bytearray(path.read_bytes())
    struct.pack_into("<2f", content, 112, 0.5, 3)
    path.write_bytes(content)
    assert np.allclose(readNifti(path).array, values("i2") * 0.5 + 3)
    other = bytearray(352)
    struct.pack_into(">i", other, 0, 348)
    struct.pack_into(">8h", other, 40, 3, 11, 7, 5, 1, 1, 1, 1)
    struct.pack_into(">2h", other, 70, 4, 16)
    struct.pack_into(">3f", other, 108, 352, 0, 0)
    struct.pack_into(">2h", other, 252, 0, 1)
    struct.pack_into(">12f", other, 280, *AFFINE[:3].ravel())
    struct.pack_into(">4s", other, 344, b"n+1\0")
    path.write_bytes(bytes(other) + values(">i2").tobytes())
    assert np.array_equal(readNifti(path).array, values("i2")) and np.allclose(
        readNifti(path).ijkToRas, AFFINE, atol=1e-5
    )


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "cannot be read"),
        (b"not an image at all" * 40, "does not begin as one"),
        (gzip.compress(b"x" * 1000, mtime=0)[:-9], "cut off"),
    ],
    ids=["nothing", "a text", "half an archive"],
)
def test_what_is_no_nifti_is_refused_in_words(tmp_path, content, words):
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(content)
    with pytest.raises(VcmError, match=words):
        readNifti(path)


def test_a_cut_file_and_a_missing_one_are_refused_in_words(tmp_path):
    path = writeNifti(tmp_path / "v.nii", WorldImage(values(), AFFINE))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(VcmError, match=r"v\.nii cannot be read"):
        readNifti(path)
    with pytest.raises(VcmError, match="There is no file"):
        readNifti(tmp_path / "gone.nii")


def test_cropping_keeps_every_voxel_in_its_place():
    array = np.zeros((9, 8, 7), np.uint8)
    array[2:5, 3:4, 1:6] = 2
    found = WorldImage(array, AFFINE).cropped()
    assert found.array.shape == (3, 1, 5) and (found.array == 2).all()
    assert np.allclose(found.ijkToRas @ (0, 0, 0, 1), AFFINE @ (1, 3, 2, 1))
    assert WorldImage(np.zeros((2, 3, 4)), AFFINE).cropped().array.size == 0
