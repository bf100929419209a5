"""`slicer.modules` and the modules of Slicer itself that others call by their logic."""

from typing import Any

import slicer


class CoreModule:
    """A module of which there is the logic only, such as `slicer.modules.volumes`."""

    def __init__(self, name: str, logic: Any) -> None:
        self.name = self.title = name
        self._logic = logic

    def logic(self) -> Any:
        return self._logic

    def widgetRepresentation(self) -> None:
        raise RuntimeError(f"the stand-in has no panel of the module {self.name}; it has its logic")


class SequencesModule(CoreModule):
    """Sequences has a toolbar besides, which plays the active browser."""

    def __init__(self, logic: Any) -> None:
        super().__init__("Sequences", logic)
        self._toolBar = SequenceToolBar()
        self.autoShowToolBar = True

    def toolBar(self) -> "SequenceToolBar":
        return self._toolBar

    def showSequenceBrowser(self, browser: Any) -> None:
        self._toolBar.setActiveBrowserNode(browser)


class SequenceToolBar:
    """Remembers the browser it would play, by ID, so that a closed scene leaves nothing behind."""

    def __init__(self) -> None:
        self._browserID = ""

    def setActiveBrowserNode(self, browser: Any) -> None:
        self._browserID = browser.GetID() if browser else ""

    def activeBrowserNode(self) -> Any:
        return slicer.mrmlScene.GetNodeByID(self._browserID) if self._browserID else None


class Modules:
    """The attributes of `slicer.modules`: a module by its lower-case name, a panel as `<Name>Widget`."""

    def __init__(self, moduleLogics: dict[str, Any]) -> None:
        for name, logic in moduleLogics.items():
            module = SequencesModule(logic) if name == "Sequences" else CoreModule(name, logic)
            setattr(self, name.lower(), module)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"slicer.modules has no {name!r}: load the module first, or the stand-in lacks it")
