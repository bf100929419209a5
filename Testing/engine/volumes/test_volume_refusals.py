"""Files that are no volume: each is refused in a sentence that names it."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import example, given, settings
from hypothesis import strategies as st
from phantoms import grid_in, nifti_bytes, noise, write_bytes
from vcm.core.errors import VcmError
from vcm.volumes.volume_files import read_volume, read_volume_file, write_volume
from volume_cases import ENDINGS, SFORM, counted, nrrd_text, refusal, write_nrrd


def test_a_flat_picture_is_refused(tmp_path):
    flat = counted(shape=(4, 5))
    for name, array in (("flat.nii", flat), ("slice.nii", flat[..., None])):
        error = refusal(write_bytes(tmp_path / name, nifti_bytes(array, sform=SFORM)))
        assert "4 × 5" in error.sentence
    sitk.WriteImage(sitk.GetImageFromArray(flat), str(tmp_path / "flat.nrrd"))
    refusal(tmp_path / "flat.nrrd")


def test_a_series_is_refused_and_one_time_point_is_not(tmp_path):
    series = counted(shape=(4, 5, 6, 2))
    error = refusal(write_bytes(tmp_path / "series.nii.gz", nifti_bytes(series, sform=SFORM)))
    assert "4 × 5 × 6 × 2" in error.sentence
    one = write_bytes(tmp_path / "one.nii.gz", nifti_bytes(counted()[..., None], sform=SFORM))
    assert np.array_equal(read_volume(one).array, counted())


def test_colours_vectors_and_complex_numbers_are_refused(tmp_path):
    wave = write_bytes(tmp_path / "c.nii", nifti_bytes(counted("c8"), sform=SFORM))
    assert "complex" in refusal(wave).sentence
    rgb = nifti_bytes(counted("u1", (12, 5, 6)), sform=SFORM, datatype=128)
    assert "colours" in refusal(write_bytes(tmp_path / "rgb.nii", rgb)).sentence
    vector = write_bytes(tmp_path / "v.nii", nifti_bytes(counted(shape=(4, 5, 6, 1, 3)), sform=SFORM))
    assert "dimensions" in refusal(vector).sentence
    field = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.float32), isVector=True)
    sitk.WriteImage(field, str(tmp_path / "v.nrrd"))
    assert "3 numbers" in refusal(tmp_path / "v.nrrd").sentence


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("share", [1, 0.7, 0.1])
def test_a_truncated_file_is_refused_wherever_it_breaks_off(tmp_path, ending, share):
    path = tmp_path / f"a{ending}"
    write_volume(path, noise(grid_in(shape=(16, 17, 18)), np.int16))
    whole = path.read_bytes()
    path.write_bytes(whole[: int((len(whole) - 1) * share)])
    assert refusal(path).code == "FILE_UNREADABLE"


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_a_changed_byte_in_a_compressed_file_is_noticed(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    write_volume(path, noise(grid_in(shape=(16, 17, 18)), np.int16))
    whole = path.read_bytes()
    for place in range(len(whole) // 2, len(whole) // 2 + 40):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        assert refusal(path).code == "FILE_UNREADABLE"


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.nhdr"])
@pytest.mark.parametrize("content", [b"", b"x", b"this is a text file\n" * 99, b"\x1f\x8b", b"NRRD0005\n"])
def test_what_is_no_image_is_refused(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert refusal(path).code == "FILE_UNREADABLE"


def test_a_compressed_text_is_refused(tmp_path):
    assert "does not hold one" in refusal(write_bytes(tmp_path / "a.nii.gz", b"hello\n" * 500)).sentence


def test_a_missing_file_a_folder_and_another_kind_of_file_are_refused(tmp_path):
    assert refusal(tmp_path / "none.nii.gz").code == "FILE_MISSING"
    (tmp_path / "folder.nii.gz").mkdir()
    assert "is a folder" in refusal(tmp_path / "folder.nii.gz").sentence
    (tmp_path / "a.dcm").write_bytes(b"DICM")
    assert ".nii.gz" in refusal(tmp_path / "a.dcm").remedy


def test_a_detached_header_without_its_data_is_refused(tmp_path):
    (tmp_path / "a.nhdr").write_bytes(nrrd_text(more="data file: gone.raw"))
    assert refusal(tmp_path / "a.nhdr").code == "FILE_UNREADABLE"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_counted(tmp_path, value):
    array = counted("f4")
    array[1, 2, 3:5] = value
    assert "2 voxels" in refusal(write_bytes(tmp_path / "a.nii.gz", nifti_bytes(array, sform=SFORM))).sentence


def test_a_spacing_of_zero_is_refused(tmp_path):
    data = nifti_bytes(counted(), pixdim=(0, 1, 1))
    assert refusal(write_bytes(tmp_path / "a.nii", data)).code == "GEOMETRY"
    flat = SFORM.copy()
    flat[:3, 1] = 0
    assert refusal(write_bytes(tmp_path / "b.nii", nifti_bytes(counted(), sform=flat))).code == "GEOMETRY"
    nan = SFORM.copy()
    nan[0, 3] = np.nan
    assert refusal(write_bytes(tmp_path / "c.nii", nifti_bytes(counted(), sform=nan))).code == "GEOMETRY"
    zero = write_nrrd(tmp_path / "a.nrrd", counted(), directions="(0,0,0) (0,0,1.5) (3,0,0)")
    assert refusal(zero).code == "GEOMETRY"


def test_a_header_that_promises_a_huge_image_costs_no_memory(tmp_path):
    data = bytearray(nifti_bytes(counted(), sform=SFORM))
    data[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()
    assert "more than any head" in refusal(write_bytes(tmp_path / "a.nii", bytes(data))).sentence
    data[42:48] = np.array([800, 800, 800], "<i2").tobytes()
    assert "damaged" in refusal(write_bytes(tmp_path / "a.nii.gz", bytes(data))).sentence


@pytest.mark.parametrize("count", [-3, 0, 8, 99])
def test_an_impossible_number_of_dimensions_is_refused(tmp_path, count):
    data = bytearray(nifti_bytes(counted(), sform=SFORM))
    data[40:42] = np.array([count], "<i2").tobytes()
    assert f"{count} dimensions" in refusal(write_bytes(tmp_path / "a.nii", bytes(data))).sentence


def test_a_scaling_and_a_place_that_are_no_numbers_are_refused(tmp_path):
    data = nifti_bytes(counted(), sform=SFORM, slope=2, intercept=np.nan)
    assert "scaling" in refusal(write_bytes(tmp_path / "a.nii", data)).sentence
    broken = (np.nan, 0, 0, 1, 2, 3)
    assert refusal(write_bytes(tmp_path / "a.nii", nifti_bytes(counted(), qform=broken))).code == "GEOMETRY"
    both = write_bytes(tmp_path / "a.nii", nifti_bytes(counted(), sform=SFORM, qform=broken, pixdim=(2, 1.5, 3)))
    assert read_volume_file(both).forms_disagree


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 351), st.integers(0, 255))
@example(111, 81)
def test_no_changed_byte_of_a_header_leads_past_the_door(tmp_path_factory, place, value):
    data = bytearray(nifti_bytes(counted(), sform=SFORM, pixdim=(2, 1.5, 3)))
    data[place] = value
    path = write_bytes(tmp_path_factory.mktemp("fuzz") / "a.nii", bytes(data))
    try:
        volume = read_volume(path)
    except VcmError as error:
        assert str(path) in error.sentence
    else:
        assert volume.array.shape == volume.grid.shape
