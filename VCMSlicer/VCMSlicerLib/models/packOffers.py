"""The packs that can be had from elsewhere: size, terms and files, as the engine's catalogue names them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from VCMSlicerLib.install.userFolders import packsFolder

CATALOGUE = Path(__file__).resolve().parents[2] / "vcm" / "packs" / "catalogue.json"
LICENCES = CATALOGUE.parent / "licences"
CONTROL = "control"
WHILE_INSTALLED = 2
"""How many times its size a pack needs on the disk: the files that arrive, and the pack made of them."""


@dataclass(frozen=True)
class PackOffer:
    """A pack of the catalogue. Only an `automatic` one is downloaded; of an `unverified` one no hash is known.

    `backbone` is the model that a control is for; `licenceText` is empty where only the summary is at hand.
    """

    name: str
    title: str
    description: str
    kind: str
    automatic: bool
    sizeBytes: int
    licence: str
    licenceUrl: str
    licenceSummary: str
    licenceText: str = ""
    mustAccept: bool = True
    unverified: bool = False
    backbone: str = ""
    page: str = ""
    fileNames: tuple[str, ...] = ()

    @property
    def arrivedBytes(self) -> int:
        """How much of it an earlier download has left, to go on from."""
        folder = packsFolder() / ".downloads" / self.name
        try:
            return sum(file.stat().st_size for file in folder.iterdir() if file.suffix != ".json")
        except OSError:
            return 0

    @property
    def neededBytes(self) -> int:
        """How much room its installation still needs on the disk, about."""
        return max(WHILE_INSTALLED * self.sizeBytes - self.arrivedBytes, 0)


def offers() -> tuple[PackOffer, ...]:
    """All packs of the catalogue, here already or not; none where it cannot be read."""
    try:
        return tuple(map(_offer, json.loads(CATALOGUE.read_text("utf-8"))["entries"]))
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def findOffer(name: str) -> PackOffer | None:
    """The pack of that name in the catalogue."""
    return next((offer for offer in offers() if offer.name == name), None)


def controlOffers(backbone: str, here: Iterable[str]) -> tuple[PackOffer, ...]:
    """The controls for a model that could be had, but for those whose names are `here` already."""
    known = set(here)
    return tuple(o for o in offers() if o.kind == CONTROL and o.backbone == backbone and o.name not in known)


def gigabytes(count: int) -> str:
    """Bytes as a person says them.

    >>> gigabytes(2_265_100_000), gigabytes(180_900_000)
    ('2.3 GB', '181 MB')
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _offer(entry: Mapping[str, Any]) -> PackOffer:
    files, licence = entry["files"], entry["licence"]
    return PackOffer(
        name=entry["name"],
        title=entry["title"],
        description=entry["description"],
        kind=entry["kind"],
        automatic=bool(entry["automatic"]),
        sizeBytes=sum(file.get("size") or file.get("about_bytes") or 0 for file in files),
        licence=licence["name"],
        licenceUrl=licence["url"],
        licenceSummary=licence["summary"],
        licenceText=_licenceText(licence["name"]),
        mustAccept=bool(licence["must_accept"]),
        unverified=any(not (file.get("sha256") or file.get("md5")) for file in files),
        backbone=entry.get("backbone") or "",
        page=entry.get("page", ""),
        fileNames=tuple(file["filename"] for file in files),
    )


def _licenceText(name: str) -> str:
    """The whole text of a licence that comes with the program."""
    if Path(name).name != name:
        return ""
    try:
        return (LICENCES / f"{name}.txt").read_text("utf-8")
    except OSError:
        return ""
