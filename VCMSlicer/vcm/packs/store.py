"""Where packs lie, which there are, and their weights, checked before use."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vcm.core.errors import Code, VcmError
from vcm.core.hashing import hash_file
from vcm.core.plain_text import plain
from vcm.packs.catalogue import read_catalogue
from vcm.packs.manifest import FILE_NAME, AnyManifest, BackboneManifest, ControlManifest, LayoutManifest, PackFile
from vcm.packs.manifest_reading import read_manifest
from vcm.packs.tensors.checkpoints import not_finite
from vcm.packs.tensors.eight_bits import decode

if TYPE_CHECKING:
    import torch

DEFAULT_BACKBONE = "brainldm-mini"
EMBEDDED = Path(__file__).with_name("embedded")


@dataclass(frozen=True)
class Pack:
    """A readable pack: its folder and what its manifest says."""

    folder: Path
    manifest: AnyManifest

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def embedded(self) -> bool:
        """Whether it came with the program."""
        return self.folder.resolve().parent == EMBEDDED.resolve()

    @property
    def backbone(self) -> BackboneManifest:
        """The manifest, where the pack is a backbone; another is refused with a sentence."""
        if not isinstance(self.manifest, BackboneManifest):
            raise self._is_another("backbone")
        return self.manifest

    def resized(self, size: str | None, spacing: str | None) -> Pack:
        """The backbone on another grid than its own, where it can be; the files are the same."""
        return replace(self, manifest=self.backbone.resized(size, spacing))

    @property
    def control(self) -> ControlManifest:
        """The manifest, where the pack is a control; another is refused with a sentence."""
        if not isinstance(self.manifest, ControlManifest):
            raise self._is_another("control")
        return self.manifest

    @property
    def layout(self) -> LayoutManifest:
        """The manifest, where the pack is a layout; another is refused with a sentence."""
        if not isinstance(self.manifest, LayoutManifest):
            raise self._is_another("layout")
        return self.manifest

    def _is_another(self, wanted: str) -> VcmError:
        manifest = self.manifest
        if isinstance(manifest, ControlManifest):
            what, remedy = f"a control for {manifest.backbone.name}", f"Its backbone is {manifest.backbone.name}."
        else:
            what, remedy = f"a {manifest.kind}", f"List the {wanted}s with: vcm packs list"
        return VcmError(Code.BAD_REQUEST, f"{self.name} is {what}; a {wanted} was expected here.", remedy)


@dataclass(frozen=True)
class InstalledPack:
    """An entry of the packs' folder: a readable pack, or the `problem` that keeps it from being one."""

    name: str
    folder: Path
    pack: Pack | None = None
    problem: VcmError | None = None


def packs_folder() -> Path:
    """Where the user's packs lie: `VCM_PACKS`, or `packs` in the user's data directory."""
    if moved := os.environ.get("VCM_PACKS"):
        return _expanded(moved)
    import platformdirs

    return Path(platformdirs.user_data_dir("vcm-slicer", appauthor=False)) / "packs"


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise VcmError(
            Code.BAD_REQUEST, f"There is no home folder for {path}.", "Write the path without the tilde."
        ) from None


def default_backbone() -> str:
    """The backbone used where none is named; it comes with the program."""
    return DEFAULT_BACKBONE


def list_packs(users: Path | None = None) -> list[InstalledPack]:
    """The embedded packs, then those in `users`, by default the user's folder, each in the order of their names; broken
    ones with their reason."""
    entries: dict[str, InstalledPack] = {}
    for parent in (EMBEDDED, users or packs_folder()):
        try:
            folders = subfolders(parent)
        except VcmError as problem:
            entries[str(parent)] = InstalledPack(str(parent), parent, problem=problem)
            continue
        for folder in folders:
            entry = _look_at(folder)
            if entry.name in entries:
                sentence = f"A pack of the name {entry.name} comes with the program; the one in {folder} is not used."
                entry = InstalledPack(str(folder), folder, problem=VcmError(Code.PACK_INVALID, sentence))
            entries[entry.name] = entry
    return list(entries.values())


def find_pack(name_or_path: str | Path) -> Pack:
    """The pack of that exact name, or the one in the folder of that path."""
    given = str(name_or_path)
    entries = {entry.name: entry for entry in list_packs()}
    entry = entries.get(given)
    if entry and entry.problem:
        raise entry.problem
    if entry and entry.pack:
        return entry.pack
    path = _expanded(given)
    if path.is_dir() and (os.sep in given or (path / FILE_NAME).is_file()):
        return _open_folder(path)
    if given in {entry.name for entry in read_catalogue()}:
        raise VcmError(Code.PACK_MISSING, f"The pack {given} is not installed.", f"Get it with: vcm packs get {given}")
    if unreadable := entries.get(str(packs_folder())):
        raise unreadable.problem or VcmError(Code.PACK_MISSING, f"There is no pack {given}.")
    close = difflib.get_close_matches(given, entries, n=3, cutoff=0.4)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    raise VcmError(
        Code.PACK_MISSING,
        f"There is no pack {given}.{hint}",
        "See what there is with: vcm packs list",
        close=close,
    )


def controls_for(backbone: Pack, among: Iterable[InstalledPack] | None = None) -> list[Pack]:
    """The installed controls, or those `among` these packs, that were trained for exactly this backbone's denoiser."""
    manifest = backbone.backbone
    packs = [entry.pack for entry in (list_packs() if among is None else among) if entry.pack]
    return [pack for pack in packs if isinstance(pack.manifest, ControlManifest) and manifest.steered_by(pack.manifest)]


def layouts_for(backbone: Pack, among: Iterable[InstalledPack] | None = None) -> list[Pack]:
    """The installed layouts, or those `among` these packs, that were made for heads like this backbone's."""
    packs = [entry.pack for entry in (list_packs() if among is None else among) if entry.pack]
    return [p for p in packs if isinstance(p.manifest, LayoutManifest) and backbone.name in p.manifest.backbones]


def verify(pack: Pack, on_bytes: Callable[[int], None] | None = None) -> None:
    """Compare size and SHA-256 of every file with the manifest; the first difference is raised."""
    for file in pack.manifest.files.values():
        _check_file(pack, file, on_bytes)


def open_weights(pack: Pack, role: str) -> dict[str, torch.Tensor]:
    """The tensors of the pack's file for `role` (`denoiser`, `control`, …) on the CPU, after its hash was checked.

    Those that are stored in 8 bits come in fp32, all others as they are stored.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = pack.manifest.files.get(role)
    if file is None:
        raise VcmError(Code.PACK_INVALID, f"The pack {pack.name} has no file for its {role}.")
    path = pack.folder / file.path
    _check_file(pack, file, known=_sound)
    try:
        weights = decode(load_file(path, device="cpu"))
    except ValueError as error:
        raise VcmError(
            Code.PACK_INVALID,
            f"The pack {pack.name} cannot be used: in {path}, {plain(str(error))}.",
            "Get the pack again from its source.",
        ) from error
    except (SafetensorError, OSError) as error:
        raise VcmError(
            Code.PACK_INVALID,
            f"{path} is not a readable safetensors file: {error}.",
            "Get the pack again from its source.",
        ) from error
    if spoilt := not_finite(weights):
        raise VcmError(
            Code.PACK_INVALID,
            f"The pack {pack.name} cannot be used: in {path}, the tensor “{plain(spoilt)}” holds values that are not "
            "numbers (NaN or infinite).",
            "They were so when the pack was made: get another version of it, or train it again.",
        )
    return weights


_sound: set[tuple[str | int, ...]] = set()
"""Files whose hash was found right in this process, by path, size, time of change, inode and hash."""


def _check_file(
    pack: Pack,
    file: PackFile,
    on_bytes: Callable[[int], None] | None = None,
    known: Collection[tuple[str | int, ...]] = (),
) -> None:
    path = pack.folder / file.path
    try:
        status = path.stat()
        identity = (str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ino, file.sha256)
        if identity in known:
            return
        found = hash_file(path, on_bytes=on_bytes) if status.st_size == file.size else ""
    except OSError as error:
        raise _damaged(pack, path, f"cannot be read: {error.strerror}") from error
    if status.st_size != file.size:
        raise _damaged(pack, path, f"has {status.st_size:,} bytes where {file.size:,} were expected")
    if found != file.sha256:
        raise _damaged(pack, path, f"was changed: its SHA-256 begins {found[:12]}, expected was {file.sha256[:12]}")
    _sound.add(identity)


def _damaged(pack: Pack, path: Path, what: str) -> VcmError:
    again = f"Get or import it again with --force, or remove it: vcm packs remove {pack.name}"
    remedy = "Reinstall VCMSlicer." if pack.embedded else again
    return VcmError(Code.PACK_DAMAGED, f"The pack {pack.name} is damaged: {path} {what}.", remedy, file=str(path))


def _unreadable(folder: Path, error: Exception) -> VcmError:
    reason = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {str(error)[:200]}"
    code = Code.FILE_UNREADABLE if isinstance(error, OSError) else Code.PACK_INVALID
    return VcmError(code, f"The pack in {folder} cannot be read: {reason}.", "Remove it, or make it readable.")


_manifests: dict[Path, tuple[tuple[int, ...], AnyManifest]] = {}
"""Manifests that this process has read and checked, with what tells whether the file is still the same."""


def _open_folder(folder: Path) -> Pack:
    try:
        found = (folder / FILE_NAME).stat()
    except OSError:
        return Pack(folder, read_manifest(folder))
    state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    known = _manifests.get(folder)
    if known is None or known[0] != state:
        known = _manifests[folder] = state, read_manifest(folder)
    return Pack(folder, known[1])


def _look_at(folder: Path) -> InstalledPack:
    try:
        pack = _open_folder(folder)
        if pack.name != folder.name:
            sentence = f"The folder {folder} holds a pack that calls itself {pack.name}; both names must agree."
            raise VcmError(Code.PACK_INVALID, sentence, f"Rename the folder to {pack.name}.")
        for file in pack.manifest.files.values():
            path = folder / file.path
            if not path.is_file():
                raise _damaged(pack, path, "is missing")
            if path.stat().st_size != file.size:
                raise _damaged(pack, path, f"has {path.stat().st_size:,} bytes where {file.size:,} were expected")
    except VcmError as error:
        return InstalledPack(folder.name, folder, problem=error)
    except Exception as error:  # a broken pack is left aside, whatever is wrong with it
        return InstalledPack(folder.name, folder, problem=_unreadable(folder, error))
    return InstalledPack(pack.name, folder, pack)


def subfolders(parent: Path) -> list[Path]:
    """The folders that may be packs, in the order of their names; hidden ones are installations under way."""
    try:
        return sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise VcmError(Code.FILE_UNREADABLE, f"The packs' folder {parent} cannot be read: {error.strerror}.") from error
