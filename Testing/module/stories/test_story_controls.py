"""A model with several controls: the user sees what each takes and chooses; every start point feeds its rows."""

import json

import numpy as np
import pytest
import slicer
import vtk
from opened import _open, home, tinyPacks  # noqa: F401
from severalControls import CLASSES, writeSeveralControls
from slicerStandIn.testing.eventLoop import processEvents, waitUntil


@pytest.fixture(scope="session")
def severalControls(tinyPacks, tmp_path_factory):  # noqa: F811
    return writeSeveralControls(tinyPacks, tmp_path_factory.mktemp("several") / "packs")


@pytest.fixture
def several(home, severalControls, monkeypatch, mainWindow, loadModule):  # noqa: F811
    monkeypatch.setenv("VCM_PACKS", str(severalControls))
    yield from _open(home, mainWindow, loadModule, "tiny")


def choose(opened, name):
    box = opened.ui.controlBox
    box.setCurrentIndex(box.findData(name))
    box.activated.emit(box.currentIndex)
    processEvents(0.1)


def rows(opened):
    return {name: opened.row(name).enabledBox.checked for name in opened.panel.conditions.rows}


def segments(node):
    drawn = node.GetSegmentation()
    return [drawn.GetNthSegment(index).GetName() for index in range(drawn.GetNumberOfSegments())]


def middle(array, node):
    """The centre of gravity of the set voxels, in world millimetres."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    k, j, i = (axis.mean() for axis in np.nonzero(array))
    return (slicer.util.arrayFromVTKMatrix(matrix) @ (i, j, k, 1))[:3]


def generated(opened):
    (sample,) = opened.generate()
    return sample, json.loads(sample.GetAttribute("VCMSlicer.Provenance"))["request"]


def test_the_controls_are_listed_with_what_each_takes_and_the_simplest_is_chosen(several):
    ui = several.ui
    titles = [ui.controlBox.itemText(index) for index in range(ui.controlBox.count)]
    assert titles == ["Ventricles", "Tissue map", "Brain, ventricles, skull"]
    assert ui.controlBox.currentText == "Ventricles"
    assert "Takes ventricles (mask)." in ui.controlStateLabel.text
    for words in (
        "Takes tissue map (8 structures)",
        "Takes any of: brain (mask), ventricles (mask), skull",
    ):
        assert words in ui.controlBox.toolTip
    assert list(rows(several)) == ["ventricles"]
    choose(several, "tiny-anatomy")
    assert list(rows(several)) == ["brain", "ventricles", "skull"]
    assert several.parameters.controlName == "tiny-anatomy"


def test_the_demo_case_switches_on_the_ventricles_alone_where_the_rest_can_be_left_out(several):
    choose(several, "tiny-anatomy")
    several.press(several.ui.startDemoButton)
    several.settle()
    assert rows(several) == {"brain": False, "ventricles": True, "skull": False}
    sample, request = generated(several)
    assert request["control"] == "tiny-anatomy"
    assert [entry["name"] for entry in request["conditions"]] == ["ventricles"]
    assert sample.GetAttribute("VCMSlicer.Synthetic") == "true"


def test_the_template_feeds_a_brain_a_ventricle_mask_and_the_skulls_image_together(several):
    choose(several, "tiny-anatomy")
    several.press(several.ui.startTemplateButton)
    several.settle()
    assert rows(several) == {"brain": True, "ventricles": True, "skull": True}
    node = several.parameters.condition("brain").node
    assert segments(node) == ["Ventricles", "Brain"], "the smaller structure lies above the larger"
    brain, ventricles = (
        slicer.util.arrayFromSegmentBinaryLabelmap(node, node.GetSegmentation().GetSegmentIdBySegmentName(name)) > 0
        for name in ("Brain", "Ventricles")
    )
    assert brain.sum() > 20 * ventricles.sum() and brain[ventricles].all()
    skull = slicer.util.arrayFromVolume(several.parameters.condition("skull").node)
    assert not skull[brain].any() and skull.any(), "the brain is taken out, and the head around it stays"
    several.press(several.row("brain").enabledBox)
    _sample, request = generated(several)
    assert sorted(entry["name"] for entry in request["conditions"]) == ["skull", "ventricles"]


def test_of_a_blank_only_what_was_painted_is_sent(several):
    choose(several, "tiny-anatomy")
    several.press(several.ui.startBlankButton)
    assert not several.ui.generateButton.enabled
    assert "nothing is drawn yet" in several.ui.generateButton.toolTip
    node = several.parameters.condition("ventricles").node
    several.ui.editor.setCurrentSegmentID(node.GetSegmentation().GetSegmentIdBySegmentName("Ventricles"))
    several.paint([(6, 4, 6), (6, -8, 6)])
    assert several.ui.generateButton.enabled, several.ui.generateButton.toolTip
    assert "left out until there is" in several.row("brain").stateLabel.text
    _sample, request = generated(several)
    assert [entry["name"] for entry in request["conditions"]] == ["ventricles"]


def test_a_label_map_is_fed_by_segments_told_apart_and_what_is_missing_is_said(several):
    choose(several, "tiny-semantics")
    several.press(several.ui.startTemplateButton)
    several.settle()
    node = several.parameters.condition("semantics").node
    assert sorted(segments(node)) == sorted(name[:1].upper() + name[1:] for name in CLASSES)
    row = several.row("semantics")
    assert row.segmentBox.currentText == "8 of 8 structures"
    assert "Deep grey matter" in row.segmentBox.toolTip
    drawn = node.GetSegmentation()
    drawn.RemoveSegment(drawn.GetSegmentIdBySegmentName("Amygdala"))
    drawn.GetSegment(drawn.GetSegmentIdBySegmentName("Hippocampus")).SetName("Something odd")
    drawn.GetSegment(drawn.GetSegmentIdBySegmentName("Something odd")).SetTerminology("")
    several.settle()
    assert row.segmentBox.currentText == "6 of 8 structures"
    assert "takes it as absent: hippocampus, amygdala" in row.stateLabel.text
    assert "no such structure: Something odd" in row.stateLabel.text
    assert several.ui.generateButton.enabled, several.ui.generateButton.toolTip
    _sample, request = generated(several)
    assert request["control"] == "tiny-semantics"
    assert several.ui.structuresTable.rowCount == 8


def test_the_model_sees_each_structure_of_the_template_where_it_was_drawn(several):
    choose(several, "tiny-semantics")
    several.press(several.ui.startTemplateButton)
    several.settle()
    node = several.parameters.condition("semantics").node
    several.press(several.ui.seeButton)
    waitUntil(lambda: not several.client.state.busy, 90, "the answer")
    processEvents(0.2)
    assert several.client.failure is None, several.client.failure
    (seen,) = [n for n in slicer.util.getNodesByClass("vtkMRMLVolumeNode") if n.GetAttribute("VCMSlicer.Seen")]
    head = several.ui.editor.sourceVolumeNode()
    values = slicer.util.arrayFromVolume(seen)
    for value, name in enumerate(CLASSES, start=1):
        segment = node.GetSegmentation().GetSegmentIdBySegmentName(name[:1].upper() + name[1:])
        drawn = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, head)
        assert np.linalg.norm(middle(values == value, seen) - middle(drawn, head)) < 6, name


def test_the_demo_case_completes_a_label_map_from_the_average_head(several):
    choose(several, "tiny-semantics")
    several.press(several.ui.startDemoButton)
    several.settle()
    assert len(segments(several.parameters.condition("semantics").node)) == 8
    assert several.panel.subject.rows["ventricular_volume"].editor.value == pytest.approx(52.4, abs=0.5)


def test_a_t1w_is_segmented_into_what_the_control_takes(several):
    from VCMSlicerLib.conditions.startPoints import TEMPLATE_HEAD

    choose(several, "tiny-anatomy")
    head = slicer.util.loadVolume(str(TEMPLATE_HEAD))
    several.panel.conditions.startFromScan(head)
    waitUntil(lambda: not several.client.state.busy, 90, "the segmentation")
    several.settle()
    assert several.client.failure is None, several.client.failure
    setting = several.parameters.condition("brain")
    assert setting.enabled and "Brain" in segments(setting.node)
    skull = several.parameters.condition("skull")
    assert skull.enabled and skull.node.GetImageData().GetDimensions() == head.GetImageData().GetDimensions()


def test_a_scene_that_names_a_control_which_is_not_here_says_so(several):
    several.press(several.ui.startDemoButton)
    several.parameters.controlName = "tiny-secret"
    processEvents(0.1)
    assert "tiny-secret" in several.ui.controlStateLabel.text
    assert not several.ui.generateButton.enabled
    assert "What this scene's image follows" in several.ui.generateButton.toolTip


def test_a_saved_scene_brings_back_the_control_and_all_its_conditions(several):
    choose(several, "tiny-anatomy")
    several.press(several.ui.startTemplateButton)
    processEvents(0.2)
    path = several.home / "case.mrb"
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(0)
    processEvents(0.2)
    assert list(rows(several)) == ["ventricles"]
    slicer.util.loadScene(str(path))
    several.settle()
    assert several.ui.controlBox.currentText == "Brain, ventricles, skull"
    assert rows(several) == {"brain": True, "ventricles": True, "skull": True}
    assert several.ui.generateButton.enabled, several.ui.generateButton.toolTip


def test_the_first_demo_is_the_one_of_all_tissues_unless_another_was_chosen(several):
    several.press(several.ui.startDemoButton)
    several.settle()
    assert several.parameters.controlName == "tiny-semantics" and rows(several) == {"semantics": True}
    node = several.parameters.condition("semantics").node
    assert "White matter" in segments(node) and "Ventricles" in segments(node)
    assert not node.GetDisplayNode().GetVisibility2DFill(), "many fills would cover the image"
    choose(several, "tiny-ventricles")
    several.press(several.ui.startDemoButton)
    several.settle()
    assert several.parameters.controlName == "tiny-ventricles" and rows(several) == {"ventricles": True}
