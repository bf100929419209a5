"""How packs get into the packs' folder and out of it: whole, or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vcm.core.disk import file_errors
from vcm.core.errors import Code, VcmError
from vcm.outputs.swapped_folders import alone_with, put_in_order, remove_folder, swapped_folder
from vcm.packs.manifest import FILE_NAME
from vcm.packs.manifest_reading import read_manifest
from vcm.packs.store import EMBEDDED, find_pack, packs_folder, subfolders

REMEDY = "Choose another folder, or replace files by these names with --force."
PACK_FILES = re.compile(r"README\.md|report\.md|training(-\w+)?\.json|manifest\.json|.+\.safetensors")


def remove(name: str) -> None:
    """Delete one of the user's packs, whole or broken; embedded ones and folders elsewhere stay."""
    home = packs_folder()
    if name not in {path.name for path in subfolders(home)}:
        pack = find_pack(name)
        reason = "comes with the program" if pack.embedded else "does not lie in the packs' folder"
        raise VcmError(Code.BAD_REQUEST, f"{name} {reason} and is not removed.")
    with file_errors(home / name):
        try:
            remove_folder(home / name)
        except FileNotFoundError:
            raise VcmError(Code.PACK_MISSING, f"There is no pack {name} any more.") from None


@contextmanager
def install_folder(name: str, *, force: bool = False) -> Iterator[Path]:
    """An empty folder to build the pack `name` in; it takes its place whole, when the block ends without error.

    An existing pack of that name is refused without `force`; with it, the old one stays until the new one is in place.
    """
    home = packs_folder()
    check_name(name, force=force)
    with installing(name):
        check_name(name, force=force)  # another process may have been quicker
        with file_errors(home / name), pack_folder(home / name, force=force) as folder:
            yield folder


@contextmanager
def installing(name: str) -> Iterator[None]:
    """Hold a pack's name against other processes, while its files are fetched and it is made."""
    home = packs_folder()
    with file_errors(home):
        put_in_order(home)
    with file_errors(home / name), alone_with(home / name):
        yield


@contextmanager
def pack_folder(folder: Path, *, force: bool = False, inputs: Iterable[Path] = ()) -> Iterator[Path]:
    """An empty folder to build a pack in, anywhere; it takes the place of `folder` when it is a whole pack."""
    with swapped_folder(folder, inputs=inputs, force=force, remedy=REMEDY, of_ours=is_of_a_pack) as inside:
        yield inside
        read_manifest(inside)


def refuse_what_is_no_pack(folder: Path) -> None:
    """Raise if a folder that a pack is to be written to holds something else."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / FILE_NAME).is_file():
        raise VcmError(Code.BAD_REQUEST, f"{folder} holds something that is no pack.", "Choose another folder.")


def is_of_a_pack(file: Path) -> bool:
    """Whether a file is one that packs consist of, in the folder of a readable pack."""
    with suppress(VcmError):
        return bool(PACK_FILES.fullmatch(file.name)) and bool(read_manifest(file.parent))
    return False


def check_name(name: str, *, force: bool = False) -> None:
    """Raise if a pack of that name cannot be installed, before any work is done for it."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9._-]{0,78}[a-z0-9])?", name):
        raise VcmError(
            Code.BAD_REQUEST,
            f"“{name}” cannot be a pack's name.",
            "Use up to 80 small letters, digits, hyphens, dots and underscores.",
        )
    if (EMBEDDED / name).exists():
        raise VcmError(Code.BAD_REQUEST, f"A pack {name} comes with the program.", "Choose another name.")
    if (packs_folder() / name).exists() and not force:
        raise VcmError(
            Code.BAD_REQUEST,
            f"There is a pack {name} already.",
            "Choose another name, or replace it with --force.",
        )
