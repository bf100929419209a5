"""The section “Model”: which model, its state, where it computes, and whether all is there that Generate needs."""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from vcm.protocol import Machine, Preflight, Ready

from VCMSlicerLib.engine.jobState import Failure
from VCMSlicerLib.install.nvidiaCards import hasNvidiaDriver
from VCMSlicerLib.install.torchBuild import CPU, InstalledTorch, installedTorch
from VCMSlicerLib.install.userFolders import packsFolder
from VCMSlicerLib.models.packCatalogue import PACKS_FOLDER, listPacks
from VCMSlicerLib.models.packInfo import AVAILABLE, BROKEN, READY, ControlInfo, PackInfo
from VCMSlicerLib.models.packOffers import controlOffers, findOffer, gigabytes
from VCMSlicerLib.panels.context import AMBER, GREEN, GREY, LAST_PACK, RED, PanelContext, dot
from VCMSlicerLib.panels.dialogs.menus import Entry, makeMenu
from VCMSlicerLib.preflight import Level, worst
from VCMSlicerLib.scene.parameters import preference, setPreference

DEVICE = "device"
PERCENT = 100


class ModelPanel:
    """Fills the section from the packs and the environment; sets the parameter `packName`."""

    def __init__(self, ui: Any, context: PanelContext) -> None:
        self.ui, self.context = ui, context
        self.machine: Machine | None = None
        self._wasReady: bool | None = None
        for name, words in (("auto", _("Automatic")), ("cuda", _("Graphics card")), ("cpu", _("Processor"))):
            ui.deviceBox.addItem(words, name)
        self.chooseDevice(preference(DEVICE, "auto"))
        ui.modelBox.connect("activated(int)", self._onModelChosen)
        ui.controlBox.connect("activated(int)", self._onControlChosen)
        ui.deviceBox.connect("activated(int)", self._onDeviceChosen)
        ui.setUpButton.connect("clicked()", self._setUpAgain)
        ui.setUpCancelButton.connect("clicked()", context.environment.cancel)
        makeMenu(ui.moreButton, self._menuEntries())
        environment, client = context.environment, context.client
        self._releases = [environment.onChanged(self._onEnvironmentChanged), client.onMessage(self._onMessage)]

    def cleanup(self) -> None:
        """Stop listening."""
        for release in self._releases:
            release()

    @property
    def device(self) -> str:
        """Where to compute, as the worker names it."""
        return self.ui.deviceBox.itemData(self.ui.deviceBox.currentIndex) or "auto"

    def chooseDevice(self, name: str) -> None:
        """Compute there from now on."""
        self.ui.deviceBox.setCurrentIndex(max(0, self.ui.deviceBox.findData(name)))
        setPreference(DEVICE, name)

    def refreshPacks(self) -> None:
        """Look again which models there are."""
        self.context.packs = listPacks()
        self.context.announce()

    def updateFromParameters(self) -> None:
        """Show the models, the chosen one's state, and the preflight."""
        ui, pack = self.ui, self.context.pack
        wanted = pack.name if pack is not None else self.context.parameters.packName if self.context.parameters else ""
        names = [entry.name for entry in self.context.packs]
        ui.modelBox.clear()
        for entry in self.context.packs:
            ui.modelBox.addItem(entry.title, entry.name)
        if wanted and wanted not in names:
            ui.modelBox.addItem(wanted, wanted)
        ui.modelBox.setCurrentIndex(max(0, ui.modelBox.findData(wanted)))
        ui.modelStateLabel.text = stateWords(pack, wanted)
        busy = self.context.client.state.busy
        ui.modelBox.enabled = ui.deviceBox.enabled = not busy
        self._showControls(busy)
        self.updatePreflight()

    def _showControls(self, busy: bool) -> None:
        """The controls of the model, and what the chosen one takes."""
        ui, pack, control = self.ui, self.context.readyPack, self.context.control
        controls = pack.controls if pack is not None else ()
        named = self.context.parameters.controlName if self.context.parameters is not None else ""
        ui.controlBox.clear()
        for index, entry in enumerate(controls):
            ui.controlBox.addItem(entry.title, entry.name)
            ui.controlBox.setItemData(index, entry.inWords(), qt.Qt.ToolTipRole)
        offered = controlOffers(pack.name, [entry.name for entry in controls]) if pack is not None else ()
        for offer in offered:
            ui.controlBox.addItem(_("{title} (not here yet)").format(title=offer.title), offer.name)
            ui.controlBox.setItemData(ui.controlBox.count - 1, offer.description, qt.Qt.ToolTipRole)
        if pack is not None and named and control is None and named not in [offer.name for offer in offered]:
            ui.controlBox.addItem(named, named)
        ui.controlBox.setCurrentIndex(max(0, ui.controlBox.findData(control.name if control is not None else named)))
        ui.controlBox.enabled = not busy and ui.controlBox.count > 1
        ui.controlBox.toolTip = controlsWords(controls)
        for widget in (ui.controlLabel, ui.controlBox, ui.controlStateLabel):
            widget.visible = ui.controlBox.count > 0
        ui.controlStateLabel.text = controlWords(control, named)

    def updatePreflight(self) -> None:
        """Say in one line whether all is there; the tooltip has every light."""
        ui, environment = self.ui, self.context.environment
        items = environment.preflight(self.machine, self.context.pack, self.device)
        level = worst(items)
        words = (
            [item.words for item in items if item.level is level]
            if level is not Level.GREEN
            else [_("Ready to compute.")]
        )
        self._fold(environment.ready and not environment.busy and level is not Level.RED)
        ui.preflightLabel.text = dot(level.value, environment.stateWords() if environment.busy else " ".join(words))
        ui.preflightLabel.toolTip = "<br>".join(dot(item.level.value, f"{item.name}: {item.words}") for item in items)
        ui.setUpButton.visible = not environment.ready and not environment.busy
        ui.setUpProgress.visible = environment.busy
        ui.setUpProgressBar.setRange(0, PERCENT if environment.fraction > 0 else 0)
        ui.setUpProgressBar.value = round(PERCENT * environment.fraction)

    def _fold(self, ready: bool) -> None:
        """Fold the section when all is there, and unfold it when something is missing; in between it is the user's."""
        if ready != self._wasReady:
            self._wasReady = self.ui.modelSection.collapsed = ready
        pack, control = self.context.readyPack, self.context.control
        chosen = [entry.title for entry in (pack, control) if entry is not None]
        self.ui.modelSection.text = _("Model: {names}").format(names=" · ".join(chosen)) if ready else _("Model")

    def setUp(self, wheels: Path | None = None, then: Callable[[], None] | None = None) -> None:
        """Install the computing packages, after the user saw what and how much; `then` is what they wanted to do."""
        environment, title = self.context.environment, _("Set up VCMSlicer")
        plan = environment.plan(wheels)
        present = installedTorch() if wheels is None else None
        if present is not None and present.usable and slicer.util.confirmYesNoDisplay(sharingWords(present), title):
            plan = environment.plan(shared=present)
        failure = environment.whyNot(plan)
        if failure is not None:
            self._tell(failure)
        elif slicer.util.confirmOkCancelDisplay(plan.words, title):
            self.context.client.shutdown()  # it would go on with packages that are being replaced
            environment.install(plan, lambda failure: self._onInstalled(failure, then))

    def chooseModelFolder(self) -> None:
        """Let the user name the folder of a pack, and use it from where it is."""
        title = _("Choose the folder of a model (it holds manifest.json)")
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title, str(packsFolder()))
        if folder:
            self.useModelFolder(Path(folder))

    def useModelFolder(self, folder: Path) -> None:
        """Look for models in that folder from now on; a pack's own folder stands for the one around it."""
        home = folder.parent if (folder / "manifest.json").is_file() else folder
        os.environ["VCM_PACKS"] = str(home)
        setPreference(PACKS_FOLDER, str(home))
        self.context.client.shutdown()
        self.refreshPacks()

    def choosePython(self) -> None:
        """Let the user name an interpreter that has the packages."""
        path = qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), _("Choose a Python interpreter"))
        if path:
            self.context.environment.interpreter = path
            self.context.client.shutdown()
            self.context.announce()

    def _useOwnPackages(self) -> None:
        self.context.environment.interpreter = ""
        self.context.client.shutdown()
        self.context.announce()

    def _menuEntries(self) -> tuple[Entry, ...]:
        return (
            (_("Check the packages"), _("Load every computing package and compute a little with it."), self._verify),
            (
                _("Look at this computer"),
                _("Look for graphics cards, memory and disk."),
                self._lookAtComputer,
            ),
            (_("Install…"), _("Install the computing packages again, or for another graphics card."), self._setUpAgain),
            (
                _("Install from a folder…"),
                _("Install from a folder of wheels, without internet."),
                self._installFromFolder,
            ),
            (_("Use another Python…"), _("Use an interpreter that already has the packages."), self.choosePython),
            (
                _("Use the module's own packages"),
                _("Leave the Python that was chosen, and use the packages that were installed here."),
                self._useOwnPackages,
            ),
            (_("Remove the packages…"), _("Delete the folder that the packages were installed into."), self._remove),
            (
                _("Choose models’ folder…"),
                _("Use models from another folder of this computer."),
                self.chooseModelFolder,
            ),
            (_("Look for models again"), _("Read the folders of models again."), self.refreshPacks),
            (
                _("Save a report for support…"),
                _("Versions, settings and log in one file; no patient data."),
                self._saveBundle,
            ),
        )

    def _lookAtComputer(self) -> None:
        self.context.client.ask(Preflight(self.context.client.newId()))

    def _verify(self) -> None:
        self.context.environment.verify(self._onInstalled)

    def _setUpAgain(self) -> None:
        self.setUp()

    def _installFromFolder(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Choose the folder of wheels"))
        if folder:
            self.setUp(Path(folder))

    def _remove(self) -> None:
        words = _("The computing packages of VCMSlicer will be deleted. Models and results stay. Continue?")
        if slicer.util.confirmOkCancelDisplay(words, _("Remove the packages")):
            self.context.client.shutdown()
            self._tell(self.context.environment.remove())

    def _saveBundle(self) -> None:
        path = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), _("Save a report for support"), "VCMSlicer-report.zip", "ZIP (*.zip)"
        )
        if path:
            self.context.environment.diagnosticBundle(path, self.context.client.log, self.machine, self.context.pack)

    def _onInstalled(self, failure: Failure | None, then: Callable[[], None] | None = None) -> None:
        if not self.context.client.state.busy:
            self.context.client.shutdown()
        problem = self.context.environment.deviceProblem
        slower = _("The processor will do it, slower. A newer driver may help.")
        self._tell(failure if failure is not None or not problem else Failure("DEVICE", problem, slower))
        self.context.announce()
        if failure is None and then is not None:
            then()

    def _tell(self, failure: Failure | None) -> None:
        if failure is not None and failure.code != "CANCELLED":
            # Slicer writes the word None where there is no log.
            more = {"detailedText": failure.log} if failure.log else {}
            slicer.util.errorDisplay(str(failure), _("Computing packages"), **more)

    def _onModelChosen(self, index: int) -> None:
        name = self.ui.modelBox.itemData(index)
        setPreference(LAST_PACK, name)
        self.context.parameters.packName = name
        self.context.parameters.controlName = ""
        self.context.announce()

    def _onControlChosen(self, index: int) -> None:
        self.context.parameters.controlName = self.ui.controlBox.itemData(index)
        self.context.announce()

    def _onDeviceChosen(self, index: int) -> None:
        setPreference(DEVICE, self.ui.deviceBox.itemData(index))
        self.context.announce()

    def _onEnvironmentChanged(self) -> None:
        self.context.announce()

    def _onMessage(self, message: Any) -> None:
        if isinstance(message, Ready):
            self._lookAtComputer()
        elif isinstance(message, Machine):
            self.machine = message
            self.context.announce()


def sharingWords(present: InstalledTorch) -> str:
    """What is asked where Slicer has a PyTorch already."""
    words = _(
        "PyTorch {version} is in Slicer already, such as from the extension PyTorch. Use it? Then less is downloaded. "
        "If not, VCMSlicer gets the version of its own that it is tested with."
    )
    if present.processor == CPU and hasNvidiaDriver():
        words += " " + _("The one in Slicer does not use the graphics card.")
    return words.format(version=present.version)


def stateWords(pack: PackInfo | None, name: str = "") -> str:
    """The state of a model in one line of rich text."""
    if pack is None:
        missing = _("The model {name} of this scene is not on this computer.").format(name=name)
        return dot(RED, missing if name else _("There is no model on this computer."))
    if pack.state == READY and pack.grid is not None:
        i, j, k = pack.grid.shape
        size = round(max(pack.grid.spacing), 2)
        words = _("{words} {i} × {j} × {k} voxels of {size:g} mm · {licence}")
        level = GREEN if pack.words == _("Ready.") else AMBER
        return dot(level, words.format(words=pack.words, i=i, j=j, k=k, size=size, licence=pack.licence))
    return dot({AVAILABLE: GREY, BROKEN: RED}[pack.state], pack.words)


def controlWords(control: ControlInfo | None, name: str = "") -> str:
    """What a control takes, in one line of rich text."""
    if control is None:
        offer = findOffer(name) if name else None
        if offer is not None:
            words = _("Not here yet; needs {size}. Licence: {licence}.")
            return dot(GREY, words.format(size=gigabytes(offer.expected_bytes), licence=offer.licence.name))
        return dot(RED, _("{name}, which this scene names, is not on this computer.").format(name=name)) if name else ""
    if not control.trained:
        return dot(AMBER, " ".join([_("Untrained: the image will not follow it."), control.inWords()]))
    return dot(GREEN, control.inWords())


def controlsWords(controls: Iterable[ControlInfo]) -> str:
    """A list of controls with what each takes, as rich text."""
    lines = [_("What the image can be made to follow. Each choice takes conditions of its own.")]
    lines += [f"<b>{html.escape(entry.title)}</b>: {html.escape(entry.inWords())}" for entry in controls]
    return "<br>".join(lines)
