"""Volumes to files and back: where their voxels lie, what is kept, what Slicer writes, what stands in the way."""

import os
import subprocess
import sys

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from phantoms import ALL_ORIENTATIONS, grid_in, nifti_bytes, noise, tilted, write_bytes
from test_atomic_files import names_in, room_for
from vcm.core.errors import VcmError
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.registration.pose import Pose
from vcm.registration.transform_file import write_transform
from vcm.volumes.volume_files import read_volume, read_volume_file, write_volume
from volume_cases import ENDINGS, SFORM, SHAPE, counted, nrrd_text, refusal, write_nrrd

# Where the voxels lie


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_nifti_written_by_hand_is_read_at_its_place(tmp_path, ending, order):
    path = write_bytes(tmp_path / f"a{ending}", nifti_bytes(counted(), sform=SFORM, pixdim=(2, 1.5, 3), order=order))
    file = read_volume_file(path)
    assert np.array_equal(file.volume.array, counted())
    assert file.volume.array.dtype == np.int16
    assert np.array_equal(file.volume.grid.affine, SFORM)
    assert file.has_orientation
    assert not file.forms_disagree


def test_the_qform_is_used_where_there_is_no_sform(tmp_path):
    # A quarter turn about the body's long axis, and a flipped third axis.
    half = np.sqrt(0.5)
    data = nifti_bytes(counted(), qform=(0, 0, half, 10, 20, 30), pixdim=(2, 1.5, 3), qfac=-1)
    affine = read_volume(write_bytes(tmp_path / "q.nii", data)).grid.affine
    expected = [[0, -1.5, 0, 10], [2, 0, 0, 20], [0, 0, -3, 30], [0, 0, 0, 1]]
    assert np.allclose(affine, expected, atol=1e-6)


@pytest.mark.parametrize("quaternion", [(0.2, -0.3, 0.5), (0.60006, 0, 0.80008)], ids=["short", "longer than 1"])
def test_a_qform_is_understood_as_simpleitk_understands_it(tmp_path, quaternion):
    data = nifti_bytes(counted(), qform=(*quaternion, 10, 20, 30), pixdim=(2, 1.5, 3), qfac=-1)
    path = write_bytes(tmp_path / "q.nii", data)
    image = sitk.ReadImage(str(path))
    mine = read_volume(path).grid
    for index in ((0, 0, 0), (3, 1, 2), (1, 4, 5)):
        theirs = np.array(image.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
        assert np.allclose(mine.to_world(index), theirs, atol=1e-4)


@pytest.mark.parametrize("form", ["sform", "qform", "none"])
@pytest.mark.parametrize(("unit", "factor"), [("meter", 1e-3), ("micron", 1e3), ("mm", 1.0), ("unknown", 1.0)])
def test_the_unit_of_a_nifti_counts_as_itk_counts_it(tmp_path, unit, factor, form):
    image = nibabel.Nifti1Image(counted(), None)
    image.header["pixdim"][1:4] = factor * np.array([2, 1.5, 3])
    affine = np.diag([-2 * factor, 1.5 * factor, 3 * factor, 1])
    affine[:3, 3] = factor * np.array([10, -20, 30])
    if form == "sform":
        image.header.set_sform(affine, 1)
    if form == "qform":
        image.header.set_qform(affine, 1)
    image.header.set_xyzt_units(unit)
    path = tmp_path / "unit.nii"
    nibabel.save(image, path)
    header = bytearray(path.read_bytes())
    if form != "sform":
        header[254:256] = b"\0\0"  # nibabel writes an sform wherever it can
    if form == "none":
        header[252:254] = b"\0\0"
    path.write_bytes(header)
    theirs = sitk.ReadImage(str(path))
    assert np.allclose(read_volume(path).grid.spacing, theirs.GetSpacing(), rtol=1e-5)
    assert np.allclose(read_volume(path).grid.spacing, (2, 1.5, 3), rtol=1e-5)


def test_a_place_that_is_not_utf_8_is_refused_and_ends_no_program(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/u\xff/a.nii.gz")
    with pytest.raises(VcmError, match="not written in UTF-8"):
        write_volume(path, Volume(counted(), Grid(SHAPE, SFORM)))


def test_the_sform_counts_where_the_two_forms_disagree_and_that_is_told(tmp_path):
    data = nifti_bytes(counted(), sform=SFORM, qform=(0, 0, 0, 1, 2, 3), pixdim=(2, 1.5, 3))
    file = read_volume_file(write_bytes(tmp_path / "two.nii", data))
    assert np.array_equal(file.volume.grid.affine, SFORM)
    assert file.forms_disagree


def test_the_spacing_of_the_sform_counts_where_pixdim_says_otherwise(tmp_path):
    file = read_volume_file(write_bytes(tmp_path / "a.nii", nifti_bytes(counted(), sform=SFORM, pixdim=(1, 1, 1))))
    assert file.volume.grid.spacing == (2, 1.5, 3)


def test_a_file_without_orientation_is_accepted_and_flagged(tmp_path):
    file = read_volume_file(write_bytes(tmp_path / "a.nii", nifti_bytes(counted(), pixdim=(2, 1.5, 3))))
    assert not file.has_orientation
    assert file.volume.grid.spacing == (2, 1.5, 3)
    nrrd = write_nrrd(tmp_path / "a.nrrd", counted(), space="", directions="", origin="")
    assert not read_volume_file(nrrd).has_orientation


@pytest.mark.parametrize("shear", [1e-4, 0.2, 1.4])
def test_a_sheared_affine_is_kept_as_it_is(tmp_path, shear):
    sform = SFORM.copy()
    sform[1, 1] = shear
    path = write_bytes(tmp_path / "a.nii.gz", nifti_bytes(counted(), sform=sform, pixdim=(2, 1.5, 3)))
    assert np.allclose(read_volume(path).grid.affine, sform, atol=1e-6)


@pytest.mark.parametrize("space", ["left-posterior-superior", "right-anterior-superior", "LAS"])
def test_an_nrrd_written_by_hand_is_read_at_its_place(tmp_path, space):
    signs = {"l": (-1, -1, 1), "r": (1, 1, 1), "L": (-1, 1, 1)}[space[0]]
    affine = np.diag([*signs, 1.0]) @ [[0, 0, 3, -40], [-2, 0, 0, 50], [0, 1.5, 0, 7], [0, 0, 0, 1]]
    for encoding in ("raw", "gzip"):
        file = read_volume_file(write_nrrd(tmp_path / "a.nrrd", counted(), space=space, encoding=encoding))
        assert np.array_equal(file.volume.array, counted())
        assert np.allclose(file.volume.grid.affine, affine)
        assert file.has_orientation


# Round trips


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "i8", "f4", "f8"])
def test_every_number_type_comes_back_exactly(tmp_path, ending, dtype):
    volume = noise(grid_in("PIR", SHAPE, (0.8, 1.25, 2)), dtype)
    write_volume(tmp_path / f"a{ending}", volume)
    back = read_volume(tmp_path / f"a{ending}")
    assert back.array.dtype == np.dtype(dtype)
    assert np.array_equal(back.array, volume.array)
    assert back.array.flags.c_contiguous


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("orientation", ALL_ORIENTATIONS[::5])
def test_every_orientation_comes_back_at_its_place(tmp_path, ending, orientation):
    volume = noise(tilted(grid_in(orientation, SHAPE, (0.8, 1.25, 1 / 3), (-31, 55, 12)), 25), np.int16)
    write_volume(tmp_path / f"a{ending}", volume)
    back = read_volume_file(tmp_path / f"a{ending}")
    assert np.array_equal(back.volume.array, volume.array)
    assert np.allclose(back.volume.grid.affine, volume.grid.affine, atol=1e-5 if "nii" in ending else 1e-12)
    assert not back.forms_disagree


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_written_lies_where_simpleitk_sees_it(tmp_path, ending):
    volume = noise(tilted(grid_in("ASL", SHAPE, (0.8, 1.25, 2), (-31, 55, 12))), np.int16)
    write_volume(tmp_path / f"a{ending}", volume)
    image = sitk.ReadImage(str(tmp_path / f"a{ending}"))
    for index in ((0, 0, 0), (3, 1, 2), (1, 4, 5)):
        ras = np.array(image.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
        assert np.allclose(ras, volume.grid.to_world(index), atol=1e-4)
        assert image[index] == volume.array[index]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_mask_of_truth_values_is_written_as_zeros_and_ones(tmp_path, ending):
    array = counted() % 3 == 0
    write_volume(tmp_path / f"a{ending}", Volume(array, Grid(SHAPE, np.eye(4))))
    back = read_volume(tmp_path / f"a{ending}").array
    assert back.dtype == np.uint8
    assert np.array_equal(back, array)


def test_every_written_file_says_that_it_is_synthetic(tmp_path):
    volume = noise(grid_in(shape=SHAPE), np.float32)
    for description in ("", "seed 7", "synthetic, seed 7", "x" * 200):
        write_volume(tmp_path / "a.nii", volume, description=description)
        assert b"synthetic" in (tmp_path / "a.nii").read_bytes()[148:228]
        write_volume(tmp_path / "a.nrrd", volume, description=description)
        assert b"synthetic:=synthetic" in (tmp_path / "a.nrrd").read_bytes()
    assert b"synthetic, x" in (tmp_path / "a.nii").read_bytes()[148:228]


def test_a_neighbour_of_nearly_the_same_name_is_not_read_instead(tmp_path):
    first, second = noise(grid_in(shape=SHAPE), np.int16, 1), noise(grid_in(shape=SHAPE), np.int16, 2)
    write_volume(tmp_path / "a.nii", first)
    write_volume(tmp_path / "a.nii.gz", second)
    assert np.array_equal(read_volume(tmp_path / "a.nii").array, first.array)
    assert np.array_equal(read_volume(tmp_path / "a.nii.gz").array, second.array)


def test_stored_numbers_are_scaled_as_the_header_says(tmp_path):
    path = write_bytes(tmp_path / "a.nii", nifti_bytes(counted(), sform=SFORM, slope=0.5, intercept=-3))
    volume = read_volume(path)
    assert volume.array.dtype == np.float32
    assert np.array_equal(volume.array, counted() * 0.5 - 3)
    path = write_bytes(tmp_path / "a.nii", nifti_bytes(counted(), sform=SFORM, slope=1, intercept=0))
    assert read_volume(path).array.dtype == np.int16
    path = write_bytes(tmp_path / "a.nii", nifti_bytes(counted(), sform=SFORM, slope=0, intercept=9))
    assert np.array_equal(read_volume(path).array, counted())


# Segmentations from Slicer

SEGMENTS = (
    "Segment0_ID:=Segment_1\nSegment0_LabelValue:=7\nSegment0_Layer:=0\nSegment0_Name:=left ventricle\n"
    "Segment1_ID:=Segment_2\nSegment1_LabelValue:=2\nSegment1_Layer:=0\nSegment1_Name:=skull"
)


def test_the_names_of_segments_are_read(tmp_path):
    path = write_nrrd(tmp_path / "a.seg.nrrd", counted() % 8, more=SEGMENTS)
    assert read_volume_file(path).segment_names == {2: "skull", 7: "left ventricle"}
    assert read_volume_file(write_bytes(tmp_path / "a.nii", nifti_bytes(counted(), sform=SFORM))).segment_names == {}


def test_names_in_another_encoding_can_still_be_printed(tmp_path):
    path = tmp_path / "a.seg.nrrd"
    header = nrrd_text(more=SEGMENTS).replace(b"skull", b"Sch\xe4del").replace(b"Segment1_ID", b"Segm\xffnt1_ID")
    path.write_bytes(header + counted().tobytes(order="F"))
    assert read_volume_file(path).segment_names[2].encode("utf-8").decode().startswith("Sch")
    path.write_bytes(header.replace(b"Segment1_LabelValue", b"Segment\xff_LabelValue") + counted().tobytes(order="F"))
    assert read_volume_file(path).segment_names == {7: "left ventricle"}


def test_overlapping_segments_are_refused_with_the_way_out(tmp_path):
    layers = counted(shape=(2, 4, 5, 6)) % 3
    header = {"sizes": "2 4 5 6", "kinds": "list domain domain domain"}
    path = tmp_path / "a.seg.nrrd"
    write_nrrd(path, layers, directions="none (0,-2,0) (0,0,1.5) (3,0,0)", more=SEGMENTS, **header)
    error = refusal(path)
    assert "overlap" in error.sentence
    assert "Slicer" in error.remedy


def test_a_single_layer_given_as_a_list_is_read(tmp_path):
    header = {"sizes": "1 4 5 6", "kinds": "list domain domain domain"}
    path = tmp_path / "a.seg.nrrd"
    write_nrrd(path, counted(), directions="none (0,-2,0) (0,0,1.5) (3,0,0)", **header)
    assert np.array_equal(read_volume(path).array, counted())


# Writing when something is in the way


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk_leaves_the_old_image_and_no_other_file(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    old = noise(grid_in(shape=SHAPE), np.int16)
    write_volume(path, old)
    with room_for(20_000), pytest.raises(VcmError) as caught:
        write_volume(path, noise(grid_in(shape=(30, 31, 32)), np.float32))
    assert caught.value.code == "DISK_FULL"
    assert str(path) in caught.value.sentence
    assert np.array_equal(read_volume(path).array, old.array)
    assert names_in(tmp_path) == [path.name]


def test_what_cannot_be_written_is_refused_in_a_sentence(tmp_path):
    grid = grid_in(shape=SHAPE)
    good = noise(grid, np.float32)
    bad = good.array.copy()
    bad[0, 0, 0] = np.nan
    sheared = grid.affine.copy()
    sheared[0, 1] = 0.8
    for name, volume in (
        ("a.txt", good),
        ("a.nii.gz", Volume(bad, grid)),
        ("a.nii.gz", Volume(good.array, Grid(SHAPE, sheared))),
        ("a.nii.gz", Volume(good.array.astype("c8"), grid)),
    ):
        with pytest.raises(VcmError):
            write_volume(tmp_path / name, volume)
    assert names_in(tmp_path) == []


def test_reading_bad_files_prints_nothing(tmp_path):
    sheared = SFORM.copy()
    sheared[1, 1] = 0.8
    write_bytes(tmp_path / "a.nii", nifti_bytes(counted(), sform=sheared, pixdim=(7, 7, 7)))
    (tmp_path / "b.nrrd").write_bytes(b"NRRD0005\n")
    program = (
        "import sys; from vcm.volumes.volume_files import read_volume; from vcm.core.errors import VcmError\n"
        "for path in sys.argv[1:]:\n"
        "    try: read_volume(path)\n"
        "    except VcmError: pass\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "a.nii"), str(tmp_path / "b.nrrd")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_transform_is_not_written_to_such_a_place_either(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/u\xff/a.tfm")
    with pytest.raises(VcmError, match="not written in UTF-8"):
        write_transform(path, Pose(np.eye(4)))
