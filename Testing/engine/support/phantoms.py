"""Grids and heads that look different from every side, for tests in which a lost flip or transpose must show."""

import gzip
import itertools
import struct
from pathlib import Path

import numpy as np
from vcm.core.grid import Grid
from vcm.core.volume import Volume

DIRECTIONS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
ALL_ORIENTATIONS = [
    "".join(letters) for axes in itertools.permutations(("RL", "AP", "SI")) for letters in itertools.product(*axes)
]

# Where the structures of the phantom head lie, RAS millimetres, with their radii: nothing mirrors anything.
STRUCTURES = {1: ((4, -9, 6), 9.0), 2: ((-17, 12, -4), 6.0), 3: ((11, 21, 17), 4.0)}


def grid_in(orientation="LAS", shape=(37, 53, 41), spacing=(2.0, 1.5, 1.75), centre=(1.5, 2.0, 3.0)):
    """A grid whose array axes grow in the given directions and whose field of view is centred at `centre`."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, letter in enumerate(orientation):
        row, sign = DIRECTIONS[letter]
        affine[row, axis] = sign * spacing[axis]
    affine[:3, 3] = np.asarray(centre) - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return Grid(shape, affine)


def rotation(degrees, axis=(1.0, 2.0, -0.5)):
    """A 4×4 turn about the origin."""
    x, y, z = np.asarray(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return turn


def tilted(grid, degrees=17.0):
    """The same grid, turned about its centre: oblique."""
    there, back = np.eye(4), np.eye(4)
    there[:3, 3], back[:3, 3] = grid.centre, -grid.centre
    return Grid(grid.shape, there @ rotation(degrees) @ back @ grid.affine)


def world_of(grid):
    """The RAS millimetres of every voxel: `[i, j, k, 3]`."""
    return grid.to_world(np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1))


def head_labels(grid, dtype=np.int16):
    """A label map with three unlike balls, painted from their millimetres, so that any grid shows the same head."""
    world, labels = world_of(grid), np.zeros(grid.shape, dtype)
    for value, (middle, radius) in STRUCTURES.items():
        labels[np.linalg.norm(world - middle, axis=-1) <= radius] = value
    return Volume(labels, grid)


def ramp(grid, slope=(0.7, -0.3, 1.1), start=5.0, dtype=np.float64):
    """An image that rises linearly over the millimetres: linear interpolation anywhere must give it back."""
    return Volume((world_of(grid) @ np.asarray(slope) + start).astype(dtype), grid)


def noise(grid, dtype, seed=3):
    """Random voxels of any number type, over its whole range for integers."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return Volume(rng.normal(size=grid.shape).astype(dtype), grid)
    info = np.iinfo(dtype)
    return Volume(rng.integers(info.min, info.max, grid.shape, dtype, endpoint=True), grid)


def nifti_bytes(
    array, *, sform=None, qform=None, pixdim=(1, 1, 1), qfac=1, datatype=None, slope=0.0, intercept=0.0, order="<"
):
    """A NIfTI-1 file written by hand from the format's description: the oracle for our readers and writers.

    `sform` is a 4×4 RAS affine, `qform` the quaternion's b, c, d and the three offsets.
    """
    numbers = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "c8": 32}
    kind = f"{array.dtype.kind}{array.dtype.itemsize}"
    header = bytearray(352)
    struct.pack_into(f"{order}i", header, 0, 348)
    struct.pack_into(f"{order}8h", header, 40, array.ndim, *array.shape, *[1] * (7 - array.ndim))
    struct.pack_into(f"{order}2h", header, 70, datatype or numbers[kind], array.dtype.itemsize * 8)
    struct.pack_into(f"{order}8f", header, 76, qfac, *pixdim, *[1] * (7 - len(pixdim)))
    struct.pack_into(f"{order}3f", header, 108, 352, slope, intercept)
    header[123] = 2
    if qform is not None:
        struct.pack_into(f"{order}h", header, 252, 1)
        struct.pack_into(f"{order}6f", header, 256, *qform)
    if sform is not None:
        struct.pack_into(f"{order}h", header, 254, 1)
        struct.pack_into(f"{order}12f", header, 280, *np.asarray(sform, float)[:3].ravel())
    header[344:348] = b"n+1\0"
    return bytes(header) + array.astype(array.dtype.newbyteorder(order)).tobytes(order="F")


def mgh_bytes(array, *, delta=(1, 1, 1), directions=None, centre=(0, 0, 0), good=1, code=None, frames=1, tags=b""):
    """An MGH file written by hand from FreeSurfer's description; `directions` are the axes' unit vectors, RAS."""
    numbers = {"u1": 0, "i4": 1, "f4": 3, "i2": 4, "u2": 10}
    if code is None:
        code = numbers[f"{array.dtype.kind}{array.dtype.itemsize}"]
    header = bytearray(284)
    struct.pack_into(">7ih", header, 0, 1, *array.shape[:3], frames, code, 0, good)
    struct.pack_into(">15f", header, 30, *delta, *np.ravel(np.eye(3) if directions is None else directions), *centre)
    return bytes(header) + array.astype(array.dtype.newbyteorder(">")).tobytes(order="F") + tags


def write_bytes(path: Path, data: bytes):
    """Write a file, gzipped where its name says so."""
    path.write_bytes(gzip.compress(data) if path.name.endswith((".gz", ".mgz")) else data)
    return path
