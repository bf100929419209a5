"""The module opened as a user opens it: its panel, its scene, and a real worker over tiny models."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from slicerStandIn.testing.eventLoop import processEvents, waitUntil
from slicerStandIn.testing.mouse import click, reveal, strokeRAS

TESTING = Path(__file__).resolve().parents[2]
MODULE = TESTING.parent / "VCMSlicer" / "VCMSlicer.py"
PATIENCE = 90


@dataclass
class Opened:
    """The panel and what a test does with it."""

    module: Any
    window: Any
    home: Path

    @property
    def widget(self) -> Any:
        return self.module.widgetRepresentation().self()

    @property
    def panel(self) -> Any:
        return self.widget.panel

    @property
    def ui(self) -> Any:
        return self.panel.ui

    @property
    def logic(self) -> Any:
        return self.widget.logic

    @property
    def client(self) -> Any:
        return self.logic.client

    @property
    def parameters(self) -> Any:
        return self.panel.context.parameters

    def choosePack(self, name: str) -> None:
        """Choose a model in its box, as a user does."""
        box = self.ui.modelBox
        box.setCurrentIndex(box.findData(name))
        box.activated.emit(box.currentIndex)
        processEvents(0.05)

    def row(self, name: str) -> Any:
        return self.panel.conditions.rows[name].ui

    def press(self, widget: Any) -> None:
        """Scroll to a control and click it."""
        reveal(widget)
        click(widget)
        processEvents(0.05)

    def settle(self) -> None:
        """Let the panel look at what was changed, however busy the machine is."""
        processEvents(0.05)
        waitUntil(lambda: not (self.panel.conditions._timer.active or self.panel._later.active), 30, "the panel")
        processEvents(0.05)

    def generate(self, patience: float = PATIENCE) -> list[Any]:
        """Press Generate and wait; returns the new Samples."""
        before = len(self.logic.results.rows())
        self.press(self.ui.generateButton)
        try:
            waitUntil(lambda: not self.client.state.busy, patience, "the end of the job")
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {self.client.state}, the worker said:\n{self.client.log}") from error
        processEvents(0.1)
        assert self.client.failure is None, f"{self.client.failure}\n{self.client.log}"
        return [row.node for row in self.logic.results.rows()[before:]]

    def paint(self, points: list[tuple[float, float, float]], view: str = "Red", diameter: float = 9.0) -> None:
        """Choose Paint with a ball of so many mm and draw a stroke through `points` (RAS mm) in a slice view."""
        widget = slicer.app.layoutManager().sliceWidget(view)
        widget.mrmlSliceNode().JumpSlice(*points[0])
        processEvents(0.1)
        self.ui.editor.setActiveEffectByName("Paint")
        effect = self.ui.editor.effectByName("Paint")
        for name, value in (("BrushSphere", 1), ("BrushDiameterIsRelative", 0), ("BrushAbsoluteDiameter", diameter)):
            effect.setCommonParameter(name, value)
        processEvents(0.05)
        strokeRAS(widget, points)
        self.ui.editor.setActiveEffectByName("")
        self.settle()


def inWorldOrder(node: Any) -> np.ndarray:
    """Voxels from left, posterior, inferior on, in whichever order they are kept: reading a file may turn them over."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    backwards = [axis for axis in range(3) if matrix.GetElement(2 - axis, 2 - axis) < 0]
    return np.flip(slicer.util.arrayFromVolume(node), backwards)


@pytest.fixture(scope="session")
def tinyPacks(tmp_path_factory) -> Path:
    """A folder with a backbone and a control of random weights."""
    sys.path.append(str(TESTING / "engine" / "support"))
    import tiny

    folder = tmp_path_factory.mktemp("tiny") / "packs"
    tiny.write_packs(folder)
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A data folder of the test's own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


@pytest.fixture
def opened(home, tinyPacks, monkeypatch, mainWindow, loadModule):
    """The module in the main window with the tiny model and this Python for its worker."""
    monkeypatch.setenv("VCM_PACKS", str(tinyPacks))
    yield from _open(home, mainWindow, loadModule, "tiny")


@pytest.fixture
def openedPlain(home, monkeypatch, mainWindow, loadModule):
    """The module with what ships, and no environment."""
    monkeypatch.setenv("VCM_PACKS", str(home / "no-packs"))
    yield from _open(home, mainWindow, loadModule, "", interpreter="")


def _open(home, mainWindow, loadModule, pack, interpreter=sys.executable):
    module = loadModule(MODULE)
    slicer.util.selectModule("VCMSlicer")
    opened = Opened(module, mainWindow, home)
    if interpreter:
        opened.logic.environment.interpreter = interpreter
    if pack:
        opened.choosePack(pack)
    processEvents(0.1)
    yield opened
    opened.client.shutdown()
    mainWindow.selectModule(None)
