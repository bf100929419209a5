"""Names of labels within NIfTI files: other programs read the voxels as before, and damage costs the names alone."""

import gzip
import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.volumes.label_names import OPENING, comment_of, names_in
from vcm.volumes.volume_files import read_volume_file, write_volume

GRID = Grid((5, 4, 3), [[0, -1.5, 0, 7], [2, 0, 0, -9], [0, 0, -3, 4], [0, 0, 0, 1]])
NAMES = {4: "lateral ventricles", 41: 'weiße "Substanz"'}


def label_map():
    array = np.zeros((5, 4, 3), np.uint8)
    array[1, 2, 0], array[4, 0, 2] = 4, 41
    return Volume(array, GRID)


@pytest.fixture(params=["named.nii.gz", "named.nii"])
def named(tmp_path, request):
    path = tmp_path / request.param
    write_volume(path, label_map(), description="made by a test", names=NAMES)
    return path


def test_names_come_back_with_the_voxels_and_their_place(named):
    found = read_volume_file(named)
    assert found.segment_names == NAMES
    assert np.array_equal(found.volume.array, label_map().array) and found.volume.array.dtype == np.uint8
    assert found.volume.grid.same_as(GRID) and found.has_orientation and not found.forms_disagree


def test_other_readers_see_the_same_image(named, tmp_path):
    plain = tmp_path / "plain.nii.gz"
    write_volume(plain, label_map(), description="made by a test")
    ours, theirs = (sitk.ReadImage(str(path)) for path in (named, plain))
    assert np.array_equal(sitk.GetArrayFromImage(ours), sitk.GetArrayFromImage(theirs))
    assert ours.GetPixelID() == theirs.GetPixelID()
    for place in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(ours, place)(), getattr(theirs, place)(), atol=1e-5)
    headers = [nibabel.load(path).header for path in (named, plain)]
    assert [int(header["sform_code"]) for header in headers] == [int(headers[1]["sform_code"])] * 2
    assert [int(header["qform_code"]) for header in headers] == [int(headers[1]["qform_code"])] * 2
    assert bytes(headers[0]["descrip"]) == bytes(headers[1]["descrip"])
    assert headers[0].get_xyzt_units()[0] == headers[1].get_xyzt_units()[0] == "mm"
    (comment,) = headers[0].extensions
    assert comment.get_code() == 6


def test_the_same_map_is_the_same_file_byte_for_byte(named, tmp_path):
    again = tmp_path / f"again-{named.name}"
    write_volume(again, label_map(), description="made by a test", names=NAMES)
    assert again.read_bytes() == named.read_bytes()


def test_other_comments_are_no_names(tmp_path):
    image = nibabel.Nifti1Image(label_map().array, GRID.affine)
    for code, text in (
        (6, b"taken on a Tuesday"),
        (4, OPENING.encode() + b'{"1": "an AFNI header"}'),
        (6, comment_of(NAMES)),
    ):
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(code, text))
    nibabel.save(image, tmp_path / "other.nii.gz")
    assert read_volume_file(tmp_path / "other.nii.gz").segment_names == NAMES


def test_big_endian_files_and_nifti_2_have_names_too(tmp_path):
    for number, kind in enumerate((nibabel.Nifti1Image, nibabel.Nifti2Image)):
        for order in "<>":
            header = kind.header_class(endianness=order)
            header.set_data_dtype(np.uint8)
            image = kind(label_map().array, GRID.affine, header)
            image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, comment_of(NAMES)))
            path = tmp_path / f"{number}{'le' if order == '<' else 'be'}.nii"
            nibabel.save(image, path)
            assert read_volume_file(path).segment_names == NAMES, path.name


@pytest.mark.parametrize(
    "between",
    [
        b"",
        b"\1",
        b"\1\0\0\0",
        b"\1\0\0\0" + struct.pack("<ii", 0, 6),  # would never end
        b"\1\0\0\0" + struct.pack("<ii", -16, 6) + bytes(40),
        b"\1\0\0\0" + struct.pack("<ii", 2**31 - 1, 6) + b"label names: {",
        b"\1\0\0\0" + struct.pack("<ii", 32, 6) + b"label names: [1, 2, 3]\0\0",
        b"\1\0\0\0" + struct.pack("<ii", 32, 6) + b'label names: {"x": "y"}\0',
        b"\1\0\0\0" + struct.pack("<ii", 32, 6) + b"label names: \xff\xfe\xfd" + bytes(8),
        b"\0\0\0\0" + struct.pack("<ii", 48, 6) + comment_of({4: "no extensions, it says"}),
        b"\1\0\0\0" + struct.pack("<ii", 65000, 6) + b"label names: " + b"[" * 60000,
    ],
)
def test_damage_costs_the_names_alone(between):
    assert names_in(between, "little") == {}


def test_a_damaged_comment_leaves_the_image_readable(named):
    packed = named.suffix == ".gz"
    raw = bytearray(gzip.decompress(named.read_bytes()) if packed else named.read_bytes())
    struct.pack_into("<i", raw, 352, 3)
    named.write_bytes(gzip.compress(bytes(raw)) if packed else bytes(raw))
    found = read_volume_file(named)
    assert found.segment_names == {} and np.array_equal(found.volume.array, label_map().array)


def test_an_nrrd_is_written_without_names(tmp_path):
    write_volume(tmp_path / "map.nrrd", label_map(), names=NAMES)
    assert np.array_equal(read_volume_file(tmp_path / "map.nrrd").volume.array, label_map().array)
