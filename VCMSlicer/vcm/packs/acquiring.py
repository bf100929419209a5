"""From an entry of the catalogue to an installed pack: terms accepted, files fetched or given, checked, imported."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vcm.core.disk import file_errors
from vcm.core.errors import Code, VcmError
from vcm.packs.archive import install_archive
from vcm.packs.catalogue import WHOLE_PACK, CatalogueEntry, CatalogueFile
from vcm.packs.download import check_digest, download
from vcm.packs.importing import import_control, import_family, import_published
from vcm.packs.installation import check_name, installing
from vcm.packs.store import Pack, find_pack, packs_folder


@dataclass(frozen=True)
class Consent:
    """What the user has agreed to: the licence, and files of which no hash is known."""

    licence: bool = False
    unverified: bool = False


def acquire(
    entry: CatalogueEntry,
    consent: Consent,
    *,
    given: Path | None = None,
    proxy: str | None = None,
    force: bool = False,
    on_step: Callable[[str], None] = lambda step: None,
    progress: Callable[[str, int, int | None], None] = lambda name, done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Pack]:
    """Install the pack of a catalogue's entry.

    `given` is the published file, or a folder with the published files; without it they are downloaded. `progress`
    hears a file's name, bytes done and in all. Downloads are kept until the pack is installed, so that whatever goes
    wrong on the way costs no second download.
    """
    check_name(entry.name, force=force)
    if given is None:
        refuse_manual(entry)
    check_consent(entry, consent)
    backbone = find_pack(entry.backbone) if entry.backbone else None
    if given is not None:
        files = {file.role: _given_file(entry, file, given) for file in entry.files}
        on_step("checking the files")
        for file in entry.files:
            _check_given(files[file.role], file, cancelled)
        return _import(entry, files, backbone, force=force, on_step=on_step)
    with installing(entry.name):
        check_name(entry.name, force=force)  # another process may have been quicker
        files = {file.role: downloads_folder(entry) / file.filename for file in entry.files}
        _refuse_without_room(entry, files)
        for file in entry.files:
            _fetch(file, files[file.role], proxy, progress, cancelled)
        packs = _import(entry, files, backbone, force=force, on_step=on_step)
        shutil.rmtree(downloads_folder(entry), ignore_errors=True)
    return packs


def check_consent(entry: CatalogueEntry, consent: Consent) -> None:
    """Raise where the licence, or a file nobody can verify, was not accepted."""
    if entry.licence.must_accept and not consent.licence:
        raise VcmError(
            Code.LICENCE,
            f"The licence of {entry.name} ({entry.licence.name}) was not accepted. {entry.licence.summary}",
            f"Read it{f' at {entry.licence.url}' if entry.licence.url else ''} and accept it with --accept-licence.",
        )
    if entry.unverifiable and not consent.unverified:
        names = ", ".join(file.filename for file in entry.unverifiable)
        raise VcmError(
            Code.LICENCE,
            f"No hash of {names} is known, so nobody can tell whether a copy is the right one.",
            f"If you trust {entry.page or 'where it came from'}, say so with --accept-unverified."
            if entry.automatic
            else "If you trust where it came from, say so with --accept-unverified.",
        )


def downloads_folder(entry: CatalogueEntry) -> Path:
    """Where the files of an entry wait until they are imported."""
    return packs_folder() / ".downloads" / entry.name


def _import(
    entry: CatalogueEntry,
    files: Mapping[str, Path],
    backbone: Pack | None,
    *,
    force: bool,
    on_step: Callable[[str], None],
) -> list[Pack]:
    if WHOLE_PACK in files:
        on_step("installing")
        return [install_archive(entry.name, files[WHOLE_PACK], force=force)]
    licence = {"name": entry.licence.name, "url": entry.licence.url, "note": entry.licence.summary}
    about = {"title": entry.title, "description": entry.description, "licence": licence}
    if backbone is not None:
        control = files["control"]
        return [
            import_control(
                entry.name, control, backbone, config=entry.config, about=about, force=force, on_step=on_step
            )
        ]
    autoencoder, denoiser = files["autoencoder"], files["denoiser"]
    options: dict[str, Any] = {"config": entry.config, "about": about, "force": force, "on_step": on_step}
    if entry.family:
        return [import_family(entry.name, entry.family, autoencoder=autoencoder, denoiser=denoiser, **options)]
    return import_published(entry.name, autoencoder=autoencoder, denoiser=denoiser, **options)


def _given_file(entry: CatalogueEntry, file: CatalogueFile, given: Path) -> Path:
    if given.is_file():
        if len(entry.files) == 1:
            return given
        names = ", ".join(each.filename for each in entry.files)
        raise VcmError(
            Code.BAD_REQUEST, f"{entry.name} is made from several files ({names}).", "Give the folder they lie in."
        )
    if not given.is_dir():
        raise VcmError(Code.FILE_MISSING, f"There is no file or folder {given}.", "Check the path after --from.")
    for name in (file.filename, *file.also_called):
        if (given / name).is_file():
            return given / name
    raise VcmError(
        Code.FILE_MISSING,
        f"The folder {given} has no {file.filename} (the {file.role} of {entry.name}).",
        f"Download it from {entry.page or file.url} into that folder.",
    )


def _check_given(path: Path, file: CatalogueFile, cancelled: Callable[[], bool]) -> None:
    if wrong := check_digest(path, file.digest, file.size, cancelled):
        raise VcmError(
            Code.PACK_DAMAGED,
            f"{path} {wrong}.",
            "Download it again; a file that differs on purpose goes through: vcm packs import",
        )


def refuse_manual(entry: CatalogueEntry) -> None:
    """Raise where an entry's files may only come by the user's own hand."""
    if not entry.automatic:
        raise VcmError(
            Code.LICENCE,
            f"{entry.name} is not downloaded by the program. {entry.licence.summary}",
            f"Download {entry.files[0].filename} yourself from {entry.page} and give it with --from FILE.",
        )


def _refuse_without_room(entry: CatalogueEntry, files: Mapping[str, Path]) -> None:
    """The downloads and the pack made from them lie side by side for a while."""
    folder = downloads_folder(entry)
    with file_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    there = sum(each.stat().st_size for each in folder.iterdir())
    needed = max(2 * entry.expected_bytes - there, 0)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise VcmError(
            Code.DISK_FULL,
            f"{entry.name} needs about {needed / 1e9:.1f} GB while it is installed, but {folder.parent.parent} has "
            f"{free / 1e9:.1f} GB free.",
            "Free some space, or move the packs' folder with the environment variable VCM_PACKS.",
        )


def _fetch(
    file: CatalogueFile,
    target: Path,
    proxy: str | None,
    progress: Callable[[str, int, int | None], None],
    cancelled: Callable[[], bool],
) -> None:
    # A file that was complete before, when the import failed, is looked at again rather than fetched again.
    if target.is_file() and not check_digest(target, file.digest, file.size, cancelled):
        return
    if file.url is None:
        raise VcmError(Code.PACK_INVALID, f"The catalogue has no address for {file.filename}.")
    download(
        file.url,
        target,
        size=file.size,
        digest=file.digest,
        progress=lambda done, total: progress(file.filename, done, total or file.expected_bytes or None),
        cancelled=cancelled,
        proxy=proxy,
    )
