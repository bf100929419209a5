"""What the sections of the panel share: the module's parts, the chosen model, and a word when it changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vcm.conditions.completable import completes, is_completed_unasked

from VCMSlicerLib.engine.workerClient import WorkerClient
from VCMSlicerLib.install.environment import Environment
from VCMSlicerLib.logicFacade import LogicFacade
from VCMSlicerLib.models.packCatalogue import DEFAULT_PACK
from VCMSlicerLib.models.packInfo import READY, ConditionInfo, ControlInfo, PackInfo
from VCMSlicerLib.results.comparison import Comparison
from VCMSlicerLib.results.overlay import Overlay
from VCMSlicerLib.results.results import Results
from VCMSlicerLib.scene.observers import Observers
from VCMSlicerLib.scene.parameters import preference

LAST_PACK = "pack"
GREEN, AMBER, RED, GREY = "green", "amber", "red", "grey"
COLORS = {GREEN: "#2e9e5b", AMBER: "#d98e04", RED: "#d0433b", GREY: "#8a8f94"}


@dataclass
class PanelContext:
    """`parameters` is None while there is no scene; everything else lives as long as the panel."""

    logic: LogicFacade
    client: WorkerClient
    environment: Environment
    results: Results
    comparison: Comparison
    overlay: Overlay = field(default_factory=Overlay)
    parameters: Any = None
    packs: tuple[PackInfo, ...] = ()
    changed: Observers = field(default_factory=Observers)

    @property
    def pack(self) -> PackInfo | None:
        """The model that is chosen; None where the scene names one that is not here.

        A scene that names none yet has the one that the user chose last.
        """
        byName = {pack.name: pack for pack in self.packs}
        named = self.parameters.packName if self.parameters is not None else ""
        if named:
            return byName.get(named)
        return byName.get(preference(LAST_PACK)) or byName.get(DEFAULT_PACK) or next(iter(self.packs), None)

    @property
    def readyPack(self) -> PackInfo | None:
        """The model that is chosen, if it can be used."""
        pack = self.pack
        return pack if pack is not None and pack.state == READY else None

    @property
    def control(self) -> ControlInfo | None:
        """What steers the model: the control that the scene names, else the model's own to begin with.

        None where the model has none, or the scene names one that is not here.
        """
        pack = self.readyPack
        if pack is None:
            return None
        named = self.parameters.controlName if self.parameters is not None else ""
        return pack.control(named) if named else pack.defaultControl

    @property
    def completes(self) -> bool:
        """Whether the rest of the head grows around what is drawn: by the chosen control, or by another in its place;
        by that alone where a condition has a strength of its own, which a completed head has not."""
        pack, control, parameters = self.readyPack, self.control, self.parameters
        if pack is None or control is None or parameters is None or not (pack.hasLayout and parameters.completeHead):
            return False
        used = [info for info in control.conditions if parameters.condition(info.name).enabled]
        plain = all(parameters.condition(info.name).strength == 1 for info in used)
        candidates = (control, *pack.controls) if plain else (control,)
        return is_completed_unasked(used) and any(completes(one, used) for one in candidates)

    @property
    def conditions(self) -> tuple[ConditionInfo, ...]:
        """What the control can be steered by."""
        control = self.control
        return control.conditions if control is not None else ()

    def announce(self) -> None:
        """Tell all sections to look again."""
        self.changed.notify()


def dot(level: str, words: str) -> str:
    """Words behind a coloured dot, as rich text; the colour says nothing that the words do not."""
    escaped = words.replace("&", "&amp;").replace("<", "&lt;")
    return f'<span style="color:{COLORS[level]}">●</span>&nbsp;{escaped}'
