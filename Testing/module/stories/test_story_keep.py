"""What a user keeps of a result, told by mouse: the overlay of asked and obtained, scores; nothing of a removed one."""

import csv
import sys

import pytest
import slicer
import vtk
from logicSetup import FAKE_WORKER
from opened import MODULE, Opened, home  # noqa: F401
from slicerStandIn.testing.eventLoop import processEvents
from VCMSlicerLib.install import environment


@pytest.fixture
def opened(home, monkeypatch, mainWindow, loadModule):  # noqa: F811
    """The module with what ships, and a worker that answers at once."""
    monkeypatch.setenv("VCM_PACKS", str(home / "no-packs"))
    monkeypatch.setattr(environment, "START_SCRIPT", FAKE_WORKER)
    module = loadModule(MODULE)
    slicer.util.selectModule("VCMSlicer")
    opened = Opened(module, mainWindow, home)
    opened.logic.environment.interpreter = sys.executable
    opened.choosePack("brainldm-mini")
    yield opened
    opened.client.shutdown()
    mainWindow.selectModule(None)


@pytest.fixture
def generated(opened):
    """An image made from a painted mask of the ventricles."""
    opened.parameters.controlName = "brainldm-mini-ventricles"
    opened.settle()
    opened.panel.conditions.startDemo()
    opened.settle()
    (node,) = opened.generate()
    return node


def chooseFrom(button, text):
    """Choose an entry of a button's menu."""
    entry = next(action for action in button.menu().actions() if action.text == text)
    entry.trigger()
    processEvents(0.1)


def segmentationsInSight():
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [node.GetName() for node in nodes if node.GetDisplayNode().GetVisibility()]


def test_overlay_another_look_and_back(opened, generated):
    ui = opened.ui
    before = segmentationsInSight()
    assert len(before) == 1, "the measured segmentation does not cover what was painted"
    opened.press(ui.overlayButton)
    (shown,) = segmentationsInSight()
    assert "asked and obtained" in shown and "ynthetic" in shown
    assert ui.overlayLegendLabel.isVisible()
    for word in ("agreed 3.4 ml", "missed 0.5 ml", "extra 0.5 ml"):
        assert word in ui.overlayLegendLabel.text
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetBackgroundVolumeID() == generated.GetID()
    opened.press(ui.compareButton)
    assert before[0] in segmentationsInSight() and not ui.overlayButton.checked
    assert not ui.overlayLegendLabel.isVisible()
    opened.press(ui.overlayButton)
    assert not ui.compareButton.checked and not opened.panel.context.comparison.active
    opened.press(ui.overlayButton)
    assert segmentationsInSight() == before and not ui.overlayButton.checked


def test_choosing_a_structure_lays_that_one_over(opened, generated):
    opened.press(opened.ui.overlayButton)
    opened.ui.structuresTable.selectRow(0)
    processEvents(0.1)
    assert "ventricles" in opened.panel.context.overlay.node.GetName()


def test_scores_as_charts_table_and_csv(opened, generated, dialogs, tmp_path):
    ui = opened.ui
    chooseFrom(ui.scoresButton, "Chart of volumes")
    selection = slicer.app.applicationLogic().GetSelectionNode()
    chart = slicer.mrmlScene.GetNodeByID(selection.GetActivePlotChartID())
    assert "volumes" in chart.GetTitle()
    dialogs.answer(str(tmp_path / "scores.csv"))
    chooseFrom(ui.scoresButton, "CSV of all images…")
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        (line,) = csv.DictReader(file)
    assert line["structure"] == "ventricles" and float(line["dice"]) == pytest.approx(0.86)
    chooseFrom(ui.scoresButton, "Table in the scene")
    assert [n for n in slicer.util.getNodesByClass("vtkMRMLTableNode") if not n.GetHideFromEditors()]


def test_a_removed_image_leaves_nothing_of_what_was_made_of_it(opened, generated, monkeypatch):
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *_words, **_more: True)
    opened.press(opened.ui.overlayButton)
    chooseFrom(opened.ui.scoresButton, "Chart of Dice")
    chooseFrom(opened.ui.scoresButton, "Table in the scene")
    opened.press(opened.ui.removeButton)
    left = [node.GetName() for node in slicer.util.getNodes("*", useLists=True).values() for node in node
            if node.GetAttribute("VCMSlicer.Run")]  # fmt: skip
    assert left == []
    assert len(segmentationsInSight()) == 1, "what was painted is in sight again"
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    items = vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    names = [hierarchy.GetItemName(items.GetId(index)) for index in range(items.GetNumberOfIds())]
    assert names and not [name for name in names if "ynthetic run" in name]
    assert not opened.ui.overlayButton.enabled and not opened.ui.overlayLegendLabel.isVisible()


def test_closing_the_scene_under_an_overlay_leaves_the_panel_in_order(opened, generated):
    opened.press(opened.ui.overlayButton)
    slicer.mrmlScene.Clear()
    opened.settle()
    assert not opened.ui.overlayButton.checked and not opened.ui.overlayLegendLabel.isVisible()
