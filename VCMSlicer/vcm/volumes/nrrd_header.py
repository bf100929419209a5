"""The header of an NRRD file: its fields, its keys, and what they say about axes and place.

Written from the format's definition (teem.sourceforge.net/nrrd/format.html); where that leaves something open, as in a
file without a space, the answer is the one that ITK gives.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vcm.core.errors import Code, VcmError
from vcm.volumes.image_refusals import damaged, not_one_number, several_layers

MOST_HEADER = 1 << 22
"""Bytes; a segmentation of some hundred segments has a few hundred thousand."""

MOST_AXES = 16

TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
NUMBERS = {name: code for code, names in TYPES.items() for name in names}

SPACES = {
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}
"""The signs that bring a space's millimetres to Right, Anterior, Superior."""

UNPLACED = (-1, -1, 1)
"""The signs for coordinates that no space names, which ITK takes as Left, Posterior, Superior."""

OF_SPACE = {"domain", "space", "time", "none", "???", ""}
"""Kinds of an axis along which voxels lie; along every other lie the numbers of one voxel."""

ENCODINGS = {
    "raw": "raw",
    "txt": "text",
    "text": "text",
    "ascii": "text",
    "hex": "hex",
    "gz": "gzip",
    "gzip": "gzip",
    "bz2": "bzip2",
    "bzip2": "bzip2",
}


@dataclass(frozen=True)
class NrrdHeader:
    """`fields` by their names in small letters without blanks, `keys` as they stand; `end` is where the header ends."""

    path: Path
    fields: Mapping[str, str]
    keys: Mapping[str, str] = field(default_factory=dict)
    end: int = 0

    @property
    def sizes(self) -> tuple[int, ...]:
        """The length of every axis, the fastest first."""
        sizes = tuple(self._whole("sizes", text) for text in self.words("sizes"))
        if not 1 <= len(sizes) <= MOST_AXES or str(len(sizes)) != self.fields.get("dimension", ""):
            raise self.wrong("dimension")
        return sizes

    @property
    def dtype(self) -> np.dtype[Any]:
        """The stored number type with its byte order."""
        name = " ".join(self.fields.get("type", "").lower().split())
        if name not in NUMBERS:
            raise not_one_number(self.path, "a block" if name == "block" else "an unknown kind of number")
        dtype = np.dtype(NUMBERS[name])
        if dtype.itemsize == 1 or self.encoding == "text":
            return dtype
        order = self.fields.get("endian", "").lower()
        if order not in ("little", "big"):
            raise self.wrong("endian")
        return np.dtype(f"{'<' if order == 'little' else '>'}{NUMBERS[name]}")

    @property
    def encoding(self) -> str:
        """`raw`, `text`, `hex`, `gzip` or `bzip2`."""
        name = ENCODINGS.get(self.fields.get("encoding", "").lower())
        if name is None:
            raise self.wrong("encoding")
        return name

    @property
    def is_placed(self) -> bool:
        """Whether the file says how its axes lie in the patient."""
        return self._space in SPACES and "spacedirections" in self.fields

    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes along which voxels lie; a file of several numbers a voxel is refused."""
        sizes = self.sizes
        layers = math.prod(size for axis, size in enumerate(sizes) if axis not in self._axes())
        if layers != 1:
            raise several_layers(self.path, layers, bool(self.segment_names()))
        return tuple(sizes[axis] for axis in self._axes())

    def affine(self) -> NDArray[np.float64]:
        """Voxel index to RAS millimetres of the first three of those axes."""
        affine = np.eye(4)
        if "spacedirections" in self.fields or "spaceorigin" in self.fields:
            affine[:3, :3] = self._directions().T
            affine[:3, 3] = self._vector(self.fields.get("spaceorigin", "(0,0,0)"))
        else:
            spacing, affine[:3, 3] = self._unplaced()
            affine[:3, :3] = np.diag(spacing)
        return np.diag([*SPACES.get(self._space, UNPLACED), 1.0]) @ affine

    def segment_names(self) -> dict[int, str]:
        """The names that a Slicer segmentation gives its label values: `Segment0_LabelValue`, `Segment0_Name`, …"""
        names = {}
        for key, text in self.keys.items():
            if re.fullmatch("Segment[0-9]+_LabelValue", key) and re.fullmatch("[0-9]{1,9}", text.strip()):
                segment = key.removesuffix("_LabelValue")
                names[int(text)] = self.keys.get(f"{segment}_Name", segment)
        return dict(sorted(names.items()))

    def words(self, name: str) -> list[str]:
        """The parts of a field, those in quotation marks or brackets as one."""
        return re.findall(r'"[^"]*"|\([^)]*\)|\S+', self.fields.get(name, ""))

    def wrong(self, name: str) -> VcmError:
        """The error for a field that is missing or says nothing that can be used."""
        said = self.fields.get(name)
        how = f"is “{said[:40]}”" if said else "is missing"
        return damaged(self.path, f"the field “{name}” of its header {how}")

    @property
    def _space(self) -> str:
        return self.fields.get("space", "").lower()

    def _axes(self) -> list[int]:
        """The axes along which voxels lie."""
        kinds = [kind.lower() for kind in self.words("kinds")]
        directions = self.words("spacedirections")
        found = []
        for axis in range(len(self.sizes)):
            kind = kinds[axis] if axis < len(kinds) else ""
            aimless = axis < len(directions) and directions[axis].lower() == "none" and kind not in ("domain", "space")
            if kind in OF_SPACE and not aimless:
                found.append(axis)
        return found

    def _directions(self) -> NDArray[np.float64]:
        every = self.words("spacedirections")
        if len(every) != len(self.sizes):
            raise self._geometry()
        return np.array([self._vector(every[axis]) for axis in self._axes()[:3]])

    def _vector(self, text: str) -> list[float]:
        numbers = text.strip().removeprefix("(").removesuffix(")").split(",")
        try:
            vector = [float(number) for number in numbers]
        except ValueError:
            raise self._geometry() from None
        if len(vector) != 3:
            raise self._geometry()
        return vector

    def _unplaced(self) -> tuple[list[float], list[float]]:
        """Spacing and origin where the file names neither directions nor an origin in space."""
        axes = self._axes()[:3]
        spacing = self._numbers("spacings", axes)
        least = self._numbers("axismins", axes)
        centring = self.words("centerings") or self.words("centers")
        steps = [1.0 if math.isnan(step) else step for step in spacing]
        if any(math.isnan(number) for number in least):
            return steps, [0.0, 0.0, 0.0]
        nodes = [axis < len(centring) and centring[axis].lower() == "node" for axis in axes]
        return steps, [low + (0.0 if node else step / 2) for low, step, node in zip(least, steps, nodes, strict=True)]

    def _numbers(self, name: str, axes: list[int]) -> list[float]:
        texts = self.words(name)
        try:
            return [float(texts[axis]) if axis < len(texts) else math.nan for axis in axes]
        except ValueError:
            raise self._geometry() from None

    def _whole(self, name: str, text: str) -> int:
        if not re.fullmatch("[0-9]{1,18}", text):
            raise self.wrong(name)
        return int(text)

    def _geometry(self) -> VcmError:
        return VcmError(
            Code.GEOMETRY,
            f"{self.path} does not say where its voxels lie: a direction, a spacing or the origin in it is no three "
            "numbers.",
            "Export it again from the program that made it.",
        )


def read_nrrd_header(path: Path, file: BinaryIO) -> NrrdHeader:
    """The header at the start of an open file."""
    raw = file.read(MOST_HEADER)
    if not re.match(rb"NRRD000[1-9]\r?\n", raw):
        raise VcmError(
            Code.FILE_UNREADABLE,
            f"{path} is named like an NRRD image but does not hold one.",
            "Export the image again as NIfTI (.nii.gz) or NRRD (.nrrd).",
        )
    blank = re.search(rb"\n\r?\n", raw)
    if blank is None and len(raw) == MOST_HEADER:
        raise damaged(path, f"its header has no end within {MOST_HEADER:,} bytes")
    text = raw[: blank.start() if blank else len(raw)].decode("utf-8", "replace").replace("\0", "?")
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    for line in text.replace("\r\n", "\n").rstrip("\r").split("\n")[1:]:
        if line.startswith("#"):
            continue
        key, mark, value = line.partition(":=")
        name, colon, said = line.partition(":")
        if mark and len(key) <= len(name):
            keys[key] = value.replace("\\n", "\n").replace("\\\\", "\\")
        elif colon:
            fields.setdefault("".join(name.lower().split()), said.strip())
            if "".join(name.lower().split()) == "datafile" and said.strip().upper().startswith("LIST"):
                break
        elif line.strip():
            raise damaged(path, f"its header has a line that is neither a field nor a key: “{line.strip()[:40]}”")
    return NrrdHeader(path, fields, keys, blank.end() if blank else len(raw))
