"""A whole pack in one file, as a release offers it: how it is installed."""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path

from vcm.core.disk import file_errors
from vcm.core.errors import Code, VcmError
from vcm.outputs.atomic_files import atomic_path
from vcm.packs.installation import install_folder
from vcm.packs.manifest import FILE_NAME
from vcm.packs.manifest_reading import read_manifest
from vcm.packs.store import Pack, find_pack, verify

CHUNK = 1 << 20
SMALL_FILES = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.(json|md)|model\.sig")
PLAIN_WAYS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
SMALL_FILE_LIMIT = 4_000_000
"""Bytes: manifest, card and training record have kilobytes."""


def install_archive(name: str, file: Path, *, force: bool = False) -> Pack:
    """Install the pack `name` from its archive; only the files that its manifest names, with the hashes it names."""
    try:
        with zipfile.ZipFile(file) as archive, install_folder(name, force=force) as folder:
            members = {member.filename: member for member in archive.infolist()}
            if any(m.flag_bits & 1 or m.compress_type not in PLAIN_WAYS for m in members.values()):
                raise _not_a_pack(file, "it is encrypted or compressed in an uncommon way")
            if FILE_NAME not in members:
                raise _not_a_pack(file, f"it holds no {FILE_NAME}")
            for member in members.values():
                if SMALL_FILES.fullmatch(member.filename):
                    _extract(archive, member, folder, SMALL_FILE_LIMIT, file)
            manifest = read_manifest(folder)
            if manifest.name != name:
                raise _not_a_pack(file, f"it holds the pack {manifest.name}, not {name}")
            sizes = {each.path: each.size for each in manifest.files.values()}
            for path, size in sizes.items():
                if path not in members:
                    raise _not_a_pack(file, f"it lacks {path}")
                _extract(archive, members[path], folder, size, file)
            verify(Pack(folder, manifest))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise _not_a_pack(file, str(error)) from error
    return find_pack(name)


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, limit: int, file: Path) -> None:
    """Write one member by its name alone; reading stops at the limit, whatever the archive's directory says."""
    target = folder / member.filename
    written = 0
    with archive.open(member) as source, file_errors(target), atomic_path(target) as half, half.open("wb") as out:
        while piece := source.read(CHUNK):
            written += len(piece)
            if written > limit:
                raise _not_a_pack(file, f"{member.filename} is larger than the {limit:,} bytes it should have")
            out.write(piece)


def _not_a_pack(file: Path, why: str) -> VcmError:
    return VcmError(
        Code.PACK_DAMAGED,
        f"{file} cannot be installed as a pack: {why}.",
        "Download it again from the release of VCMSlicer that you use.",
    )
