"""Volumes that nobody would write: to the doctor and, now and then, to a Generate."""

from __future__ import annotations

import gzip
import os
import random
import struct
import zlib
from pathlib import Path

import numpy as np
from case import GRID, Case
from mutation import bytes_damaged
from process import complaints, forked
from vcm.core.volume import Volume
from vcm.volumes.volume_files import write_volume

MASK = np.zeros(GRID.shape, np.uint8)
MASK[7:13, 10:18, 9:16] = 1
NRRD_SIZES = "2 3 4"
HUGE = (1023, 4096, 32767, 65536, 10**9, 2**40)


def run(case: Case) -> tuple[int, list[str]]:
    """One file, as a condition of the doctor or as a region."""
    rng = case.rng
    path = rng.choice(MAKERS)(rng, case.folder)
    command = ["doctor", "--pack", "micro", "--condition", f"ventricles={path}", "--out", str(case.folder / "seen")]
    if rng.random() < 0.1:
        command = [
            "generate", "--pack", "micro", "--condition", f"ventricles={path}", "--steps", "1", "--no-montage",
            "--out", str(case.folder / "out"),
        ]  # fmt: skip
    elif rng.random() < 0.15:
        user = case.user / "ventricles.nii.gz"
        command = ["doctor", "--pack", "micro", "--condition", f"ventricles={user}", "--region", f"ventricles={path}"]
    if rng.random() < 0.5 and command[0] == "doctor":
        command.append("--json")
    ended = forked(command, case.folder, case.home)
    found = complaints(ended, own_memory=case.own_memory)
    if ended.seconds > 10 and path.is_file() and path.stat().st_size <= 1_000_000:
        found.append(f"took {ended.seconds:.0f} s for a file of {path.stat().st_size:,} bytes")
    return 1, found


def _valid(folder: Path, name: str) -> bytes:
    write_volume(folder / f"valid-{name}", Volume(MASK, GRID), synthetic=False)
    return (folder / f"valid-{name}").read_bytes()


def damaged_nifti(rng: random.Random, folder: Path) -> Path:
    """A NIfTI file with some bytes of its header or its voxels replaced."""
    data = bytes_damaged(rng, _valid(folder, "a.nii"), 352)
    packed = rng.random() < 0.5
    path = folder / ("a.nii.gz" if packed else "a.nii")
    path.write_bytes(gzip.compress(data, 1) if packed else data)
    return path


def damaged_archive(rng: random.Random, folder: Path) -> Path:
    """A gzip stream with some bytes replaced, perhaps another behind it."""
    data = bytes_damaged(rng, _valid(folder, "b.nii.gz"), 40)
    if rng.random() < 0.2:
        data += gzip.compress(bytes(rng.randint(1, 100_000_000)), 1)
    path = folder / "b.nii.gz"
    path.write_bytes(data)
    return path


def impossible_nifti(rng: random.Random, folder: Path) -> Path:
    """A header that promises what the file does not hold, or more than any grid could need."""
    header = bytearray(_valid(folder, "c.nii")[:352])
    shape = [rng.choice((1, 2, 17, 1023, 4096, 32767)) for _ in range(3)]
    struct.pack_into("<8h", header, 40, rng.choice((1, 3, 3, 3, 4, 5, 7, -1)), *shape, *[rng.choice((0, 1, 3))] * 4)
    datatype, bits = rng.choice(
        ((2, 8), (4, 16), (8, 32), (16, 32), (64, 64), (128, 24), (256, 8), (1536, 128), (0, 0))
    )
    struct.pack_into("<2h", header, 70, datatype, bits)
    if rng.random() < 0.4:
        struct.pack_into("<f", header, 108, rng.choice((1e13, -1.0, 0.0, 1e38, float("nan"), 353.5, 2**31)))
    body = bytes(rng.choice((0, 100, 100_000, 300_000_000)))
    path = folder / "c.nii.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(bytes(header) + body)
    return path


def damaged_mgh(rng: random.Random, folder: Path) -> Path:
    """An MGH file with some bytes of its header or its voxels replaced, or with sizes it does not hold."""
    i, j, k = MASK.shape
    header = bytearray(284)
    struct.pack_into(">7ih", header, 0, 1, i, j, k, 1, 0, 0, rng.choice((0, 1, 1, 1)))
    struct.pack_into(">15f", header, 30, 8, 8, 8, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0)
    if rng.random() < 0.3:
        sizes = [rng.choice((0, 1, 2, 17, 1023, -1, 2**31 - 1)) for _ in range(4)]
        struct.pack_into(">5i", header, 4, *sizes, rng.choice((0, 1, 2, 3, 4, 7, 10, -1)))
    data = bytes_damaged(rng, bytes(header) + MASK.tobytes(order="F") + bytes(rng.choice((0, 20, 100_000))), 284)
    path = folder / rng.choice(("m.mgh", "m.mgz"))
    path.write_bytes(gzip.compress(data, 1) if rng.random() < 0.5 else data)
    return path


def damaged_nrrd(rng: random.Random, folder: Path) -> Path:
    """An NRRD file with some bytes of its header or its voxels replaced."""
    path = folder / rng.choice(("d.nrrd", "d.seg.nrrd"))
    path.write_bytes(bytes_damaged(rng, _valid(folder, "d.nrrd"), 600))
    return path


def written_nrrd(rng: random.Random, folder: Path) -> Path:
    """A header of the format's own words in unlikely company, before a body of any kind."""
    sizes = rng.choice(
        (NRRD_SIZES, NRRD_SIZES, f"{rng.choice(HUGE)} 2 2", "0 3 4", "-2 3 4", "2 3", "2 3 4 5", "1e9 1 1")
    )
    encoding = rng.choice(("raw", "ascii", "text", "txt", "hex", "gzip", "gz", "bzip2", "bz2", "zrl", "nonsense"))
    lines = [
        rng.choice(("NRRD0004", "NRRD0005", "NRRD0001", "NRRD0009", "nrrd")),
        f"type: {rng.choice(('uchar', 'short', 'float', 'double', 'int64', 'block', 'unsigned long long', '?'))}",
        f"dimension: {rng.choice(('3', '3', '3', '4', '0', '99', '-1', 'three'))}",
        f"sizes: {sizes}",
        f"encoding: {encoding}",
        f"endian: {rng.choice(('little', 'big', 'middle'))}",
    ]
    if rng.random() < 0.7:
        lines += [
            f"space: {rng.choice(('left-posterior-superior', 'RAS', 'scanner-xyz', '?'))}",
            f"space directions: {rng.choice(('(8,0,0) (0,8,0) (0,0,8)', 'none (0,1,0) (0,0,1)', '(nan,0,0) (0,1,0) (0,0,1)', '(1,0,0)', '(1e308,0,0) (0,1,0) (0,0,1)'))}",  # noqa: E501
            f"space origin: {rng.choice(('(0,0,0)', '(nan,inf,0)', '()'))}",
        ]
    if rng.random() < 0.25:
        lines.append(f"{rng.choice(('line skip', 'byte skip'))}: {rng.choice((-1, 1, 3, 10**12, -5))}")
    if rng.random() < 0.2:
        elsewhere = ("d.raw", "../../../etc/passwd", "/dev/zero", "LIST", "p%d.raw 1 100000000 1", "~/x")
        lines.append(f"data file: {rng.choice(elsewhere)}")
    rng.shuffle(middle := lines[1:])
    plain = rng.choice(
        (bytes(24), b"\x00" * 5, b"1 2 3 " * 40, rng.randbytes(24), b"", b"00ff" * 40, b"nan inf -1 \x00" * 9)
    )
    body = {"gzip": gzip.compress, "gz": zlib.compress}.get(encoding, bytes)(plain)
    path = folder / rng.choice(("e.nrrd", "e.seg.nrrd", "e.nhdr"))
    (folder / "d.raw").write_bytes(plain)
    path.write_bytes("\n".join([lines[0], *middle]).encode() + rng.choice((b"\n\n", b"\n", b"\r\n\r\n")) + body)
    return path


def bomb(rng: random.Random, folder: Path) -> Path:
    """A small file of a million bytes or fewer that unpacks to gigabytes."""
    header = bytearray(_valid(folder, "f.nii")[:352])
    side = rng.choice((600, 800, 1023))
    struct.pack_into("<8h", header, 40, 3, side, side, side, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 2, 8)
    path = folder / "f.nii.gz"
    member = gzip.compress(bytes(8_000_000), 9)
    with path.open("wb") as file:
        file.write(gzip.compress(bytes(header), 9))
        for _ in range(min(side**3 // 8_000_000 + 1, 1_000_000 // len(member))):
            file.write(member)
    return path


def no_file(rng: random.Random, folder: Path) -> Path:
    """What lies in a file's place: a folder, a pipe, a link in a circle, a device, or nothing."""
    path = folder / rng.choice(("g.nii.gz", "g.nii", "g.nrrd", "g.nhdr", "g.mha", "g"))
    kind = rng.randrange(7)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        os.mkfifo(path)
    elif kind == 2:
        path.symlink_to(path.name)
    elif kind == 3:
        path.symlink_to("/dev/zero")
    elif kind == 4:
        path.symlink_to("/proc/self/mem")
    elif kind == 5:
        os.mkfifo(folder / "pipe.raw")
        header = f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: {NRRD_SIZES}\nencoding: raw\ndata file: pipe.raw\n"
        path = folder / "g.nhdr"
        path.write_text(header)
    return path


def any_bytes(rng: random.Random, folder: Path) -> Path:
    """Bytes of no format, or of another, under an image's name."""
    signatures = (
        b"\x89PNG\r\n\x1a\n",
        b"II*\x00",
        b"DICM",
        b"<html>",
        b"PK\x03\x04",
        b"\x1f\x8b\x08\x00",
        b"ObjectType = Image\n",
    )
    path = folder / rng.choice(
        ("h.nii.gz", "h.nii", "h.nrrd", "h.mha", "h.png", "h.mgz", "h.tif", "h.dcm", "h.vtk", "h")
    )
    path.write_bytes(rng.choice((b"", *signatures)) + rng.randbytes(rng.randint(0, 2000)))
    return path


MAKERS = (
    damaged_nifti, damaged_nifti, damaged_archive, impossible_nifti, damaged_mgh, damaged_nrrd, written_nrrd,
    written_nrrd, no_file, any_bytes,
) * 3 + (bomb,)  # fmt: skip
