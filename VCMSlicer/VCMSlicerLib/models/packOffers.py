"""The packs that can be had from elsewhere, as the engine's catalogue names them: what they need and their terms."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vcm.core.errors import VcmError
from vcm.packs.catalogue import CATALOGUE, CatalogueEntry, read_catalogue

from VCMSlicerLib.install.userFolders import packsFolder

CONTROL = "control"
WHILE_INSTALLED = 2
"""How many times its size a pack needs on the disk: the files that arrive, and the pack made of them."""


def offers() -> tuple[CatalogueEntry, ...]:
    """All packs of the catalogue, here already or not; none where it cannot be read."""
    try:
        return tuple(read_catalogue())
    except (VcmError, KeyError, TypeError):
        return ()


def findOffer(name: str) -> CatalogueEntry | None:
    """The pack of that name in the catalogue."""
    return next((offer for offer in offers() if offer.name == name), None)


def controlOffers(backbone: str, here: Iterable[str]) -> tuple[CatalogueEntry, ...]:
    """The controls for a model that could be had, but for those whose names are `here` already."""
    known = set(here)
    return tuple(o for o in offers() if o.kind == CONTROL and o.backbone == backbone and o.name not in known)


def arrivedBytes(offer: CatalogueEntry) -> int:
    """How much of it an earlier download has left, to go on from."""
    folder = packsFolder() / ".downloads" / offer.name
    try:
        return sum(file.stat().st_size for file in folder.iterdir() if file.suffix != ".json")
    except OSError:
        return 0


def neededBytes(offer: CatalogueEntry) -> int:
    """How much room its installation still needs on the disk, about."""
    return max(WHILE_INSTALLED * offer.expected_bytes - arrivedBytes(offer), 0)


def licenceText(offer: CatalogueEntry) -> str:
    """The whole text of its licence where that comes with the program, else empty."""
    name = offer.licence.name
    try:
        return (CATALOGUE.parent / "licences" / f"{name}.txt").read_text("utf-8") if Path(name).name == name else ""
    except OSError:
        return ""


def gigabytes(count: int) -> str:
    """Bytes as a person says them.

    >>> gigabytes(2_265_100_000), gigabytes(180_900_000)
    ('2.3 GB', '181 MB')
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
