"""In the section “Model”: the button that gets a model which is not here, and how far its download is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from vcm.packs.catalogue import CatalogueEntry
from vcm.protocol import Transfer

from VCMSlicerLib.engine.jobState import Failure, JobState
from VCMSlicerLib.models.modelDownload import DOWNLOADING, ModelDownload
from VCMSlicerLib.models.packInfo import READY
from VCMSlicerLib.models.packOffers import CONTROL, arrivedBytes, findOffer
from VCMSlicerLib.panels.context import LAST_PACK, PanelContext
from VCMSlicerLib.panels.dialogs.getModelDialog import Agreement, GetModelDialog
from VCMSlicerLib.panels.generatePanel import timeWords
from VCMSlicerLib.scene.parameters import setPreference

PROGRESS_STEPS = 1000


class DownloadPanel:
    """Gets what is chosen and not here. `refreshPacks` looks again which models there are; `onFailed` shows a failure.

    Nothing is asked of the network before the user has pressed *Download* under the licence.
    """

    def __init__(
        self,
        ui: Any,
        context: PanelContext,
        loadUi: Callable[[str], Any],
        *,
        refreshPacks: Callable[[], None],
        setUp: Callable[[Callable[[], None]], None],
        onFailed: Callable[[Failure], None],
    ) -> None:
        self.ui, self.context = ui, context
        self._loadUi, self._refreshPacks, self._setUp, self._onFailed = loadUi, refreshPacks, setUp, onFailed
        self._dialog: GetModelDialog | None = None
        self._then: Callable[[], None] | None = None
        self._shown = ui.downloadArea.visible = False
        self.download = ModelDownload(context.environment.workerCommand)
        ui.getModelButton.connect("clicked()", self.ask)
        ui.downloadCancelButton.connect("clicked()", self.download.client.cancel)
        self._release = self.download.onChanged(self.showProgress)

    @property
    def wanted(self) -> CatalogueEntry | None:
        """What is chosen, is not usable here, and can be had."""
        context = self.context
        named = context.parameters.packName if context.parameters is not None else ""
        pack = context.pack
        if pack is None or pack.state != READY:
            return findOffer(pack.name if pack is not None else named)
        steering = context.parameters.controlName if context.parameters is not None else ""
        return findOffer(steering) if steering and context.control is None else None

    @property
    def dialog(self) -> GetModelDialog:
        """The window with the terms, made when it is first needed."""
        if self._dialog is None:
            self._dialog = GetModelDialog(self._loadUi("GetModel"), slicer.util.mainWindow(), self.begin)
        return self._dialog

    def updateFromParameters(self) -> None:
        """Offer what is chosen and not here."""
        offer, button = self.wanted, self.ui.getModelButton
        button.visible = offer is not None and not self.download.busy
        if offer is not None:
            go = _("Go on getting {title}…") if arrivedBytes(offer) else _("Get {title}…")
            button.text = go.format(title=offer.title)
            ready = self.context.environment.ready
            tip = _("See its size and its licence first.")
            button.toolTip = tip if ready else _("Needs the computing packages, which are set up first.")
        self.showProgress()

    def showProgress(self) -> None:
        """How far the download is."""
        ui, download = self.ui, self.download
        # Not what the area itself says: in a module that is not open nothing is visible.
        if self._shown != download.busy:
            self._shown = ui.downloadArea.visible = download.busy
            self.context.announce()
        if not download.busy or download.offer is None:
            return
        ui.downloadLabel.text = f"{download.offer.title}: {progressWords(download)}"
        ui.downloadProgressBar.setRange(0, PROGRESS_STEPS if download.fraction > 0 else 0)
        ui.downloadProgressBar.value = round(PROGRESS_STEPS * download.fraction)
        ui.downloadCancelButton.enabled = download.client.state.canCancel

    def ask(self, then: Callable[[], None] | None = None) -> None:
        """Show the terms of what is wanted; `then` is what the user wants to do with it."""
        if not self.context.environment.ready:
            self._setUp(lambda: self.ask(then))
            return
        self._then = then
        if self.wanted is not None and not self.download.busy:
            self.dialog.open(self.wanted)

    def begin(self, agreement: Agreement) -> None:
        """Get it, as the user agreed to."""
        offer = agreement.offer
        self.download.start(
            offer,
            acceptedLicence=agreement.licence,
            source=agreement.source,
            acceptUnverified=agreement.unverified,
            force=any(pack.name == offer.name and pack.folder is not None for pack in self.context.packs),
            onDone=lambda names: self._onDone(offer, names),
            onFailed=self._onFailed,
        )
        self.context.announce()

    def cleanup(self) -> None:
        """The panel goes away; what has arrived stays."""
        self._release()
        self.download.shutdown()
        if self._dialog is not None:
            self._dialog.cleanup()

    def _onDone(self, offer: CatalogueEntry, names: tuple[str, ...]) -> None:
        """Choose what was got, unless the user has chosen another model meanwhile."""
        parameters = self.context.parameters
        if parameters is not None and offer.kind == CONTROL:
            if self.context.pack is not None and self.context.pack.name == offer.backbone:
                parameters.controlName = offer.name
        elif parameters is not None and parameters.packName in ("", offer.name):
            parameters.packName = offer.name
            setPreference(LAST_PACK, offer.name)
        self._refreshPacks()
        if self._then is not None and self.wanted is None:
            # The rows of the conditions are made anew at the next turn of the event loop, and first.
            qt.QTimer.singleShot(0, self._then)
        self._then = None


def progressWords(download: ModelDownload) -> str:
    """How far a download is, in a line."""
    if download.client.state is JobState.CANCELLING:
        return _("Cancelling…")
    if download.client.state is JobState.STARTING:
        return _("Starting…")
    if download.client.stage == DOWNLOADING and download.transfer is not None:
        return transferWords(download.transfer, download.client.secondsLeft)
    return f"{stepWords(download.client.stage)}…"


def transferWords(transfer: Transfer, secondsLeft: float | None) -> str:
    """Bytes, rate and time left in a line.

    >>> transferWords(Transfer("a", "f", 1_200_000_000, 2_265_000_000, 11_200_000.0), 115)
    '1.20 of 2.27 GB · 11.2 MB/s · about 2 min left'
    >>> transferWords(Transfer("a", "f", 1_200_000), None)
    '1.2 MB'
    """
    total = transfer.total_bytes
    unit, scale, digits = ("GB", 1e9, 2) if (total or transfer.done_bytes) >= 1e9 else ("MB", 1e6, 1)
    done = f"{transfer.done_bytes / scale:.{digits}f}"
    words = [f"{done} {unit}"]
    if total:
        words = [_("{done} of {total} {unit}").format(done=done, total=f"{total / scale:.{digits}f}", unit=unit)]
    if transfer.bytes_per_second is not None:
        words.append(_("{rate:.1f} MB/s").format(rate=transfer.bytes_per_second / 1e6))
    if secondsLeft is not None:
        words.append(timeWords(secondsLeft))
    return " · ".join(words)


def stepWords(step: str) -> str:
    """What the worker does with files that are here, in the user's words."""
    known = {
        "checking the files": _("Checking the files"),
        "reading the autoencoder": _("Reading the first file"),
        "reading the denoiser": _("Reading the second file"),
        "reading the control": _("Reading the file"),
        "writing the backbone": _("Installing"),
        "writing the control": _("Installing"),
        "installing": _("Installing"),
    }
    return known.get(step, _("Preparing"))
