"""The user draws the ventricles alone: the rest of the head grows around them, can be seen, edited and used again."""

import json

import numpy as np
import pytest
import slicer
from opened import _open, home, tinyPacks  # noqa: F401
from severalControls import writeSeveralControls
from slicerStandIn.testing.eventLoop import processEvents


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
    processEvents(0.1)
    assert not opened.ui.completeHeadBox.checked


def test_the_completed_head_is_used_again_as_a_map_of_tissues(completing):
    opened = completing
    drawVentricles(opened)
    (sample,) = opened.generate()
    head = layoutOf(sample)
    opened.parameters.controlName = "tiny-semantics"
    processEvents(0.2)
    opened.panel.conditions.useNode(head)
    opened.settle()
    assert opened.row("semantics").enabledBox.checked
    (again,) = opened.generate()
    for name in ("white matter", "hippocampus", "lateral ventricles"):
        assert np.array_equal(voxelsOf(layoutOf(again), name), voxelsOf(head, name)), name


def test_where_no_layout_serves_the_model_there_is_no_switch(home, tinyPacks, monkeypatch, mainWindow, loadModule):  # noqa: F811
    monkeypatch.setenv("VCM_PACKS", str(tinyPacks))
    for opened in _open(home, mainWindow, loadModule, "tiny"):
        assert not opened.ui.completeHeadBox.visible
