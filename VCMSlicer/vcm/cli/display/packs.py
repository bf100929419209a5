"""How packs are shown on the terminal: tables and JSON on stdout, progress on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vcm.cli.display.terminal import SafeConsole
from vcm.core.plain_text import plain

if TYPE_CHECKING:
    from vcm.core.grid import Grid
    from vcm.packs.catalogue import CatalogueEntry
    from vcm.packs.store import InstalledPack, Pack


def installed_facts(entry: InstalledPack) -> dict[str, Any]:
    """An installed pack, usable or not, as JSON for machines."""
    facts: dict[str, Any] = {"name": entry.name, "installed": True, "folder": str(entry.folder)}
    if entry.pack is None:
        return facts | {"problem": entry.problem.as_dict() if entry.problem else None}
    manifest = entry.pack.manifest
    facts |= {"kind": manifest.kind, "title": manifest.title, "version": manifest.version}
    facts |= {"bytes": manifest.size, "embedded": entry.pack.embedded, "untrained": list(manifest.untrained)}
    return facts | {"backbone": _steers(entry.pack) or None, "problem": None}


def available_facts(entry: CatalogueEntry) -> dict[str, Any]:
    """A pack that could be installed, as JSON for machines."""
    return {
        "name": entry.name,
        "installed": False,
        "kind": entry.kind,
        "title": entry.title,
        "description": entry.description,
        "bytes": entry.expected_bytes,
        "backbone": entry.backbone,
        "licence": entry.licence.name,
        "terms": entry.licence.summary,
        "page": entry.page,
        "get": how_to_get(entry),
    }


def pack_details(pack: Pack) -> dict[str, Any]:
    """What a person wants to know of a pack beyond the list."""
    from vcm.packs.manifest import BackboneManifest, LayoutManifest
    from vcm.packs.store import controls_for, layouts_for

    manifest = pack.manifest
    facts: dict[str, Any] = {"description": manifest.description}
    facts["licence"] = " ".join(filter(None, (manifest.licence.name, manifest.licence.url, manifest.licence.note)))
    if eight := [role for role, file in manifest.files.items() if file.eight_bits]:
        facts["weights"] = f"8 bits per channel: {', '.join(sorted(eight))}"
    if isinstance(manifest, BackboneManifest):
        facts["grid"] = _grid_in_words(manifest.grid)
        facts |= {"sizes": manifest.sizes.words} if manifest.sizes else {}
        if steps := manifest.sampling.steps:
            facts["sampling"] = f"{steps} steps of {manifest.sampling.sampler}"
        if scale := manifest.intensity:
            facts["intensities"] = f"{scale.low:g} to {scale.high:g} {scale.unit}"
        facts |= {"contrast": manifest.contrast} if manifest.contrast else {}
        facts["attributes"] = [f"{spec.name} ({spec.scale})" for spec in manifest.attributes]
        facts["controls"] = [control.name for control in controls_for(pack)]
        facts |= {"layouts": names} if (names := [layout.name for layout in layouts_for(pack)]) else {}
    elif isinstance(manifest, LayoutManifest):
        facts["grid"] = _grid_in_words(manifest.grid)
        facts["labels"] = [f"{c.value} {c.name}" for c in manifest.classes]
        facts["attributes"] = [f"{spec.name} ({spec.scale})" for spec in manifest.attributes]
        facts["sampling"] = f"{manifest.sampling.steps} steps of {manifest.sampling.sampler}"
    else:
        facts["conditions"] = [
            f"{spec.name} ({spec.kind.value}: {', '.join(f'{c.value} {c.name}' for c in spec.classes)})"
            for spec in manifest.conditions
        ]
    return facts


def installed_row(entry: InstalledPack) -> tuple[str, str, str, str, str]:
    """A line of the list: name, kind, backbone it steers, size, state."""
    if entry.pack is None:
        return plain(entry.name), "", "", "", plain(f"unusable: {entry.problem.sentence if entry.problem else ''}")
    manifest = entry.pack.manifest
    state = "comes with the program" if entry.pack.embedded else "ready"
    if manifest.untrained:
        state += f"; NOT TRAINED: {', '.join(manifest.untrained)}"
    return entry.name, manifest.kind, _steers(entry.pack), size_in_words(manifest.size), state


def _steers(pack: Pack) -> str:
    from vcm.packs.manifest import ControlManifest, LayoutManifest

    if isinstance(pack.manifest, LayoutManifest):
        return ", ".join(pack.manifest.backbones)
    return pack.manifest.backbone.name if isinstance(pack.manifest, ControlManifest) else ""


def _grid_in_words(grid: Grid) -> str:
    sizes, spacing = " × ".join(map(str, grid.shape)), " × ".join(f"{mm:g}" for mm in grid.spacing)
    return f"{sizes} voxels, {grid.orientation}, spacing {spacing} mm"


def how_to_get(entry: CatalogueEntry) -> str:
    """The command that installs a pack of the catalogue."""
    return f"vcm packs get {entry.name}" + ("" if entry.automatic else " --from FILE")


def size_in_words(count: int) -> str:
    """Bytes in the unit a person would choose.

    >>> size_in_words(2_210_000_000)
    '2.2 GB'
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def in_words(value: Any) -> str:
    """A value of JSON as a cell of a table."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "\n".join(plain(str(entry)) for entry in value) or "none"
    return "none" if value is None or value == "" else plain(str(value))


def print_table(titles: tuple[str, ...], rows: list[Any]) -> None:
    """A table of plain texts on stdout; nothing in them is taken for markup."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    SafeConsole().print(table)


@contextmanager
def status_line(doing: str) -> Iterator[Any]:
    """A line on stderr that says what is going on, for as long as it does."""
    from rich.text import Text

    with SafeConsole(stderr=True).status(Text(plain(f"{doing} …"))) as status:
        yield lambda step: status.update(Text(plain(f"{doing}: {step} …")))


@contextmanager
def download_bars() -> Iterator[Any]:
    """A bar for each file that is downloaded, on stderr, and a line for each step after that."""
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
    )
    tasks: dict[str, bars.TaskID] = {}
    with bars.Progress(*columns, console=SafeConsole(stderr=True)) as progress:

        def on_bytes(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total)
            progress.update(tasks[name], completed=done, total=total)

        yield (lambda step: progress.console.print(plain(f"{step} …"))), on_bytes
