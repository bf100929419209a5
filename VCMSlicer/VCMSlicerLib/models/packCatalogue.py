"""Which models there are and what each accepts, as the engine reads their manifests; no worker is needed for it."""

from __future__ import annotations

import os
from pathlib import Path

from slicer.i18n import tr as _
from vcm.core.errors import Code
from vcm.core.plain_text import plain
from vcm.packs.manifest import BackboneManifest
from vcm.packs.store import DEFAULT_BACKBONE, InstalledPack, Pack, controls_for, layouts_for, list_packs

from VCMSlicerLib.install.userFolders import packsFolder
from VCMSlicerLib.models.packInfo import AVAILABLE, BROKEN, READY, USUAL_STEPS, ConditionInfo, ControlInfo, PackInfo
from VCMSlicerLib.models.packOffers import CONTROL, gigabytes, offers
from VCMSlicerLib.scene.parameters import preference

DEFAULT_PACK = DEFAULT_BACKBONE
PACKS_FOLDER = "packsFolder"
"""The preference that names it."""


def useChosenFolder() -> None:
    """Have the models sought in the folder that the user has chosen for them, from the start of each session on."""
    if (chosen := preference(PACKS_FOLDER)) and not os.environ.get("VCM_PACKS"):
        os.environ["VCM_PACKS"] = chosen


def listPacks(folder: Path | None = None) -> tuple[PackInfo, ...]:
    """The embedded models, the user's, then those that can be had from elsewhere."""
    entries = list_packs(folder or packsFolder())
    shown = [entry for entry in entries if entry.pack is None or isinstance(entry.pack.manifest, BackboneManifest)]
    here = [_broken(entry) if entry.pack is None else _ready(entry.pack, entries) for entry in shown]
    names = {pack.name for pack in here}
    words = _("Not here yet; needs {size}. Licence: {licence}.")
    elsewhere = [
        PackInfo(
            name=offer.name,
            title=offer.title,
            state=AVAILABLE,
            words=words.format(size=gigabytes(offer.expected_bytes), licence=offer.licence.name),
            sizeBytes=offer.expected_bytes,
            licence=offer.licence.name,
        )
        for offer in offers()
        if offer.kind != CONTROL and offer.name not in names
    ]
    return (*here, *elsewhere)


def findPack(name: str, folder: Path | None = None) -> PackInfo | None:
    """The model of that name, here or to be had."""
    return next((pack for pack in listPacks(folder) if pack.name == name), None)


def _broken(entry: InstalledPack) -> PackInfo:
    problem = entry.problem
    assert problem is not None
    # The engine's remedy for a damaged pack is a command.
    remedy = _("Get the pack again.") if problem.code is Code.PACK_DAMAGED else problem.remedy
    words = plain(f"{problem.sentence} {remedy}".strip())
    return PackInfo(plain(entry.name), plain(entry.folder.name), BROKEN, words, folder=entry.folder)


def _ready(pack: Pack, entries: list[InstalledPack]) -> PackInfo:
    manifest = pack.backbone
    labelNames = {entry.value: entry.name for entry in manifest.segmenter_classes}
    controls = [_control(control, labelNames) for control in controls_for(pack, entries)]
    words = _("Untrained ({parts}): expect noise, not anatomy.").format(parts=", ".join(manifest.untrained))
    return PackInfo(
        name=manifest.name,
        title=manifest.title,
        state=READY,
        words=words if manifest.untrained else _("Ready."),
        attributes=manifest.attributes,
        grid=manifest.grid,
        controls=tuple(sorted(controls, key=lambda control: control.simplicity)),
        hasSegmenter=bool(manifest.segmenter_classes),
        folder=pack.folder,
        hasTypicalHead=manifest.latent.whitened and "autoencoder" not in manifest.untrained,
        sizeBytes=manifest.size,
        licence=manifest.licence.name,
        contrast=manifest.contrast,
        sampling=(manifest.sampling.sampler, manifest.sampling.steps or USUAL_STEPS),
        hasLayout=bool(layouts_for(pack, entries)),
    )


def _control(pack: Pack, labelNames: dict[int, str]) -> ControlInfo:
    manifest = pack.control
    conditions = tuple(ConditionInfo(**vars(spec), labelNames=labelNames) for spec in manifest.conditions)
    return ControlInfo(manifest.name, manifest.title, conditions, manifest.subsets, not manifest.untrained)
