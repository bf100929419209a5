"""What a saved scene brings back: parameters, conditions, results; and the same image from the same scene."""

import numpy as np
import pytest
import slicer
from opened import home, inWorldOrder, opened, tinyPacks  # noqa: F401
from slicerStandIn.testing.eventLoop import processEvents
from VCMSlicerLib.scene.parameters import AttributeSetting, Quality


@pytest.fixture
def saved(opened):  # noqa: F811
    """A scene with unusual settings and one result, saved, closed and opened again."""
    opened.press(opened.ui.startDemoButton)
    opened.press(opened.ui.previewButton)
    opened.ui.seedBox.value = 4711
    opened.press(opened.ui.newSeedBox)
    opened.ui.sexBox = opened.panel.subject.rows["sex"].editor
    opened.parameters.setAttribute("age", AttributeSetting(71.0, True))
    opened.parameters.setAttribute("ventricular_volume", AttributeSetting(66.0, True))
    opened.parameters.setCondition("ventricles", _stronger(opened.parameters.condition("ventricles")))
    processEvents(0.1)
    (sample,) = opened.generate()
    before = inWorldOrder(sample).copy()
    path = opened.home / "case.mrb"
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(0)
    processEvents(0.2)
    assert opened.ui.resultsTable.rowCount == 0
    assert opened.parameters.seed != 4711
    slicer.util.loadScene(str(path))
    processEvents(0.4)
    return opened, before


def _stronger(setting):
    setting.strength = 1.3
    return setting


def test_a_saved_scene_brings_back_all_parameters_and_regenerates_the_image_bit_for_bit(saved):
    opened, before = saved  # noqa: F811
    parameters, ui = opened.parameters, opened.ui
    assert parameters.packName == "tiny"
    assert parameters.quality is Quality.PREVIEW and ui.previewButton.checked
    assert parameters.seed == 4712 and ui.seedBox.value == 4712, "a new seed each time was wanted"
    assert parameters.newSeedEachTime and ui.newSeedBox.checked
    assert parameters.attribute("age").value == 71.0
    assert opened.panel.subject.rows["age"].editor.value == 71.0
    assert opened.panel.subject.rows["ventricular_volume"].setBox.checked
    setting = parameters.condition("ventricles")
    assert setting.node.GetName() == "Demo case"
    assert setting.strength == pytest.approx(1.3)
    assert opened.row("ventricles").sourceBox.currentNode() is setting.node
    assert ui.generateButton.enabled, ui.generateButton.toolTip
    (restored,) = [row.node for row in opened.logic.results.rows()]
    assert np.array_equal(inWorldOrder(restored), before)
    ui.seedBox.value = 4711
    processEvents(0.05)
    (again,) = opened.generate()
    assert np.array_equal(inWorldOrder(again), before)


def test_a_restored_result_still_says_what_it_is_and_can_be_compared(saved):
    opened, _before = saved  # noqa: F811
    (row,) = opened.logic.results.rows()
    assert row.seed == 4711
    assert row.node.GetAttribute("VCMSlicer.Synthetic") == "true"
    assert "4711" in row.node.GetAttribute("VCMSlicer.Provenance")
    assert row.twin is not None
    opened.press(opened.ui.compareButton)
    processEvents(0.2)
    assert opened.panel.context.comparison.active
    view = slicer.app.layoutManager().sliceWidget("VCMUncontrolledCoronal")
    assert view.mrmlSliceCompositeNode().GetBackgroundVolumeID() == row.twin.GetID()
