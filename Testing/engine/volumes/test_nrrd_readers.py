"""Our reader of NRRD files beside SimpleITK's and pynrrd's, on files that are made asymmetric in every way."""

import bz2
import gzip
import itertools

import numpy as np
import pytest
import SimpleITK as sitk
from vcm.core.errors import VcmError
from vcm.volumes.nrrd_header import TYPES
from vcm.volumes.volume_files import read_volume, read_volume_file

nrrd = pytest.importorskip("nrrd")

SHAPE = (3, 4, 5)
DIRECTIONS = "(0.1,-2,0.3) (0,0.2,1.5) (3,0.1,-0.4)"
SQUARE = "(0,-2,0) (0,0,1.5) (3,0,0)"
CORNERS = list(itertools.product((0, 2), (0, 3), (0, 4)))


def numbers(dtype):
    """Numbers that use the whole of a type, each another."""
    dtype = np.dtype(dtype)
    steps = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    if dtype.kind == "f":
        return ((steps - 7) * np.array(-1.25e-3, dtype)).astype(dtype)
    limits = np.iinfo(dtype)
    return (limits.max - steps.astype(dtype) if dtype.kind == "u" else steps.astype(dtype) + limits.min).astype(dtype)


def packed(array, encoding):
    data = array.tobytes(order="F")
    if encoding in ("gz", "gzip"):
        return gzip.compress(data)
    if encoding in ("bz2", "bzip2"):
        return bz2.compress(data)
    if encoding == "hex":
        text = data.hex()
        return "\n".join(text[start : start + 70] for start in range(0, len(text), 70)).encode()
    if encoding in ("ascii", "txt", "text"):
        words = [repr(number.item()) for number in array.ravel(order="F")]
        return "\n".join(" ".join(words[start : start + 7]) for start in range(0, len(words), 7)).encode() + b"\n"
    return data


def header(array, encoding, *, name=None, **fields):
    code = array.dtype.str.lstrip("<>|=")
    lines = {
        "type": name or TYPES[code][-1],
        "dimension": str(array.ndim),
        "space": "left-posterior-superior",
        "sizes": " ".join(map(str, array.shape)),
        "space directions": SQUARE,
        "kinds": "domain domain domain",
        "endian": "big" if array.dtype.byteorder == ">" else "little",
        "encoding": encoding,
        "space origin": "(-40,50,7)",
        **{field.replace("_", " "): text for field, text in fields.items()},
    }
    text = "".join(f"{field}: {said}\n" for field, said in lines.items() if said)
    return f"NRRD0005\n# made by hand\n{text}".encode()


def write(path, array, encoding="raw", body=None, **fields):
    path.write_bytes(header(array, encoding, **fields) + b"\n" + (packed(array, encoding) if body is None else body))
    return path


def seen_by_simpleitk(path):
    image = sitk.ReadImage(str(path))
    return image, sitk.GetArrayFromImage(image).T


def assert_same_place(path, grid):
    image, _ = seen_by_simpleitk(path)
    for corner in CORNERS:
        theirs = np.array(image.TransformIndexToPhysicalPoint(corner)) * (-1, -1, 1)
        assert np.allclose(grid.to_world(corner), theirs, atol=1e-5)


@pytest.mark.parametrize("encoding", ["raw", "gz", "gzip", "bz2", "hex", "ascii", "text", "txt"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("code", TYPES)
def test_every_number_in_every_encoding_is_what_other_readers_see(tmp_path, encoding, order, code):
    array = numbers(np.dtype(code).newbyteorder(order))
    path = write(tmp_path / "a.nrrd", array, encoding)
    ours = read_volume(path).array
    assert ours.dtype == np.dtype(code)
    assert ours.flags.c_contiguous
    assert np.array_equal(ours, array)
    if encoding != "hex":  # which pynrrd does not know
        assert np.array_equal(ours, nrrd.read(str(path))[0])
    if encoding != "bz2":  # which SimpleITK does not know
        _, image = seen_by_simpleitk(path)
        assert np.array_equal(ours, image)


@pytest.mark.parametrize("name", [name for names in TYPES.values() for name in names])
def test_every_name_of_a_type_is_known(tmp_path, name):
    code = next(code for code, names in TYPES.items() if name in names)
    array = numbers(code)
    path = write(tmp_path / "a.nrrd", array, name=name.upper())
    assert np.array_equal(read_volume(path).array, array)
    path = write(tmp_path / "a.nrrd", array, name=name)
    assert np.array_equal(seen_by_simpleitk(path)[1], array)


SPACES = [
    "left-posterior-superior", "LPS", "right-anterior-superior", "RAS", "left-anterior-superior", "LAS",
    "scanner-xyz", "3D-right-handed", "3D-left-handed",
]  # fmt: skip


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("directions", [SQUARE, "(-1.5,0,0) (0,0,-2) (0,3,0)"])
def test_every_space_lies_where_simpleitk_sees_it(tmp_path, space, directions):
    path = write(tmp_path / "a.nrrd", numbers("i2"), space=space, space_directions=directions)
    file = read_volume_file(path)
    assert_same_place(path, file.volume.grid)
    assert file.has_orientation == (space in SPACES[:6])


def test_tilted_axes_are_kept_as_they_stand(tmp_path):
    path = write(tmp_path / "a.nrrd", numbers("i2"), space="RAS", space_directions=DIRECTIONS)
    affine = [[0.1, 0, 3, -40], [-2, 0.2, 0.1, 50], [0.3, 1.5, -0.4, 7], [0, 0, 0, 1]]
    assert np.allclose(read_volume(path).grid.affine, affine)
    _, seen = nrrd.read(str(path))
    assert np.allclose(read_volume(path).grid.affine[:3, :3].T, seen["space directions"])


@pytest.mark.parametrize(
    "fields",
    [
        {"spacings": "2 1.5 3"},
        {"spacings": "2 1.5 3", "axis_mins": "-4 5 6"},
        {"spacings": "2 1.5 3", "axis_mins": "-4 5 6", "centerings": "node node node"},
        {},
    ],
)  # fmt: skip
def test_a_file_without_a_space_lies_where_simpleitk_puts_it(tmp_path, fields):
    nowhere = {"space": "", "space_directions": "", "space_origin": "", "kinds": ""}
    path = write(tmp_path / "a.nrrd", numbers("i2"), **nowhere, **fields)
    file = read_volume_file(path)
    assert not file.has_orientation
    assert_same_place(path, file.volume.grid)


def test_bytes_and_lines_before_the_voxels_are_skipped(tmp_path):
    array = numbers("i2")
    data = array.tobytes(order="F")
    for name, fields, body in (
        ("bytes", {"byte_skip": "11"}, b"x" * 11 + data),
        ("lines", {"line_skip": "2"}, b"one\ntwo\n" + data),
        ("both", {"line_skip": "1", "byte_skip": "3"}, b"one\nxyz" + data),
        ("last", {"byte_skip": "-1"}, b"whatever was here" + data),
        ("packed", {"byte_skip": "5", "encoding": "gzip"}, gzip.compress(b"12345" + data)),
    ):
        path = write(tmp_path / f"{name}.nrrd", array, body=body, **fields)
        assert np.array_equal(read_volume(path).array, array), name
        assert np.array_equal(seen_by_simpleitk(path)[1], array), name


@pytest.mark.parametrize("encoding", ["raw", "gzip", "ascii"])
@pytest.mark.parametrize("key", ["data file", "datafile"])
def test_a_detached_header_takes_its_voxels_from_the_file_beside_it(tmp_path, encoding, key):
    array = numbers("i2")
    (tmp_path / "voxels here.bin").write_bytes(packed(array, encoding))
    path = tmp_path / "a.nhdr"
    path.write_bytes(header(array, encoding).replace(b"encoding", f"{key}: voxels here.bin\nencoding".encode()))
    assert np.array_equal(read_volume(path).array, array)
    assert np.array_equal(seen_by_simpleitk(path)[1], array)
    assert np.array_equal(nrrd.read(str(path))[0], array)


def test_windows_lines_are_read(tmp_path):
    array = numbers("i2")
    path = tmp_path / "a.nrrd"
    path.write_bytes(header(array, "raw").replace(b"\n", b"\r\n") + b"\r\n" + array.tobytes(order="F"))
    assert np.array_equal(read_volume(path).array, array)
    assert np.array_equal(nrrd.read(str(path))[0], array)


@pytest.mark.parametrize("place", [0, 3])
def test_a_layer_may_stand_first_or_last(tmp_path, place):
    array = np.expand_dims(numbers("u1"), place)
    directions, kinds = SQUARE.split(), ["domain"] * 3
    directions.insert(place, "none")
    kinds.insert(place, "list")
    path = write(tmp_path / "a.nrrd", array, space_directions=" ".join(directions), kinds=" ".join(kinds))
    assert np.array_equal(read_volume(path).array, numbers("u1"))
    assert_same_place(path, read_volume(path).grid)


def test_what_slicer_writes_of_a_segmentation_is_read(tmp_path):
    image = sitk.GetImageFromArray((numbers("u1") % 3).T)
    image.SetOrigin((-40, 50, 7))
    image.SetSpacing((2, 1.5, 3))
    for key, text in {
        "Segment0_LabelValue": "1",
        "Segment0_Name": "left: ventricle := é",
        "Segment1_LabelValue": "2",
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|Closed surface|",
    }.items():
        image.SetMetaData(key, text)
    sitk.WriteImage(image, str(tmp_path / "a.seg.nrrd"), True)
    file = read_volume_file(tmp_path / "a.seg.nrrd")
    assert file.segment_names == {1: "left: ventricle := é", 2: "Segment1"}
    assert np.array_equal(file.volume.array, numbers("u1") % 3)
    assert_same_place(file.path, file.volume.grid)


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({"sizes": "3 4 -5"}, None),
        ({"sizes": "3 4 99999999999999999999"}, None),
        ({"dimension": "4"}, None),
        ({"dimension": ""}, None),
        ({"type": "block"}, None),
        ({"type": "complex"}, None),
        ({"endian": ""}, None),
        ({"endian": "middle"}, None),
        ({"encoding": "zstd"}, None),
        ({"space_directions": "(0,-2,0) (0,0,1.5)"}, None),
        ({"space_directions": "(0,-2,0) (0,0,1.5) (3,0)"}, None),
        ({"space_directions": "(0,-2,0) (0,0,1.5) (a,b,c)"}, None),
        ({"space_origin": "(nan,0,0)"}, None),
        ({"byte_skip": "-2"}, None),
        ({"byte_skip": "99999999999"}, None),
        ({"line_skip": "999999"}, None),
        ({"data_file": "LIST\na.raw"}, None),
        ({"data_file": "slice%03d.raw 1 5 1"}, None),
        ({"data_file": "../nowhere.raw"}, None),
        ({"encoding": "ascii"}, b"\0" * 480),
        ({"encoding": "ascii"}, b"1 2 x " * 80),
        ({"encoding": "ascii"}, b"70000 " * 80),
        ({"encoding": "ascii"}, b"1" * 5000),
        ({"encoding": "ascii"}, b"1 2 3"),
        ({"encoding": "hex"}, b"0g" * 120),
        ({"encoding": "hex"}, b"00" * 119),
        ({"encoding": "bzip2"}, b"BZh9" + b"\0" * 120),
        ({"encoding": "gzip"}, gzip.compress(bytes(120), mtime=0)[:-6]),
        ({"encoding": "gzip"}, gzip.compress(bytes(120), mtime=0) + gzip.compress(bytes(1 << 20), mtime=0)),
    ],
)
def test_a_header_that_fits_nothing_is_refused_in_a_sentence(tmp_path, fields, body):
    path = write(tmp_path / "a.nrrd", numbers("i2"), body=body, **fields)
    with pytest.raises(VcmError) as caught:
        read_volume(path)
    assert str(path) in caught.value.sentence
    assert caught.value.remedy
