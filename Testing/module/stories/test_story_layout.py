"""The user draws the ventricles alone: the rest of the head grows around them, can be seen, edited and used again."""

import json

import numpy as np
import pytest
import slicer
from opened import _open, home, tinyPacks  # noqa: F401
from severalControls import writeSeveralControls
from slicerStandIn.testing.eventLoop import processEvents
from VCMSlicerLib.panels.editorPanel import volumeUnder
from VCMSlicerLib.panels.results.scoreTables import measuredWords
from VCMSlicerLib.results.resultRemoval import removeResult
from VCMSlicerLib.results.results import row


@pytest.fixture(scope="session")
def packsWithLayout(tinyPacks, tmp_path_factory):  # noqa: F811
    folder = writeSeveralControls(tinyPacks, tmp_path_factory.mktemp("layout") / "packs")
    import tiny_layout
    from vcm.core.grid import Grid

    grid = json.loads((folder / "tiny" / "manifest.json").read_text("utf-8"))["grid"]
    tiny_layout.write_layout(folder / "tiny-layout", grid=Grid(grid["shape"], grid["affine"]))
    return folder


@pytest.fixture
def completing(home, packsWithLayout, monkeypatch, mainWindow, loadModule):  # noqa: F811
    monkeypatch.setenv("VCM_PACKS", str(packsWithLayout))
    yield from _open(home, mainWindow, loadModule, "tiny")


def layoutOf(sample):
    return sample.GetNodeReference("VCMSlicer.layout")


def voxelsOf(node, name):
    """The voxels of a segment, in the whole of its label map's grid."""
    segmentation = node.GetSegmentation()
    id = next(
        segmentation.GetNthSegmentID(n)
        for n in range(segmentation.GetNumberOfSegments())
        if segmentation.GetNthSegment(n).GetName() == name
    )
    return slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, id) == segmentation.GetSegment(id).GetLabelValue()


def drawVentricles(opened):
    """Those of the demo case, for the control by ventricles alone."""
    opened.parameters.controlName = "tiny-ventricles"
    opened.press(opened.ui.startDemoButton)
    opened.settle()


def test_the_completed_head_lies_in_the_results_folder_and_holds_what_was_drawn(completing):
    opened = completing
    drawVentricles(opened)
    assert opened.ui.completeHeadBox.visible and opened.ui.completeHeadBox.checked
    (sample,) = opened.generate()
    head = layoutOf(sample)
    assert head.IsA("vtkMRMLSegmentationNode") and "synthetic" in head.GetName()
    assert head.GetSegmentation().GetNumberOfSegments() == 10
    assert not head.GetDisplayNode().GetVisibility()
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    folders = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in (sample, head)}
    assert len(folders) == 1 and folders != {hierarchy.GetSceneItemID()}
    report = json.loads(sample.GetAttribute("VCMSlicer.Provenance"))["report"]
    assert report["packs"]["control"]["name"] == "tiny-semantics", "the ventricles alone could not take it"
    assert [entry["name"] for entry in report["conditions"]] == ["ventricles"]
    asked = sample.GetNodeReference("VCMSlicer.asked")
    drawn = voxelsOf(asked, "ventricles")
    assert drawn.any()
    assert np.array_equal(voxelsOf(head, "lateral ventricles"), drawn)


def test_switched_off_it_is_not_completed_and_the_scene_remembers_that(completing):
    opened = completing
    drawVentricles(opened)
    opened.press(opened.ui.completeHeadBox)
    assert opened.parameters.completeHead is False
    (sample,) = opened.generate()
    assert layoutOf(sample) is None
    request = json.loads(sample.GetAttribute("VCMSlicer.Provenance"))["request"]
    assert (request["layout"], request["control"]) == ("off", "tiny-ventricles")
    path = opened.home / "off.mrb"
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(0)
    processEvents(0.2)
    assert opened.parameters.completeHead
    slicer.util.loadScene(str(path))
    processEvents(0.4)
    assert opened.parameters.completeHead is False and not opened.ui.completeHeadBox.checked


def test_a_strength_of_its_own_keeps_the_chosen_control_and_the_panel_says_what_is_not_done(completing):
    opened = completing
    drawVentricles(opened)
    assert opened.panel.context.completes
    setting = opened.parameters.condition("ventricles")
    setting.strength = 0.8
    opened.parameters.setCondition("ventricles", setting)
    processEvents(0.1)
    assert not opened.panel.context.completes, "the panel must not announce what the worker will not do"
    (sample,) = opened.generate()
    assert layoutOf(sample) is None
    report = json.loads(sample.GetAttribute("VCMSlicer.Provenance"))["report"]
    assert report["packs"]["control"]["name"] == "tiny-ventricles"
    assert opened.ui.problemFrame.visible and "not completed" in opened.ui.problemLabel.text


def test_an_edited_copy_of_the_completed_head_outlives_its_image_and_leaves_the_record_alone(completing):
    opened = completing
    drawVentricles(opened)
    (sample,) = opened.generate()
    head, before = layoutOf(sample), voxelsOf(layoutOf(sample), "white matter").copy()
    opened.parameters.controlName = "tiny-semantics"
    processEvents(0.2)
    opened.panel.conditions.useNode(head)
    opened.settle()
    copy = opened.parameters.condition("semantics").node
    assert copy is not head and copy.GetAttribute("VCMSlicer.Synthetic") == "true"
    assert copy.GetAttribute("VCMSlicer.Role") is None
    assert volumeUnder(copy) is sample, "else the Segment Editor stays grey"
    assert np.array_equal(voxelsOf(copy, "white matter"), before)
    segmentation = copy.GetSegmentation()
    array = slicer.util.arrayFromSegmentInternalBinaryLabelmap(copy, segmentation.GetNthSegmentID(0))
    array[:] = 0
    assert np.array_equal(voxelsOf(head, "white matter"), before)
    removeResult(sample)
    processEvents(0.1)
    assert head.GetScene() is None and copy.GetScene() is slicer.mrmlScene
    assert opened.parameters.condition("semantics").node is copy


def test_a_record_chosen_in_a_row_becomes_a_copy_too(completing):
    opened = completing
    drawVentricles(opened)
    (sample,) = opened.generate()
    asked = sample.GetNodeReference("VCMSlicer.asked")
    opened.row("ventricles").sourceBox.setCurrentNode(asked)
    opened.settle()
    chosen = opened.parameters.condition("ventricles").node
    assert chosen is not asked and chosen.GetName().startswith(asked.GetName())
    assert np.array_equal(voxelsOf(chosen, "ventricles"), voxelsOf(asked, "ventricles"))


def test_the_rows_say_what_will_be_completed(completing):
    opened = completing
    opened.parameters.controlName = "tiny-anatomy"
    opened.press(opened.ui.startDemoButton)
    opened.settle()
    off = next(name for name in ("brain", "skull") if not opened.parameters.condition(name).enabled)
    brain = opened.parameters.condition("brain")
    brain.enabled = False
    opened.parameters.setCondition("brain", brain)
    opened.settle()
    assert "completed around what is drawn" in opened.row("brain").stateLabel.text, off
    opened.press(opened.ui.completeHeadBox)
    opened.settle()
    assert "the model is free here" in opened.row("brain").stateLabel.text


def test_how_the_image_follows_the_whole_completed_head_stands_in_the_results(completing):
    opened = completing
    drawVentricles(opened)
    (sample,) = opened.generate()
    assert row(sample).alignmentWithLayout.classes
    whole = "Against the completed head, all" in measuredWords(row(sample))
    assert whole is any(score.dice is not None for score in row(sample).alignmentWithLayout.classes)


def test_the_completed_head_is_used_again_as_a_map_of_tissues(completing):
    opened = completing
    drawVentricles(opened)
    (sample,) = opened.generate()
    head = layoutOf(sample)
    opened.panel.conditions.useNode(head)
    opened.settle()
    assert opened.parameters.controlName == "tiny-semantics", "the ventricles' control would take a part of it"
    assert opened.row("semantics").enabledBox.checked
    (again,) = opened.generate()
    assert layoutOf(again) is None, "nothing is left to complete"
    asked = again.GetNodeReference("VCMSlicer.asked")
    for name in ("white matter", "hippocampus"):
        assert np.array_equal(voxelsOf(asked, name), voxelsOf(head, name)), name


def test_where_no_layout_serves_the_model_there_is_no_switch(home, tinyPacks, monkeypatch, mainWindow, loadModule):  # noqa: F811
    monkeypatch.setenv("VCM_PACKS", str(tinyPacks))
    for opened in _open(home, mainWindow, loadModule, "tiny"):
        assert not opened.ui.completeHeadBox.visible
