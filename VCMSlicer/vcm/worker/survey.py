"""What is here to work with: packs, devices, memory, disk, versions."""

from __future__ import annotations

import contextlib
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch

import vcm
from vcm.core.errors import VcmError
from vcm.machine.runtime import choose_runtime, free_memory
from vcm.packs.catalogue import CatalogueEntry, read_catalogue
from vcm.packs.manifest import FILE_NAME
from vcm.packs.schema import read_document
from vcm.packs.store import InstalledPack, list_packs, packs_folder
from vcm.protocol import Device, ListPacks, Machine, PackEntry, Packs, Preflight

PACKAGES = ("torch", "monai", "numpy", "SimpleITK", "safetensors")


def survey_packs(request: ListPacks) -> Packs:
    """The packs that are here, and those of the catalogue that are not."""
    installed = list_packs()
    here = {entry.name for entry in installed}
    elsewhere = [entry for entry in read_catalogue() if entry.name not in here]
    entries = (*map(_installed, installed), *map(_available, elsewhere))
    return Packs(request.id, str(packs_folder()), entries)


def survey_machine(request: Preflight) -> Machine:
    """Devices with the one `auto` takes first, main memory, and the disk that holds the folder `out`."""
    memory = psutil.virtual_memory()
    return Machine(
        request.id,
        tuple(map(_device, _device_names())),
        {"vcm": vcm.__version__, "python": platform.python_version(), **_versions()},
        int(memory.total),
        free_memory(torch.device("cpu")),
        _free_disk(Path(request.out)) if request.out is not None else None,
    )


def _installed(entry: InstalledPack) -> PackEntry:
    problem, content = entry.problem, {}
    if entry.pack is not None:
        try:
            content = dict(read_document(entry.folder / FILE_NAME))
        except VcmError as error:  # it was changed since it was looked at
            problem = error
    if entry.pack is None or problem is not None:
        return PackEntry(entry.name, "broken", str(problem or "It cannot be read."), folder=str(entry.folder))
    manifest = entry.pack.manifest
    untrained = f"Untrained: {', '.join(manifest.untrained)}." if manifest.untrained else ""
    return PackEntry(
        entry.name,
        "ready",
        untrained or "Ready.",
        manifest.kind,
        manifest.title,
        str(entry.folder),
        manifest.size,
        content,
    )


def _available(entry: CatalogueEntry) -> PackEntry:
    size = f"{entry.expected_bytes / 1e9:.1f} GB" if entry.expected_bytes else "a file of unknown size"
    words = f"Not here yet; needs {size}. Licence: {entry.licence.name}. {entry.licence.summary}"
    return PackEntry(entry.name, "available", words.strip(), entry.kind, entry.title, size=entry.expected_bytes)


def _device_names() -> list[str]:
    names = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return names + (["mps"] if torch.backends.mps.is_available() else []) + ["cpu"]


def _device(name: str) -> Device:
    words = choose_runtime(name).words
    if name.startswith("cuda"):
        free, total = torch.cuda.mem_get_info(torch.device(name))
        return Device(name, words, total, free)
    return Device(name, words, int(psutil.virtual_memory().total), free_memory(torch.device(name)))


def _versions() -> dict[str, str]:
    found: dict[str, Any] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not found"
    return found


def _free_disk(folder: Path) -> int | None:
    for place in (folder, *folder.absolute().parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(place).free
    return None
