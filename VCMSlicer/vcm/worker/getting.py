"""A pack of the catalogue, downloaded or taken from a file here, with its progress reported to the client."""

from __future__ import annotations

from pathlib import Path

from vcm.core.progress import TransferMeter
from vcm.packs.acquiring import Consent, acquire
from vcm.packs.catalogue import CatalogueEntry, find_entry
from vcm.protocol import GetPack, PackObtained
from vcm.worker.contract import Call

DOWNLOADING = "downloading"


def get_pack(request: GetPack, call: Call) -> PackObtained:
    """Install a pack; nothing is asked of the network unless the licence by its name was accepted."""
    entry = find_entry(request.name)
    licence = not entry.licence.must_accept or request.accepted_licence == entry.licence.name
    downloads = _Downloads(entry, call)

    def begin(step: str) -> None:
        call.stop_if_cancelled()
        call.progress(step, fraction=downloads.fraction)

    packs = acquire(
        entry,
        Consent(licence, request.accept_unverified),
        given=Path(request.source) if request.source is not None else None,
        proxy=request.proxy,
        force=request.force,
        on_step=begin,
        progress=downloads.hear,
        cancelled=call.cancelled,
    )
    return PackObtained(request.id, tuple(pack.name for pack in packs))


class _Downloads:
    """The files of an entry that are fetched one after the other, as one transfer."""

    def __init__(self, entry: CatalogueEntry, call: Call) -> None:
        self.fraction = 0.0
        self._call = call
        self._totals = {file.filename: file.expected_bytes for file in entry.files}
        self._done = dict.fromkeys(self._totals, 0)
        self._meter = TransferMeter()

    def hear(self, name: str, done: int, total: int | None) -> None:
        """Report the progress to the client, unless that was done a moment ago."""
        self._done[name] = done
        self._totals[name] = max(total or self._totals[name], done)
        # Files before this one are here, whether they were fetched now or earlier.
        for earlier in list(self._done)[: list(self._done).index(name)]:
            self._done[earlier] = self._totals[earlier]
        done_bytes, total_bytes = sum(self._done.values()), sum(self._totals.values())
        rate = self._meter.at(done_bytes, total_bytes)
        if rate is None:
            return
        self.fraction = done_bytes / total_bytes if total_bytes else 0.0
        self._call.transfer(name, done_bytes, total_bytes or None, rate.bytes_per_second)
        self._call.progress(
            DOWNLOADING, done_bytes, total_bytes, fraction=self.fraction, seconds_left=rate.seconds_left
        )
