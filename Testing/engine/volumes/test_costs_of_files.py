"""What a small file may cost: each is given to the command from outside, and its memory and processor time are taken.

Issue 14's bound: a file of 1 MB never costs more than 1 GB of memory or 10 s.
"""

import bz2
import gzip
import json
import struct
import subprocess
import sys

import numpy as np
import pytest
from phantoms import mgh_bytes, nifti_bytes

MEMORY, SECONDS = 1e9, 10.0
WATCHED = (
    "import json, resource, subprocess, sys\n"
    "done = subprocess.run([sys.executable, '-m', 'vcm', *sys.argv[1:]], capture_output=True, text=True)\n"
    "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
    "seconds = used.ru_utime + used.ru_stime\n"
    "print(json.dumps([done.returncode, done.stdout + done.stderr, used.ru_maxrss * 1024, seconds]))"
)


def cost(*words):
    """Exit code, text, bytes and seconds of a command; the load of other processes does not count."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *map(str, words)], capture_output=True, text=True, timeout=300, check=True
    )
    return json.loads(done.stdout)


def header(side, dtype, **options):
    """The header of a NIfTI file of `side`³ voxels over a head's place."""
    affine = np.diag([-200 / side, 250 / side, 200 / side, 1.0])
    affine[:3, 3] = 100, -130, -80
    data = bytearray(nifti_bytes(np.zeros((2, 2, 2), dtype), sform=affine, **options)[:352])
    data[42:48] = np.array([side] * 3, "<i2").tobytes()
    return bytes(data)


def pack(path, start, pieces):
    with gzip.open(path, "wb", 6) as file:
        file.write(start)
        for piece in pieces:
            file.write(piece)
    return path


def same(side, dtype, value):
    layer = np.full((side, side), value, dtype).tobytes()
    return (layer for _ in range(side))


def box(side, dtype="u1"):
    """A block of ones in the middle, as large as ventricles."""
    for k in range(side):
        layer = np.zeros((side, side), dtype)
        if side * 3 // 8 < k < side // 2:
            layer[side * 3 // 8 : side // 2, side * 3 // 8 : side // 2] = 1
        yield layer.tobytes()


def moved(start, offset):
    return start[:108] + struct.pack("<f", offset) + start[112:]


def nrrd(path, kind, side, encoding, body):
    place = (
        f"space directions: ({-200 / side},0,0) (0,{250 / side},0) (0,0,{200 / side})\nspace origin: (100,-130,-80)\n"
    )
    head = f"NRRD0005\ntype: {kind}\ndimension: 3\nspace: RAS\nsizes: {side} {side} {side}\n{place}"
    path.write_bytes(f"{head}endian: little\nencoding: {encoding}\n\n".encode() + body)
    return path


def mgh_header(side, code):
    """The header of an MGH file of `side`³ voxels over a head's place."""
    data = bytearray(mgh_bytes(np.zeros((2, 2, 2), "u1"), delta=(200 / side,) * 3, code=code)[:284])
    struct.pack_into(">3i", data, 4, side, side, side)
    return bytes(data)


FILES = {
    "MGH of half a billion zeros": lambda f: pack(f / "a.mgz", mgh_header(800, 0), same(800, "u1", 0)),
    "MGH of 300³ constant floats": lambda f: pack(f / "a.mgz", mgh_header(300, 3), same(300, ">f4", 0.5)),
    "MGH with 300 MB behind": lambda f: pack(f / "a.mgz", mgh_header(64, 0), [bytes(1 << 20)] * 300),
    "a billion zeros": lambda f: pack(f / "a.nii.gz", header(1023, "u1"), same(1023, "u1", 0)),
    "half a billion zeros": lambda f: pack(f / "a.nii.gz", header(800, "u1"), same(800, "u1", 0)),
    "512³ constant floats": lambda f: pack(f / "a.nii.gz", header(512, "f4"), same(512, "f4", 0.5)),
    "300³ constant floats": lambda f: pack(f / "a.nii.gz", header(300, "f4"), same(300, "f4", 0.5)),
    "voxels far behind": lambda f: pack(f / "a.nii.gz", moved(header(64, "u1"), 1e13), same(64, "u1", 1)),
    "voxels behind 300 MB": lambda f: pack(f / "a.nii.gz", moved(header(64, "u1"), 3e8), [bytes(1 << 20)] * 286),
    "300 MB behind the voxels": lambda f: pack(f / "a.nii.gz", header(64, "u1"), [bytes(1 << 20)] * 300),
    "packed with bzip2": lambda f: nrrd(f / "a.nrrd", "double", 260, "bzip2", bz2.compress(bytes(8 * 260**3))),
    "NUL as text": lambda f: nrrd(f / "a.nrrd", "short", 80, "ascii", bytes(1_000_000)),
    "letters as text": lambda f: nrrd(f / "a.nrrd", "double", 79, "ascii", b"x " * 79**3),
}
REAL = {
    "a mask of 512³": lambda f: pack(f / "a.nii.gz", header(512, "u1"), box(512)),
    "an MGH mask of 400³ in wide numbers": lambda f: pack(f / "a.mgz", mgh_header(400, 3), box(400, ">f4")),
    "a mask of 400³ in wide numbers": lambda f: pack(f / "a.nii.gz", header(400, "f8"), box(400, "f8")),
    "numbers as text": lambda f: nrrd(f / "a.nrrd", "double", 79, "ascii", b" ".join([b"0 1"] * (79**3 // 2)) + b" 0"),
}


def assert_cheap(words, memory, seconds):
    assert "Traceback" not in words and "should not have" not in words
    assert memory < MEMORY, f"{memory / 1e6:.0f} MB"
    assert seconds < SECONDS, f"{seconds:.1f} s"


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_means_harm_is_refused_at_little_cost(tmp_path, case):
    path = FILES[case](tmp_path)
    assert path.stat().st_size < 1.2e6
    code, words, memory, seconds = cost("doctor", "--condition", f"ventricles={path}")
    assert code == 1, words
    assert str(path) in words
    assert_cheap(words, memory, seconds)


@pytest.mark.parametrize("case", REAL)
def test_a_large_mask_that_is_one_is_taken_at_little_cost(tmp_path, case):
    path = REAL[case](tmp_path)
    assert path.stat().st_size < 1.2e6
    code, words, memory, seconds = cost("doctor", "--condition", f"ventricles={path}")
    assert code == 0, words
    assert_cheap(words, memory, seconds)
