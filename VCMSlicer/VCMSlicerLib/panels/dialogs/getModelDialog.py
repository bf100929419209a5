"""Shows what a model costs and under which terms it stands, before anything is asked of the network."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from vcm.packs.catalogue import CatalogueEntry

from VCMSlicerLib.install.installPlan import freeDisk
from VCMSlicerLib.install.userFolders import packsFolder
from VCMSlicerLib.models.packOffers import arrivedBytes, gigabytes, licenceText, neededBytes

WIDTH, TEXT_HEIGHT = 560, 180
HEIGHT, HEIGHT_WITH_TEXT = 400, 560


@dataclass(frozen=True)
class Agreement:
    """What the user agreed to: the licence by its name, and where the files come from; None is the network."""

    offer: CatalogueEntry
    licence: str
    source: str | None
    unverified: bool


class GetModelDialog:
    """One window for all models; `onAgreed` hears what the user chose in it."""

    def __init__(self, form: Any, parent: Any, onAgreed: Callable[[Agreement], None]) -> None:
        self._onAgreed = onAgreed
        self._offer: CatalogueEntry | None = None
        self.dialog = qt.QDialog(parent)
        self.dialog.setWindowTitle(_("Get a model"))
        self.dialog.objectName = "VCMSlicerGetModel"
        qt.QVBoxLayout(self.dialog).addWidget(form)
        self.ui = slicer.util.childWidgetVariables(form)
        self.ui.offerLicenceText.setMinimumHeight(TEXT_HEIGHT)
        self.ui.offerAcceptBox.connect("toggled(bool)", self._update)
        self.ui.offerTrustBox.connect("toggled(bool)", self._update)
        self.ui.offerDownloadButton.connect("clicked()", self._download)
        self.ui.offerFileButton.connect("clicked()", self._chooseFile)
        self.ui.offerCancelButton.connect("clicked()", self.close)

    def open(self, offer: CatalogueEntry) -> None:
        """Show the terms of a model; nothing is ticked yet."""
        self._offer, ui = offer, self.ui
        ui.offerTitleLabel.text = f"<b>{html.escape(offer.title)}</b><br>{html.escape(offer.description)}"
        ui.offerSizeLabel.text = sizeWords(offer, freeDisk(packsFolder()))
        ui.offerLicenceLabel.text = licenceWords(offer)
        ui.offerLicenceText.setPlainText(licenceText(offer))
        ui.offerLicenceText.visible = bool(licenceText(offer))
        ui.offerAcceptBox.text = acceptWords(offer)
        ui.offerAcceptBox.visible = offer.licence.must_accept
        ui.offerTrustBox.visible = bool(offer.unverifiable)
        ui.offerAcceptBox.checked = ui.offerTrustBox.checked = False
        ui.offerHintLabel.text = fileWords(offer)
        ui.offerDownloadButton.visible = offer.automatic
        ui.offerDownloadButton.text = _("Go on downloading") if arrivedBytes(offer) else _("Download")
        self._update()
        self.dialog.resize(WIDTH, HEIGHT_WITH_TEXT if licenceText(offer) else HEIGHT)
        self.dialog.show()
        self.dialog.raise_()

    def close(self) -> None:
        """Put it away."""
        self.dialog.hide()

    def cleanup(self) -> None:
        """The panel goes away."""
        self.dialog.hide()
        self.dialog.deleteLater()

    def _update(self, *_arguments: Any) -> None:
        ui, offer = self.ui, self._offer
        if offer is None:
            return
        unread = offer.licence.must_accept and not ui.offerAcceptBox.checked
        accept = _("Accept the terms first.") if unread else ""
        room = _("There is not enough room on the disk.") if neededBytes(offer) > freeDisk(packsFolder()) else ""
        untrusted = bool(offer.unverifiable) and not ui.offerTrustBox.checked
        trust = _("Say first that you trust the file.") if untrusted else ""
        ui.offerDownloadButton.enabled = not (accept or trust or room)
        ui.offerDownloadButton.toolTip = (
            accept or trust or room or _("Fetch the files from the address that is named above.")
        )
        ui.offerFileButton.enabled = not (accept or trust)
        ui.offerFileButton.toolTip = accept or trust or _("Take files that are on this computer already.")

    def _download(self) -> None:
        self._agree(None)

    def _chooseFile(self) -> None:
        offer, window = self._offer, slicer.util.mainWindow()
        assert offer is not None
        names = ", ".join(file.filename for file in offer.files)
        if len(offer.files) > 1:
            title = _("Choose the folder that holds {names}").format(names=names)
            path = qt.QFileDialog.getExistingDirectory(window, title)
        else:
            path = qt.QFileDialog.getOpenFileName(window, _("Choose {names}").format(names=names))
        if path:
            self._agree(str(path))

    def _agree(self, source: str | None) -> None:
        offer = self._offer
        assert offer is not None
        accepted = self.ui.offerAcceptBox.checked or not offer.licence.must_accept
        trusted = bool(offer.unverifiable) and self.ui.offerTrustBox.checked
        self.close()
        self._onAgreed(Agreement(offer, offer.licence.name if accepted else "", source, trusted))


def sizeWords(offer: CatalogueEntry, free: int) -> str:
    """What there is to download, and the room it takes."""
    size = gigabytes(offer.expected_bytes) if offer.expected_bytes else _("a file of unknown size")
    words = [_("Download: {size}.").format(size=size) if offer.automatic else _("File: {size}.").format(size=size)]
    if arrivedBytes(offer):
        words.append(_("{here} of it are here already.").format(here=gigabytes(arrivedBytes(offer))))
    needed = _("While it is installed it needs {needed} on the disk, which has {free} free.")
    words.append(needed.format(needed=gigabytes(neededBytes(offer)), free=gigabytes(free)))
    return " ".join(words)


def licenceWords(offer: CatalogueEntry) -> str:
    """The licence's name and what it says in short, as rich text."""
    name = html.escape(offer.licence.name)
    if offer.licence.url:
        name = f'<a href="{html.escape(offer.licence.url)}">{name}</a>'
    return f"<b>{_('Licence:')}</b> {name}. {html.escape(offer.licence.summary)}"


def acceptWords(offer: CatalogueEntry) -> str:
    """What the user says by a tick."""
    if offer.automatic:
        return _("I have read the licence and accept it")
    return _("I have read this, and have asked the authors or am only trying it out")


def fileWords(offer: CatalogueEntry) -> str:
    """Where to get the files by hand, as rich text."""
    names = ", ".join(html.escape(file.filename) for file in offer.files)
    page = f'<a href="{html.escape(offer.page)}">{html.escape(offer.page)}</a>' if offer.page else ""
    if not offer.automatic:
        words = _("VCMSlicer does not download this file. Fetch {names} yourself from {page} and choose it here.")
    else:
        words = _("Without internet: fetch {names} elsewhere, from {page}, and choose them here.")
    return words.format(names=names, page=page) if page else ""
