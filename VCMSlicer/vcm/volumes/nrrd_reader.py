"""Reads NRRD files, attached and detached, in every encoding of the format: what the header says, then the voxels.

SimpleITK reads them too, but some bodies end its process, and it takes compressed ones without their checksum.
"""

from __future__ import annotations

import bz2
import gzip
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vcm.core.errors import Code, VcmError
from vcm.core.reading import open_ordinary
from vcm.volumes.image_refusals import damaged, three_sizes
from vcm.volumes.nrrd_header import NrrdHeader, read_nrrd_header
from vcm.volumes.voxel_filling import (
    BROKEN,
    FREE_LABELS,
    MOST_DEFLATED,
    PART,
    PROPORTION,
    ImageContent,
    Source,
    Stored,
    check_promise,
    out_of_proportion,
    read_voxels,
)

DENSEST = {"raw": 1, "gzip": MOST_DEFLATED, "bzip2": MOST_DEFLATED, "text": 8, "hex": 1}
"""How many bytes of voxels one byte of each encoding can stand for; a voxel takes at least two letters as text."""

LONGEST_WORD = 400
"""Letters of a number as text."""


def read_nrrd(path: Path) -> ImageContent:
    """The one 3-D image in a `.nrrd` or `.nhdr` file; anything else is refused in a sentence."""
    with ExitStack() as stack:
        file = stack.enter_context(open_ordinary(path))
        header = read_nrrd_header(path, file)
        shape = three_sizes(path, header.shape())
        start = header.end
        if (name := header.fields.get("datafile")) is not None:
            file, start = stack.enter_context(_beside(header, name)), 0
        file_bytes = os.fstat(file.fileno()).st_size
        stored = Stored(shape, header.dtype, file_bytes, densest=DENSEST[header.encoding])
        check_promise(path, stored, start if header.encoding == "raw" else 0)
        if header.encoding == "bzip2" and stored.promised > FREE_LABELS + PROPORTION * file_bytes:
            raise out_of_proportion(path, stored)
        file.seek(start)
        source = _source(header, file, stored)
        voxels = read_voxels(path, source, stored)
        return ImageContent(voxels, header.affine(), header.is_placed, segment_names=header.segment_names())


def _beside(header: NrrdHeader, name: str) -> BinaryIO:
    """The file of the voxels that a detached header names, opened."""
    if name.upper().startswith("LIST") or re.search(r"%0?\d*[du]\b.*\s\d+\s+\d+\s", f"{name} "):
        raise VcmError(
            Code.FILE_UNREADABLE,
            f"{header.path} keeps its voxels in several files.",
            "Load it in Slicer and save it as one file, .nrrd or .nii.gz.",
        )
    if not name:
        raise header.wrong("datafile")
    try:
        return open_ordinary(header.path.parent / name)
    except VcmError as error:
        raise VcmError(
            Code.FILE_UNREADABLE,
            f"{header.path} keeps its voxels in another file, which cannot be used. {error.sentence}",
            "Keep both files together, or save the image as one file, .nrrd or .nii.gz.",
        ) from error


def _source(header: NrrdHeader, file: BinaryIO, stored: Stored) -> Source:
    """The stored bytes of the voxels, unpacked, from where they begin."""
    skip = _number(header, "byteskip", -1)
    for _ in range(_number(header, "lineskip", 0)):
        if not file.readline(PART):
            raise damaged(header.path, "it ends before its voxels begin")
    if header.encoding == "raw":
        if skip == -1:
            file.seek(max(0, stored.file_bytes - stored.promised))
            skip = 0
        elif stored.file_bytes - file.tell() - skip < stored.promised:
            raise damaged(header.path, f"it ends before the {stored.promised:,} bytes of its voxels do")
        file.seek(skip, os.SEEK_CUR)
        return file
    if skip == -1:
        raise header.wrong("byteskip")
    if header.encoding in ("text", "hex"):
        file.seek(skip, os.SEEK_CUR)
        pieces = _from_text(header, file) if header.encoding == "text" else _from_hex(header, file)
        return _Pieces(pieces)
    unpacked: Any = gzip.GzipFile(fileobj=file) if header.encoding == "gzip" else bz2.BZ2File(file)
    try:
        while skip and (piece := unpacked.read(min(skip, PART))):
            skip -= len(piece)
    except BROKEN as error:
        raise damaged(header.path, "its compressed part breaks off or is broken") from error
    return unpacked  # type: ignore[no-any-return]


def _number(header: NrrdHeader, name: str, least: int) -> int:
    text = header.fields.get(name, "0")
    if not re.fullmatch("-?[0-9]{1,12}", text) or int(text) < least:
        raise header.wrong(name)
    return int(text)


def _from_text(header: NrrdHeader, file: BinaryIO) -> Iterator[bytes]:
    for words in _words(header, file):
        try:
            if header.dtype.kind == "f":
                yield np.array(words, dtype=np.float64).astype(header.dtype).tobytes()
                continue
            numbers = [int(word) for word in words]
        except ValueError:
            raise damaged(header.path, "its voxels are not all numbers") from None
        limits = np.iinfo(header.dtype)
        if min(numbers) < limits.min or max(numbers) > limits.max:
            raise damaged(header.path, f"it holds numbers that are no {header.fields['type']}")
        yield np.array(numbers, dtype=header.dtype).tobytes()


def _words(header: NrrdHeader, file: BinaryIO) -> Iterator[list[bytes]]:
    """The words of a text in parts, none cut in two."""
    rest = b""
    while piece := file.read(1 << 18):
        words = (rest + piece).replace(b",", b" ").split()
        rest = b""
        if words and not piece[-1:].isspace() and piece[-1:] != b",":
            rest = words.pop()
        if len(rest) > LONGEST_WORD or any(len(word) > LONGEST_WORD for word in words):
            raise damaged(header.path, "its voxels are not all numbers")
        if words:
            yield words
    if rest:
        yield [rest]


def _from_hex(header: NrrdHeader, file: BinaryIO) -> Iterator[bytes]:
    rest = b""
    while piece := file.read(1 << 18):
        digits = rest + b"".join(piece.split())
        whole = len(digits) // 2 * 2
        rest = digits[whole:]
        try:
            yield bytes.fromhex(digits[:whole].decode("ascii"))
        except ValueError:
            raise damaged(header.path, "its voxels are not all hexadecimal digits") from None


class _Pieces:
    """Pieces of bytes, read as a file is."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, memoryview(b"")

    def read(self, size: int, /) -> bytes:
        while not self._rest:
            try:
                self._rest = memoryview(next(self._pieces))
            except StopIteration:
                return b""
        piece, self._rest = self._rest[:size], self._rest[size:]
        return bytes(piece)
