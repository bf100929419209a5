"""Walk through the module in a running Slicer and leave a report with times and screenshots.

    Slicer --no-splash --python-script Testing/rehearsal.py --out FOLDER [--python PYTHON | --wheels FOLDER]

`--python` names an interpreter that has the engine's packages. Without it the module's own Set up installs them, from
the folder of `--wheels` where there is no network. With `--stay`, Slicer stays open at the end. The exit code is 1 if
a step failed. What a person has to judge (the brush, colours, themes) stays in the checklist of Testing/README.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
from vtk import vtkMatrix4x4
from vtk.util.numpy_support import vtk_to_numpy

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "VCMSlicer"
TEMPLATE_HEAD = MODULE / "Resources" / "Template" / "head.nii.gz"
DEFAULT_PACK = "brainldm-mini"
HEAD_CENTRE = (0.0, -11.5, 16.5)
PATIENCE = 1800.0


@dataclass
class Step:
    """One line of the report."""

    name: str
    passed: bool
    seconds: float
    notes: dict[str, Any] = field(default_factory=dict)
    screenshot: str = ""
    failure: str = ""


class Rehearsal:
    """The steps in their order; a step that needs one that failed is not tried."""

    def __init__(
        self, out: Path, python: str = "", wheels: str = "", pack: str = "", patience: float = PATIENCE
    ) -> None:
        self.out, self.python, self.wheels, self.pack, self.patience = out, python, wheels, pack, patience
        self.steps: list[Step] = []
        self.uncaught: list[str] = []
        self._image: np.ndarray | None = None
        out.mkdir(parents=True, exist_ok=True)

    @property
    def passed(self) -> bool:
        """Whether every step was tried and passed."""
        return bool(self.steps) and all(step.passed for step in self.steps)

    def run(self) -> bool:
        """Take all steps, and write the report after each."""
        hook, sys.excepthook = sys.excepthook, self._onUncaught
        try:
            for name, step in self._plan():
                if not self._take(name, step) and step in (self.open, self.provideEngine, self.demoCase):
                    break
        finally:
            sys.excepthook = hook
        return self.passed

    def _plan(self) -> list[tuple[str, Callable[[], dict[str, Any]]]]:
        return [
            ("The module opens", self.open),
            ("The engine is set up", self.provideEngine),
            ("The demo case is loaded", self.demoCase),
            ("Painting changes the segment", self.paint),
            ("A run is cancelled at half", self.cancel),
            ("An image is generated", self.generate),
            ("Compare shows both images, and goes back", self.compare),
            ("The scene is saved, closed and opened again", self.reopen),
            ("The same scene gives the same image", self.regenerate),
            ("A result is removed", self.remove),
            ("A tilted scan is registered and segmented", self.tiltedScan),
            ("The module's own tests pass", self.selfTest),
            ("The worker is gone when the module is left", self.shutDown),
        ]

    # The steps

    def open(self) -> dict[str, Any]:
        """Slicer finds the module, makes its panel and shows it."""
        slicer.util.selectModule("VCMSlicer")
        self.settle()
        assert self.panel is not None, "the module has no panel: see the Python console"
        assert self.ui.generateButton.visible, "the button Generate is not visible"
        return {"slicer": f"{slicer.app.majorVersion}.{slicer.app.minorVersion}", "system": platform.platform()}

    def provideEngine(self) -> dict[str, Any]:
        """Take the Python given, or set one up as the button does."""
        environment = self.logic.environment
        if self.python:
            environment.interpreter = self.python
        elif not environment.ready:
            ends: list[Any] = []
            environment.install(environment.plan(wheels=self.wheels or None), ends.append)
            self.wait(lambda: bool(ends), "the end of the installation")
            assert ends[0] is None, ends[0]
        ends = []
        environment.verify(ends.append)
        self.wait(lambda: bool(ends), "the check of the engine")
        assert ends[0] is None, ends[0]
        return {"python": environment.interpreter or environment.python(), "versions": dict(environment.versions)}

    def demoCase(self) -> dict[str, Any]:
        """Press the demo's button; a segmentation and a head are in the scene and in the views."""
        if self.pack:
            self.panel.context.parameters.packName = self.pack
            self.settle()
        self.ui.startDemoButton.click()
        self.settle(1.0)
        segmentation = self.segmentationNode()
        assert segmentation is not None, "no segmentation came into the scene"
        assert self.ui.generateButton.enabled, self.ui.generateButton.toolTip
        return {"segments": segmentation.GetSegmentation().GetNumberOfSegments()}

    def paint(self) -> dict[str, Any]:
        """Add a ball to the first segment through the segment editor's own logic, as its effects do."""
        segmentation = self.segmentationNode()
        segmentID = segmentation.GetSegmentation().GetNthSegmentID(0)
        before = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segmentID).sum()
        logic = slicer.vtkSlicerSegmentEditorLogic()
        logic.SetMRMLScene(slicer.mrmlScene)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode", "Rehearsal")
        logic.SetSegmentEditorNode(node)
        node.SetAndObserveSegmentationNode(segmentation)
        node.SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteNone)
        node.SetSelectedSegmentID(segmentID)
        source = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
        node.SetAndObserveSourceVolumeNode(source)
        assert logic.ResetModifierLabelmapToDefault(), "the editor's logic has no labelmap to paint into"
        labelmap = logic.GetModifierLabelmap()
        _fillBall(labelmap, radius=6.0)
        logic.SaveStateForUndo()
        logic.ModifySegmentByLabelmap(segmentation, segmentID, labelmap, logic.ModificationModeAdd, False, False)
        slicer.mrmlScene.RemoveNode(node)
        self.settle(0.5)
        after = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segmentID).sum()
        assert after > before, f"the segment has {after} voxels after painting and had {before}"
        return {"voxels before": int(before), "voxels after": int(after)}

    def cancel(self) -> dict[str, Any]:
        """Begin, and cancel once the image forms; the panel is as before and no result is there."""
        self.ui.generateButton.click()
        self.wait(lambda: self.client.fraction > 0.3 or not self.client.state.busy, "the first steps")
        assert self.client.state.busy, f"the run ended before it could be cancelled: {self.client.failure}"
        began = time.monotonic()
        self.ui.generateButton.click()
        self.wait(lambda: not self.client.state.busy, "the end of the cancelled run", 30)
        self.settle(0.5)
        assert self.rows() == [], "a cancelled run left a result"
        return {"seconds to cancel": round(time.monotonic() - began, 2)}

    def generate(self) -> dict[str, Any]:
        """Generate; the result follows the mask and says that it is synthetic."""
        row = self.generateOne()
        self._image = slicer.util.arrayFromVolume(row.node).copy()
        assert row.node.GetAttribute("VCMSlicer.Synthetic") == "true", "the image does not say that it is synthetic"
        assert "synthetic" in row.node.GetName().lower(), row.node.GetName()
        assert np.isfinite(self._image).all() and self._image.std() > 0.01, "the image is empty"
        return {"name": row.node.GetName(), "dice": row.dice, "dice without control": row.diceWithout}

    def compare(self) -> dict[str, Any]:
        """Compare opens its own layout on both images; pressing it again brings the old one back."""
        layouts = slicer.app.layoutManager()
        before = layouts.layout
        self.ui.compareButton.click()
        self.settle(1.0)
        names = [name for name in layouts.sliceViewNames() if name.startswith("VCM")]
        picture = self.screenshot("compare-open")
        self.ui.compareButton.click()
        self.settle(0.5)
        assert names, "no view of the comparison was opened"
        assert layouts.layout == before, f"the layout is {layouts.layout} and was {before}"
        return {"views": names, "picture": picture}

    def reopen(self) -> dict[str, Any]:
        """Save as .mrb, close, read it again: the settings, the result and its scores are back."""
        path = self.out / "rehearsal.mrb"
        seed = self.panel.context.parameters.seed
        assert slicer.util.saveScene(str(path)), "the scene could not be saved"
        slicer.mrmlScene.Clear(0)
        self.settle(0.5)
        assert self.rows() == [], "results are still listed after the scene was closed"
        slicer.util.loadScene(str(path))
        self.settle(1.0)
        assert len(self.rows()) == 1, f"{len(self.rows())} results are back"
        assert self.panel.context.parameters.seed == seed, "the seed is another"
        return {"megabytes": round(path.stat().st_size / 1e6, 1)}

    def regenerate(self) -> dict[str, Any]:
        """Generate with what the scene brought back: the same image, bit for bit."""
        again = slicer.util.arrayFromVolume(self.generateOne().node)
        assert self._image is not None, "there is no image to compare with"
        assert _inOneOrder(again, self._image), "the image is another"
        return {"voxels": int(again.size)}

    def remove(self) -> dict[str, Any]:
        """Remove the newest result as its button does, after the question that a person answers; all of it goes."""
        from VCMSlicerLib.results.resultRemoval import removeResult

        before, nodes = len(self.rows()), slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
        removeResult(self.rows()[-1].node)
        self.settle(0.5)
        assert len(self.rows()) == before - 1, f"{len(self.rows())} results are listed, {before} were"
        left = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
        assert left < nodes, "no volume left the scene"
        return {"volumes": f"{nodes} → {left}"}

    def tiltedScan(self) -> dict[str, Any]:
        """Lay the typical head by 30 degrees and 40 mm, as a patient may lie; its registration takes that back, but for
        the 1 degree and 4 mm by which it lies off the mean of heads."""
        from VCMSlicerLib.conditions.scanRegistration import registrationOf

        self.panel.context.parameters.packName = DEFAULT_PACK
        self.settle()
        volume = slicer.util.loadVolume(str(TEMPLATE_HEAD), properties={"name": "Tilted scan (synthetic)"})
        tilt = _tilt()
        matrix = vtkMatrix4x4()
        volume.GetIJKToRASMatrix(matrix)
        volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(tilt @ slicer.util.arrayFromVTKMatrix(matrix)))
        self.panel.conditions.startFromScan(volume)
        self.wait(lambda: not self.client.state.busy, "the registration")
        self.settle(0.5)
        assert self.client.failure is None, self.client.failure
        transform = registrationOf(volume)
        assert transform is not None, "no registration was offered"
        left = slicer.util.arrayFromTransformMatrix(transform) @ tilt
        degrees = float(np.degrees(np.arccos(np.clip((np.trace(left[:3, :3]) - 1) / 2, -1, 1))))
        millimetres = float(np.linalg.norm((left @ [*HEAD_CENTRE, 1])[:3] - HEAD_CENTRE))
        assert degrees < 3 and millimetres < 6, f"{degrees:.2f} degrees and {millimetres:.2f} mm are left of the tilt"
        picture = self.screenshot("registration-offered")
        before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
        self.panel.conditions.registration.accept()
        self.wait(lambda: not self.client.state.busy, "the segmentation of the scan")
        self.settle(0.5)
        assert self.client.failure is None, self.client.failure
        assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == before + 1, "no segmentation"
        assert registrationOf(self.segmentationNode()) is transform, "the segmentation does not lie with its scan"
        return {"degrees left": round(degrees, 2), "mm left": round(millimetres, 2), "picture": picture}

    def selfTest(self) -> dict[str, Any]:
        """What Reload and Test runs."""
        from VCMSlicer import VCMSlicerTest

        VCMSlicerTest().runTest()
        return {}

    def shutDown(self) -> dict[str, Any]:
        """End the worker as the end of Slicer does; no process stays."""
        pid = self.client.workerPid
        self.logic.shutdown()
        self.settle(0.5)
        if pid:
            assert not _alive(pid), f"the worker's process {pid} is still there"
        assert self.uncaught == [], f"errors that nobody caught: {self.uncaught}"
        return {"worker": pid}

    # What the steps share

    @property
    def panel(self) -> Any:
        return slicer.modules.vcmslicer.widgetRepresentation().self().panel

    @property
    def ui(self) -> Any:
        return self.panel.ui

    @property
    def logic(self) -> Any:
        return slicer.modules.vcmslicer.widgetRepresentation().self().logic

    @property
    def client(self) -> Any:
        return self.logic.client

    def rows(self) -> list[Any]:
        """The results of the scene."""
        return list(self.logic.results.rows())

    def segmentationNode(self) -> Any:
        """The segmentation that was made last."""
        nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        return nodes[-1] if nodes else None

    def generateOne(self) -> Any:
        """Press Generate and wait for one more result."""
        before = len(self.rows())
        assert self.ui.generateButton.enabled, self.ui.generateButton.toolTip
        self.ui.generateButton.click()
        self.wait(lambda: not self.client.state.busy, "the image")
        self.settle(0.5)
        assert self.client.failure is None, self.client.failure
        assert len(self.rows()) == before + 1, f"{len(self.rows())} results are listed, {before} were"
        return self.rows()[-1]

    def settle(self, seconds: float = 0.2) -> None:
        """Let Slicer draw and the panel follow."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            slicer.app.processEvents()
            time.sleep(0.01)

    def wait(self, condition: Callable[[], bool], what: str, patience: float | None = None) -> None:
        """Run Slicer's event loop until it is so."""
        until = time.monotonic() + (patience or self.patience)
        while not condition():
            assert time.monotonic() < until, f"{what} did not come in time"
            slicer.app.processEvents()
            time.sleep(0.01)

    def screenshot(self, name: str) -> str:
        """A picture of the whole window, where there is one."""
        window = slicer.util.mainWindow()
        if window is None:
            return ""
        path = self.out / f"{len(self.steps) + 1:02d}-{name}.png"
        return path.name if window.grab().save(str(path)) else ""

    def _take(self, name: str, step: Callable[[], dict[str, Any]]) -> bool:
        began, notes, failure = time.monotonic(), {}, ""
        try:
            notes = step() or {}
        except Exception as error:
            failure = f"{error}" or type(error).__name__
            notes = {"traceback": traceback.format_exc()}
        seconds = round(time.monotonic() - began, 2)
        picture = self.screenshot(step.__name__)
        self.steps.append(Step(name, not failure, seconds, notes, picture, failure))
        print(f"{'passed' if not failure else 'FAILED'}  {name}  ({seconds} s)  {failure}", flush=True)
        self._write()
        return not failure

    def _write(self) -> None:
        content = {"passed": self.passed, "steps": [vars(step) for step in self.steps]}
        (self.out / "report.json").write_text(json.dumps(content, indent=2, default=str), "utf-8")
        lines = ["# Rehearsal in Slicer", "", "| | step | seconds | |", "|---|---|---|---|"]
        for step in self.steps:
            said = step.failure.replace("|", "/").replace("\n", " ") or ", ".join(
                f"{k}: {v}" for k, v in step.notes.items()
            )
            lines.append(f"| {'☑' if step.passed else '☒'} | {step.name} | {step.seconds} | {said[:300]} |")
        pictures = [f"![{step.name}]({step.screenshot})" for step in self.steps if step.screenshot]
        (self.out / "report.md").write_text("\n".join([*lines, "", *pictures, ""]), "utf-8")

    def _onUncaught(self, kind: type, error: BaseException, trace: Any) -> None:
        self.uncaught.append("".join(traceback.format_exception(kind, error, trace))[-2000:])


def _fillBall(labelmap: Any, radius: float) -> None:
    """Set 1 in a ball of so many voxels around the middle of an oriented image."""
    extent = labelmap.GetExtent()
    if extent[1] < extent[0] or labelmap.GetPointData().GetScalars() is None:
        raise AssertionError(f"the labelmap is empty: {extent}")
    shape = [extent[2 * axis + 1] - extent[2 * axis] + 1 for axis in (2, 1, 0)]
    array = vtk_to_numpy(labelmap.GetPointData().GetScalars()).reshape(shape)
    middle = [size / 2 for size in shape]
    distance = sum((index - at) ** 2 for index, at in zip(np.ogrid[tuple(map(slice, shape))], middle, strict=True))
    array[distance <= radius**2] = 1
    labelmap.GetPointData().GetScalars().Modified()
    labelmap.Modified()


def _tilt() -> np.ndarray:
    """30 degrees about an oblique axis, and 40 mm away."""
    x, y, z = np.array([2.0, 1.0, -1.0]) / np.sqrt(6)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(30)
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    matrix[:3, 3] = (24.0, -32.0, 0.0)
    return matrix


def _inOneOrder(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays hold the same voxels, also where reading a file has turned axes over."""
    if one.shape != other.shape:
        return False
    flips = ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))
    return any(np.array_equal(np.flip(one, axes), other) for axes in flips)


def _alive(pid: int) -> bool:
    import os

    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def main(arguments: list[str]) -> int:
    """Load the module where Slicer does not have it, take the steps, and give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the folder for report and screenshots")
    parser.add_argument("--python", default="", help="an interpreter that has the engine's packages")
    parser.add_argument("--wheels", default="", help="a folder of packages, where there is no network")
    parser.add_argument("--pack", default="", help="the model; by default the panel's own choice")
    parser.add_argument("--stay", action="store_true", help="leave Slicer open")
    options = parser.parse_args(arguments)
    if not hasattr(slicer.modules, "vcmslicer"):
        sys.path.insert(0, str(MODULE))
        factory = slicer.app.moduleManager().factoryManager()
        factory.registerModule(qt.QFileInfo(str(MODULE / "VCMSlicer.py")))
        factory.loadModules(["VCMSlicer"])
    rehearsal = Rehearsal(options.out.resolve(), options.python, options.wheels, options.pack)
    passed = rehearsal.run()
    print(f"{sum(step.passed for step in rehearsal.steps)} of {len(rehearsal._plan())} steps passed: {options.out}")
    if not options.stay:
        slicer.util.exit(slicer.util.EXIT_SUCCESS if passed else slicer.util.EXIT_FAILURE)
    return 0 if passed else 1


if __name__ == "__main__":
    main(sys.argv[1:])
