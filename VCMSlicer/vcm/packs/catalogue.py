"""The catalogue: which packs can be had from elsewhere, under which terms, with which hashes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vcm.core.errors import Code, VcmError
from vcm.packs.schema import check_schema, read_document

CATALOGUE = Path(__file__).with_name("catalogue.json")
SCHEMA = "catalogue.schema.json"
WHOLE_PACK = "pack"
"""The role of a file that is a finished pack, as `vcm.packs.archive` writes it, and is not imported."""


@dataclass(frozen=True)
class CatalogueLicence:
    """The terms of an entry, in short, and whether they must be accepted first."""

    name: str
    url: str
    summary: str
    must_accept: bool


@dataclass(frozen=True)
class CatalogueFile:
    """One published file. Without `sha256` and `md5` nobody can tell whether it is the right one."""

    role: str
    filename: str
    also_called: tuple[str, ...] = ()
    url: str | None = None
    size: int | None = None
    about_bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None

    @property
    def digest(self) -> tuple[str, str] | None:
        """Kind and value of the best hash that is known."""
        if self.sha256:
            return "sha256", self.sha256
        return ("md5", self.md5) if self.md5 else None

    @property
    def expected_bytes(self) -> int:
        """The size, or about that, or 0 where nothing is known."""
        return self.size or self.about_bytes or 0


@dataclass(frozen=True)
class CatalogueEntry:
    """A pack that can be made from published files; only `automatic` ones are ever downloaded by the program.

    `family` is that of a backbone whose files are read in the family's own way.
    """

    name: str
    title: str
    description: str
    kind: str
    automatic: bool
    licence: CatalogueLicence
    files: tuple[CatalogueFile, ...]
    backbone: str | None = None
    page: str = ""
    family: str = ""
    config: Mapping[str, Any] | None = None

    @property
    def expected_bytes(self) -> int:
        """About how much there is to download."""
        return sum(file.expected_bytes for file in self.files)

    @property
    def unverifiable(self) -> tuple[CatalogueFile, ...]:
        """The files of which no hash is known."""
        return tuple(file for file in self.files if file.digest is None)


def read_catalogue(path: Path | None = None) -> list[CatalogueEntry]:
    """The checked entries of a catalogue, by default the program's own.

    >>> [entry.name for entry in read_catalogue()]
    ['brainldm', 'vcm-semantics', 'mr-brain']
    """
    path = path or CATALOGUE
    content = read_document(path)
    check_schema(content, SCHEMA, str(path))
    return [_entry(raw, path) for raw in content["entries"]]


def find_entry(name: str, path: Path | None = None) -> CatalogueEntry:
    """The catalogue's entry of that name; another name is refused with what comes close."""
    entries = {entry.name: entry for entry in read_catalogue(path)}
    if name in entries:
        return entries[name]
    close = difflib.get_close_matches(name, entries, n=2, cutoff=0.4)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    raise VcmError(
        Code.PACK_MISSING,
        f"The catalogue has no pack {name}.{hint}",
        f"It has: {', '.join(entries)}.",
    )


def _entry(raw: Mapping[str, Any], path: Path) -> CatalogueEntry:
    files = tuple(CatalogueFile(**{**file, "also_called": tuple(file.get("also_called", ()))}) for file in raw["files"])
    wanted = ["autoencoder", "denoiser"] if raw["kind"] == "backbone" else ["control"]
    roles = sorted(file.role for file in files)
    if roles not in (wanted, [WHOLE_PACK]):
        needs = " and ".join(wanted)
        raise VcmError(
            Code.PACK_INVALID,
            f"In {path}, the {raw['kind']} {raw['name']} needs a file for {needs}, or one for the whole pack.",
        )
    if raw["automatic"] and not all(file.url for file in files):
        raise VcmError(
            Code.PACK_INVALID,
            f"In {path}, {raw['name']} is to be downloaded automatically, but a file lacks its address.",
        )
    if raw["automatic"] and not all(file.digest or (file.url or "").startswith("https://") for file in files):
        raise VcmError(
            Code.PACK_INVALID,
            f"In {path}, {raw['name']} is to be downloaded automatically, but a file has no hash, and an address that "
            "is not https.",
        )
    return CatalogueEntry(**{**raw, "licence": CatalogueLicence(**raw["licence"]), "files": files})
