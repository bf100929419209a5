"""Which models there are and what each accepts, read from the packs' manifests with the standard library alone.

The worker knows the same and more (`ListPacks`); this is for a panel that must be there before any worker is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from VCMSlicerLib.install.userFolders import packsFolder
from VCMSlicerLib.models.packInfo import (
    AVAILABLE,
    BROKEN,
    READY,
    AttributeInfo,
    ClassInfo,
    ConditionInfo,
    ControlInfo,
    GridInfo,
    PackInfo,
)
from VCMSlicerLib.models.packOffers import CONTROL, PackOffer, gigabytes, offers

MANIFEST = "manifest.json"
DEFAULT_PACK = "brainldm-mini"
LARGEST_MANIFEST = 16 << 20


def listPacks(folder: Path | None = None) -> tuple[PackInfo, ...]:
    """The embedded models, the user's, then those that can be had from elsewhere."""
    backbones: dict[str, PackInfo] = {}
    denoisers: dict[str, str] = {}
    controls: list[tuple[str, ControlInfo]] = []
    for parent in (embeddedFolder(), folder or packsFolder()):
        for place in _subfolders(parent):
            if place.name in backbones:
                continue
            manifest, problem = _readManifest(place)
            if problem:
                name = _shown(place.name)
                backbones[place.name] = PackInfo(name, name, BROKEN, problem, folder=place)
            elif manifest["kind"] == "control":
                controls.append((manifest["backbone"]["sha256"], _control(manifest)))
            else:
                denoisers[place.name] = manifest["files"]["denoiser"]["sha256"]
                backbones[place.name] = _backbone(place, manifest)
    here = tuple(
        _withControls(pack, [control for sha256, control in controls if sha256 == denoisers.get(name)])
        for name, pack in backbones.items()
    )
    return here + tuple(pack for pack in _elsewhere() if pack.name not in backbones)


def findPack(name: str, folder: Path | None = None) -> PackInfo | None:
    """The model of that name, here or to be had."""
    return next((pack for pack in listPacks(folder) if pack.name == name), None)


def embeddedFolder() -> Path:
    """The packs that come with the program."""
    return _engineFolder() / "packs" / "embedded"


def _engineFolder() -> Path:
    return Path(__file__).resolve().parents[2] / "vcm"


def _subfolders(parent: Path) -> list[Path]:
    try:
        return sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return []


def _readManifest(folder: Path) -> tuple[dict[str, Any], str]:
    """A pack's manifest, or what is wrong with the pack. Nothing that a manifest holds is raised."""
    try:
        file = folder / MANIFEST
        if file.exists() and (not file.is_file() or file.stat().st_size > LARGEST_MANIFEST):
            raise ValueError(file)
        manifest = json.loads(file.read_text("utf-8"), parse_constant=_refuseConstant)
        json.dumps(manifest, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is no text
        if manifest["name"] != folder.name:
            words = _("Its folder is called {folder}, the pack in it {name}; both names must agree.")
            return {}, words.format(folder=folder.name, name=manifest["name"])
        for file in manifest["files"].values():
            found = (folder / file["path"]).stat().st_size
            if found != file["size"]:
                words = _("{file} has {found} bytes where {expected} were expected. Get the pack again.")
                return {}, words.format(file=file["path"], found=f"{found:,}", expected=f"{file['size']:,}")
        if manifest["kind"] == "control":
            known = [_control(manifest).title, manifest["backbone"]["sha256"]]
        else:
            known = [_backbone(folder, manifest).title, manifest["files"]["denoiser"]["sha256"]]
        if not all(isinstance(text, str) for text in known):
            raise TypeError(known)
        return manifest, ""
    except OSError as error:
        missing = Path(error.filename or MANIFEST).name
        return {}, _("{file} is missing or cannot be read. Get the pack again.").format(file=_shown(missing))
    except Exception:  # one broken pack must not hide the others
        return {}, _("Its manifest.json cannot be understood. Get the pack again.")


def _refuseConstant(word: str) -> float:
    raise ValueError(word)


def _shown(text: str) -> str:
    """A file's name that Qt can show, also where it is no Unicode."""
    return text.encode("utf-8", "backslashreplace").decode()


def _backbone(folder: Path, manifest: Mapping[str, Any]) -> PackInfo:
    grid = manifest["grid"]
    untrained = [role for role, trained in manifest.get("trained", {}).items() if not trained]
    words = _("Untrained ({parts}): expect noise, not anatomy.").format(parts=", ".join(untrained))
    segmenter = manifest.get("segmenter_classes", ()) if "segmenter" in manifest["files"] else ()
    return PackInfo(
        name=manifest["name"],
        title=manifest["title"],
        state=READY,
        words=words if untrained else _("Ready."),
        attributes=tuple(map(_attribute, manifest.get("attributes", ()))),
        grid=GridInfo(tuple(grid["shape"]), tuple(tuple(map(float, row)) for row in grid["affine"])),
        segmenterClasses=tuple(_class(entry, index) for index, entry in enumerate(segmenter, start=1)),
        folder=folder,
        hasTypicalHead=bool(manifest["latent"].get("whitened")) and "autoencoder" not in untrained,
        sizeBytes=sum(file["size"] for file in manifest["files"].values()),
        licence=manifest["licence"]["name"],
    )


def _withControls(pack: PackInfo, controls: list[ControlInfo]) -> PackInfo:
    conditions: dict[str, ConditionInfo] = {}
    named = sorted((_withParts(control, pack) for control in controls), key=lambda control: control.simplicity)
    for control in named:
        for condition in control.conditions:
            conditions.setdefault(condition.name, condition)
    return replace(pack, controls=tuple(named), conditions=tuple(conditions.values()))


def _withParts(control: ControlInfo, pack: PackInfo) -> ControlInfo:
    """The control with the names of the segmenter's labels that its classes are made of."""
    names = {entry.value: entry.name for entry in pack.segmenterClasses}

    def named(entry: ClassInfo) -> ClassInfo:
        return replace(entry, parts=tuple(names[value] for value in entry.segmenter if value in names))

    conditions = [replace(c, classes=tuple(map(named, c.classes))) for c in control.conditions]
    return replace(control, conditions=tuple(conditions))


def _control(manifest: Mapping[str, Any]) -> ControlInfo:
    return ControlInfo(
        name=manifest["name"],
        givenTitle=manifest["title"],
        conditions=tuple(map(_condition, manifest["conditions"])),
        subsets=bool(manifest.get("subsets", False)),
        trained=all(manifest.get("trained", {}).values()),
    )


def _condition(entry: Mapping[str, Any]) -> ConditionInfo:
    raw = entry.get("classes") or ([entry["name"]] if entry["kind"] == "mask" else [])
    classes = tuple(_class(item, index) for index, item in enumerate(raw, start=1))
    return ConditionInfo(entry["name"], entry["kind"], classes, entry.get("description", ""))


def _class(entry: str | Mapping[str, Any], index: int) -> ClassInfo:
    fields: Mapping[str, Any] = {"name": entry} if isinstance(entry, str) else entry
    return ClassInfo(int(fields.get("value", index)), fields["name"], tuple(fields.get("segmenter", ())))


def _attribute(entry: Mapping[str, Any]) -> AttributeInfo:
    choices = sorted(entry.get("choices", {}).items(), key=lambda item: item[1])
    return AttributeInfo(
        name=entry["name"],
        title=entry.get("title", entry["name"]),
        unit=entry.get("unit", ""),
        low=entry.get("low"),
        high=entry.get("high"),
        choices=tuple(word for word, _raw in choices),
        default=float(entry.get("default", 0.5)),
        structures=tuple(entry.get("structures", ())),
    )


def _elsewhere() -> list[PackInfo]:
    return [_available(offer) for offer in offers() if offer.kind != CONTROL]


def _available(offer: PackOffer) -> PackInfo:
    words = _("Not here yet; needs {size}. Licence: {licence}.")
    return PackInfo(
        name=offer.name,
        title=offer.title,
        state=AVAILABLE,
        words=words.format(size=gigabytes(offer.sizeBytes), licence=offer.licence),
        sizeBytes=offer.sizeBytes,
        licence=offer.licence,
        page=offer.page,
    )
