"""A pack on its way to this computer: fetched or imported by a worker of its own, beside which Generate goes on."""

from __future__ import annotations

from collections.abc import Callable

from slicer.i18n import tr as _
from vcm.core.errors import Code
from vcm.packs.catalogue import CatalogueEntry
from vcm.protocol import GetPack, Message, PackObtained, Transfer

from VCMSlicerLib.engine.jobState import Failure
from VCMSlicerLib.engine.watchdog import Patience
from VCMSlicerLib.engine.workerClient import Outcome, WorkerClient
from VCMSlicerLib.engine.workerConnection import Command
from VCMSlicerLib.scene.observers import Observers, Remove, callOnce

CANCEL_SECONDS, LAST_SECONDS = 0.8, 1.0
DOWNLOADING = "downloading"

OnDone = Callable[[tuple[str, ...]], None]
OnFailed = Callable[[Failure], None]


class ModelDownload:
    """At most one pack at a time. The worker is started for it and ends with it; what has arrived stays when it is
    cancelled, and the next download of the same pack goes on from there."""

    def __init__(self, command: Command) -> None:
        self.offer: CatalogueEntry | None = None
        self.client = WorkerClient(command, Patience(cancel=CANCEL_SECONDS))
        self.transfer: Transfer | None = None
        self._changed = Observers()
        self.client.onMessage(self._hear)
        self.client.onChanged(lambda _state: self._changed.notify())

    @property
    def busy(self) -> bool:
        """Whether a pack is on its way."""
        return self.client.state.busy

    @property
    def fraction(self) -> float:
        """How much of the download has arrived, 0–1; 0 while that is not known."""
        return self.client.fraction if self.client.stage == DOWNLOADING else 0.0

    def onChanged(self, callback: Callable[[], None]) -> Remove:
        """Have `callback` called when anything here changes."""
        return self._changed.add(callback)

    def start(
        self,
        offer: CatalogueEntry,
        *,
        acceptedLicence: str = "",
        source: str | None = None,
        acceptUnverified: bool = False,
        force: bool = False,
        onDone: OnDone | None = None,
        onFailed: OnFailed | None = None,
    ) -> None:
        """Begin to get a pack, from the network or from `source`; `onDone` hears the names of what is installed then.

        The network is asked only if `source` is None and the licence's name was accepted.
        """
        self.offer, self.transfer = offer, None
        request = GetPack(
            self.client.newId(), offer.name, acceptedLicence, source, acceptUnverified, proxy=None, force=force
        )

        def ended(outcome: Outcome) -> None:
            self.client.shutdown()
            self._changed.notify()
            if isinstance(outcome, PackObtained):
                callOnce(onDone, outcome.packs)
            elif isinstance(outcome, Failure):
                callOnce(onFailed, inUsersWords(outcome))

        self.client.run(request, ended)

    def shutdown(self) -> None:
        """For the end of the application, and of the panel."""
        self.client.shutdown(LAST_SECONDS)

    def _hear(self, message: Message) -> None:
        if isinstance(message, Transfer):
            self.transfer = message
        self._changed.notify()


def inUsersWords(failure: Failure) -> Failure:
    """A failure with what helps in the panel; the engine speaks of options of its command line."""
    remedies = {
        Code.DOWNLOAD.value: _(
            "What has arrived is kept: try again and it goes on from there. Without internet, fetch the files "
            "elsewhere and choose “From a file…”. Behind a proxy, start Slicer with https_proxy set."
        ),
        Code.LICENCE.value: _("Read the licence and accept it."),
        Code.PACK_DAMAGED.value: _("Get the file again from the page that is named for it."),
        Code.PACK_MISSING.value: _("Get the model that it is for first."),
        Code.FILE_MISSING.value: _("Choose the file, or the folder that all files lie in."),
        Code.DISK_FULL.value: _("Free some space, or choose another folder for models in More."),
    }
    return Failure(failure.code, failure.sentence, remedies.get(failure.code, failure.remedy), failure.log)
