"""NIfTI files in and out with numpy alone: exact to the voxel, and readable in slices that hold up no one.

Slicer's own writer cannot keep a sheared affine, its reader cannot be stopped between two pieces, and both want a node
with a storage node; volumes on their way to and from the worker need none of that.
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from slicer.i18n import tr as _
from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.volumes.field_of_view import filled_box

HEADER_BYTES = 348
VOXEL_OFFSET = 352
PIECE_BYTES = 1 << 20
MILLIMETRES = 2
SCANNER = 1
TYPES = {
    "u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768, "i8": 1024, "u8": 1280,
}  # fmt: skip
ENDINGS = (".nii", ".nii.gz")


@dataclass(frozen=True, eq=False)
class WorldImage:
    """Voxels `array[k, j, i]` and the 4×4 matrix from (i, j, k) to RAS millimetres in Slicer's world."""

    array: np.ndarray
    ijkToRas: np.ndarray

    @property
    def volume(self) -> Volume:
        """The same for the engine."""
        return Volume(self.array.T, Grid(self.array.shape[::-1], self.ijkToRas))

    @property
    def voxelMl(self) -> float:
        """Millilitres of one voxel."""
        return self.volume.grid.voxel_ml

    def cropped(self) -> WorldImage:
        """Its smallest box around all voxels that are not 0, in the same place; empty where there is none."""
        box = filled_box(self.array)
        return self.part(*(box or (slice(0, 0),) * 3))

    def padded(self) -> WorldImage:
        """With a border of one empty voxel, in the same place: a stroke in one slice is a volume too."""
        moved = self.ijkToRas.copy()
        moved[:3, 3] -= self.ijkToRas[:3, :3].sum(axis=1)
        return WorldImage(np.pad(self.array, 1), moved)

    def part(self, k: slice, j: slice, i: slice) -> WorldImage:
        """A box of it, in the same place."""
        moved = self.ijkToRas.copy()
        moved[:3, 3] += self.ijkToRas[:3, :3] @ (i.start, j.start, k.start)
        return WorldImage(self.array[k, j, i], moved)


def isNifti(path: str | Path) -> bool:
    """Whether the name says so."""
    return str(path).lower().endswith(ENDINGS)


def writeNifti(path: str | Path, image: WorldImage, description: str = "") -> Path:
    """Write it whole or not at all; the number type is kept and the place is exact to 32-bit floats."""
    path = Path(path)
    array = np.ascontiguousarray(image.array)
    array = array.astype(np.uint8) if array.dtype == bool else array
    array = array.astype(np.float32) if array.dtype == np.float16 else array
    array = array.astype(array.dtype.newbyteorder("<"))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{os.getpid()}-{path.name}")
    content = _header(array, image.ijkToRas, description) + array.tobytes()
    try:
        partial.write_bytes(gzip.compress(content, 1) if path.name.endswith(".gz") else content)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    return path


def readNifti(path: str | Path) -> WorldImage:
    """Read it in one go."""
    pieces = readNiftiInPieces(path)
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            image: WorldImage = end.value
            return image


def readNiftiInPieces(path: str | Path) -> Generator[float, None, WorldImage]:
    """Read it a piece at a time: yields the fraction read, and returns the image at the end."""
    path = Path(path)
    try:
        content = yield from _bytesInPieces(path)
        return _parsed(content)
    except FileNotFoundError as error:
        raise VcmError(Code.FILE_MISSING, _("There is no file {path}.").format(path=path)) from error
    except (OSError, EOFError, zlib.error, struct.error, ValueError) as error:
        words = _("{name} cannot be read as a NIfTI image: {reason}.")
        raise VcmError(Code.FILE_UNREADABLE, words.format(name=path.name, reason=error)) from error


def _bytesInPieces(path: Path) -> Generator[float, None, bytearray]:
    size = max(path.stat().st_size, 1)
    content = bytearray()
    with path.open("rb") as file:
        zipped = file.peek(2)[:2] == b"\x1f\x8b"
        inflate = zlib.decompressobj(zlib.MAX_WBITS | 16) if zipped else None
        while piece := file.read(PIECE_BYTES):
            content += inflate.decompress(piece) if inflate else piece
            yield file.tell() / size
        if inflate and not inflate.eof:
            raise EOFError(_("the file is cut off"))
    return content


def _header(array: np.ndarray, affine: np.ndarray, description: str) -> bytes:
    header = bytearray(VOXEL_OFFSET)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    struct.pack_into("<i", header, 0, HEADER_BYTES)
    struct.pack_into("<8h", header, 40, 3, *array.shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, TYPES[array.dtype.str[1:]], 8 * array.dtype.itemsize)
    struct.pack_into("<8f", header, 76, 1, *spacing, 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, VOXEL_OFFSET, 1, 0)
    struct.pack_into("<B", header, 123, MILLIMETRES)
    struct.pack_into("<80s", header, 148, description.encode("utf-8")[:79])
    struct.pack_into("<2h", header, 252, 0, SCANNER)
    struct.pack_into("<12f", header, 280, *affine[:3].ravel())
    struct.pack_into("<4s", header, 344, b"n+1\0")
    return bytes(header)


def _parsed(content: bytearray) -> WorldImage:
    order = "<" if struct.unpack_from("<i", content)[0] == HEADER_BYTES else ">"
    if struct.unpack_from(order + "i", content)[0] != HEADER_BYTES or content[344:347] != b"n+1":
        raise ValueError(_("it does not begin as one"))
    sizes = struct.unpack_from(order + "8h", content, 40)
    if sizes[0] < 3 or min(sizes[1:4]) < 1 or any(size > 1 for size in sizes[4 : sizes[0] + 1]):
        raise ValueError(_("it has no three dimensions"))
    code = struct.unpack_from(order + "h", content, 70)[0]
    name = next((name for name, number in TYPES.items() if number == code), None)
    if name is None:
        raise ValueError(_("its type of number {code} is not known").format(code=code))
    offset, slope, shift = struct.unpack_from(order + "3f", content, 108)
    shape = sizes[3:0:-1]
    array = np.frombuffer(content, np.dtype(order + name), int(np.prod(shape)), int(offset)).reshape(shape)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if slope not in (0.0, 1.0) or (slope and shift):
        array = (array * np.float32(slope) + np.float32(shift)).astype(np.float32)
    return WorldImage(array, _affine(content, order))


def _affine(content: bytearray, order: str) -> np.ndarray:
    affine = np.eye(4)
    quaternionForm, rowForm = struct.unpack_from(order + "2h", content, 252)
    if rowForm > 0:
        affine[:3] = np.reshape(struct.unpack_from(order + "12f", content, 280), (3, 4))
        return affine
    spacing = struct.unpack_from(order + "8f", content, 76)
    handed = -1.0 if spacing[0] < 0 else 1.0
    affine[:3, :3] = np.diag(spacing[1:4])
    if quaternionForm > 0:
        b, c, d, *shift = struct.unpack_from(order + "6f", content, 256)
        a = np.sqrt(max(0.0, 1.0 - b * b - c * c - d * d))
        turn = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
            ]
        )
        affine[:3, :3] = turn @ np.diag((spacing[1], spacing[2], handed * spacing[3]))
        affine[:3, 3] = shift
    return affine
