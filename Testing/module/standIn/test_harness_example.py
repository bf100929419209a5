"""The harness shown on a module of its own (Testing/harness/example): a user paints, presses the button, looks."""

from pathlib import Path

import numpy as np
import slicer
from slicerStandIn.testing.mouse import click, strokeRAS
from slicerStandIn.testing.screenshots import saveScreenshot

EXAMPLE = Path(__file__).parents[2] / "harness" / "example" / "Brighten" / "Brighten.py"


def test_what_was_painted_is_brightened_and_nothing_else(loadModule, mainWindow, tmp_path):
    values = np.arange(20 * 30 * 40, dtype=np.float32).reshape(20, 30, 40)
    image = slicer.util.addVolumeFromArray(values, np.diag([-2.0, -2.0, 3.0, 1.0]), "Image")
    mask = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mask")
    module = loadModule(EXAMPLE)
    mainWindow.selectModule(module)
    ui = module.widgetRepresentation().self().ui
    ui.maskSelector.setCurrentNode(mask)
    slicer.util.setSliceViewerLayers(background=image, fit=True)
    red = slicer.app.layoutManager().sliceWidget("Red")
    red.mrmlSliceNode().JumpSlice(-20, -20, 12)

    for button in ("Add", "Paint"):
        click(ui.segmentEditor.findChild("QPushButton", f"{button}Button"))
    strokeRAS(red, [(-30, -40, 12), (-50, -40, 12), (-50, -30, 12)])
    ui.amountSlider.value = 55
    click(ui.applyButton)

    after = slicer.util.arrayFromVolume(image)
    k, _, i = np.nonzero(after - values)
    assert set(k) == {4}  # the slice at 12 mm, and only that one
    assert i.min() >= 14 and i.max() <= 26 and after[4, 20, 15] == values[4, 20, 15] + 55
    assert saveScreenshot(mainWindow, tmp_path / "brightened.png").stat().st_size > 10_000


def test_the_button_waits_for_a_mask(loadModule, scene):
    slicer.util.addVolumeFromArray(np.zeros((3, 4, 5), np.float32))
    widget = loadModule(EXAMPLE).widgetRepresentation()
    widget.enter()
    assert not widget.self().ui.applyButton.enabled
    widget.self().ui.maskSelector.addNode()
    assert widget.self().ui.applyButton.enabled


def test_a_closed_scene_leaves_the_panel_usable(loadModule, scene):
    image = slicer.util.addVolumeFromArray(np.zeros((3, 4, 5), np.float32))
    widget = loadModule(EXAMPLE).widgetRepresentation()
    widget.enter()
    assert widget.self().parameters.image is image
    slicer.mrmlScene.Clear()
    assert widget.self().parameters.image is None
    again = slicer.util.addVolumeFromArray(np.zeros((3, 4, 5), np.float32))
    assert widget.self().ui.imageSelector.currentNode() is again


def test_the_modules_own_test_runs(loadModule):
    loadModule(EXAMPLE)
    slicer.modules.BrightenInstance.runTest()
