"""FreeSurfer's MGH files: where their voxels lie, what nibabel and our own hand write, and what is refused."""

import gzip
import struct

import nibabel
import numpy as np
import pytest
from phantoms import ALL_ORIENTATIONS, grid_in, mgh_bytes, nifti_bytes, tilted, write_bytes
from vcm.volumes.volume_files import read_volume, read_volume_file
from volume_cases import SHAPE, counted, refusal

# The first axis runs towards the feet, the second to the left, the third to the front; their spacings differ.
DIRECTIONS = ((0, 0, -1), (-1, 0, 0), (0, 1, 0))
DELTA, CENTRE = (2, 1.5, 3), (7, -11, 20)


@pytest.mark.parametrize("name", ["a.mgz", "a.mgh", "A.MGZ"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "u2"])
def test_a_file_written_by_hand_is_read_at_its_place(tmp_path, name, dtype):
    array = counted(dtype)
    data = mgh_bytes(array, delta=DELTA, directions=DIRECTIONS, centre=CENTRE)
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.lower().endswith("z") else data)
    file = read_volume_file(path)
    assert file.volume.array.dtype == np.dtype(dtype)
    assert np.array_equal(file.volume.array, array)
    # Half the number of voxels along each axis is the centre: index (2, 2.5, 3).
    assert np.allclose(file.volume.grid.to_world((2, 2.5, 3)), CENTRE)
    assert np.allclose(file.volume.grid.to_world((3, 2.5, 3)), (7, -11, 18))
    assert np.allclose(file.volume.grid.to_world((2, 3.5, 3)), (5.5, -11, 20))
    assert np.allclose(file.volume.grid.to_world((2, 2.5, 4)), (7, -8, 20))
    assert file.has_orientation and not file.forms_disagree
    assert file.segment_names == {}


@pytest.mark.parametrize("orientation", ALL_ORIENTATIONS[::3])
@pytest.mark.parametrize("ending", [".mgz", ".mgh"])
def test_what_nibabel_writes_lies_where_it_was(tmp_path, orientation, ending):
    grid = tilted(grid_in(orientation, SHAPE, (0.8, 1.25, 1 / 3), (-31, 55, 12)), 25)
    nibabel.MGHImage(counted(), grid.affine).to_filename(tmp_path / f"a{ending}")
    volume = read_volume(tmp_path / f"a{ending}")
    assert np.array_equal(volume.array, counted())
    assert np.allclose(volume.grid.affine, grid.affine, atol=1e-4)


def test_a_sheared_file_is_kept_as_it_is(tmp_path):
    directions = np.array(DIRECTIONS, float)
    directions[0] = 0.6, 0, -0.8
    path = write_bytes(tmp_path / "a.mgz", mgh_bytes(counted(), delta=DELTA, directions=directions))
    assert np.allclose(read_volume(path).grid.affine[:3, :3], (directions.T * DELTA), atol=1e-6)


def test_a_file_without_a_place_lies_as_freesurfer_has_it_and_is_flagged(tmp_path):
    path = write_bytes(tmp_path / "a.mgz", mgh_bytes(counted(), delta=(9, 9, 9), directions=DIRECTIONS, good=0))
    file = read_volume_file(path)
    assert not file.has_orientation
    # As FreeSurfer's own surfa reads it; nibabel does not.
    assert np.allclose(file.volume.grid.affine, [[-1, 0, 0, 2], [0, 0, 1, -3], [0, -1, 0, 2.5], [0, 0, 0, 1]])


def test_what_freesurfer_keeps_behind_the_voxels_is_passed_over(tmp_path):
    tags = struct.pack(">5f", 2300, 0.1, 2.9, 900, 0) + b"\0\0\0\x03mri_convert " * 20_000
    path = write_bytes(tmp_path / "a.mgz", mgh_bytes(counted(), tags=tags))
    assert np.array_equal(read_volume(path).array, counted())


@pytest.mark.parametrize("share", [0.999, 0.7, 0.1])
@pytest.mark.parametrize("name", ["a.mgz", "a.mgh"])
def test_a_truncated_file_is_refused(tmp_path, name, share):
    array = np.random.default_rng(3).integers(0, 999, (16, 17, 18)).astype("i2")
    path = write_bytes(tmp_path / name, mgh_bytes(array))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert refusal(path).code == "FILE_UNREADABLE"


def test_what_it_cannot_be_is_refused(tmp_path):
    for data, words in (
        (nifti_bytes(counted()), "does not hold one"),
        (b"hello" * 100, "does not hold one"),
        (mgh_bytes(counted(shape=(4, 5, 6, 2)), frames=2), "4 × 5 × 6 × 2"),
        (mgh_bytes(counted(shape=(4, 5, 1))), "flat"),
        (mgh_bytes(counted(), code=7), "unknown kind of number"),
        (mgh_bytes(counted(), frames=0), "0"),
        (mgh_bytes(counted(), frames=-1), "-1"),
        (
            mgh_bytes(counted())[:16].replace(b"\0\0\0\x05", b"\x7f\xff\xff\xff") + mgh_bytes(counted())[16:],
            "2147483647",
        ),
        (mgh_bytes(np.full(SHAPE, np.nan, "f4")), "120 voxels"),
    ):
        assert words in refusal(write_bytes(tmp_path / "a.mgz", data)).sentence
    for options in ({"delta": (1, 0, 1)}, {"directions": np.zeros((3, 3))}, {"centre": (np.nan, 0, 0)}):
        assert refusal(write_bytes(tmp_path / "a.mgz", mgh_bytes(counted(), **options))).code == "GEOMETRY"


def test_more_than_its_tags_behind_the_voxels_is_refused(tmp_path):
    path = write_bytes(tmp_path / "a.mgz", mgh_bytes(counted(), tags=bytes(1 << 25)))
    assert "follow its voxels" in refusal(path).sentence


def test_a_size_that_the_file_cannot_hold_costs_nothing(tmp_path):
    data = bytearray(mgh_bytes(counted()))
    struct.pack_into(">3i", data, 4, 800, 800, 800)
    assert "should hold" in refusal(write_bytes(tmp_path / "a.mgz", bytes(data))).sentence
