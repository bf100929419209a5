"""The sections of the panel, each by itself: what they show, what they remember, what they refuse."""

import sys

import pytest
import slicer
from opened import MODULE, home, opened, openedPlain, tinyPacks  # noqa: F401
from slicerStandIn.testing.eventLoop import processEvents
from vcm.core.errors import Code, VcmError
from VCMSlicerLib.engine.jobState import WORKER_CODES
from VCMSlicerLib.problems import Remedy, button, remedyOf
from VCMSlicerLib.scene.parameters import Quality


@pytest.mark.parametrize("code", [*(code.value for code in Code), *WORKER_CODES, "SOMETHING_NEW"])
def test_every_failure_has_a_button_with_words_and_a_tooltip(code):
    remedy = remedyOf(code)
    assert isinstance(remedy, Remedy)
    assert button(remedy)[0] and button(remedy)[1].endswith(".")


def test_out_of_memory_offers_the_processor_and_a_damaged_model_another_file():
    assert button(remedyOf(Code.OUT_OF_MEMORY))[0] == "Retry on CPU"
    assert button(remedyOf("PACK_DAMAGED"))[0] == "Choose model file…"


def test_every_widget_of_the_panel_that_can_be_used_has_a_tooltip(opened):  # noqa: F811
    import ctk
    import qt

    opened.press(opened.ui.startDemoButton)
    interactive = (qt.QAbstractButton, qt.QComboBox, qt.QAbstractSpinBox, qt.QTableWidget, qt.QProgressBar)
    interactive += (ctk.ctkSliderWidget, slicer.qMRMLNodeComboBox)
    silent = []
    for kind in interactive:
        for widget in opened.panel.widget.findChildren(kind):
            inEditor = opened.ui.editor.isAncestorOf(widget)
            name = getattr(widget, "name", "")
            inPart = name.startswith("qt_") or not name
            section = type(widget).__name__ == "ctkCollapsibleButton"
            if not (widget.toolTip or inEditor or inPart or section):
                silent.append(name)
    assert silent == []


def test_sampling_is_remembered_in_the_scene(opened):  # noqa: F811
    opened.press(opened.ui.referenceButton)
    opened.ui.seedBox.value = 99
    opened.ui.samplesBox.value = 3
    opened.press(opened.ui.uncontrolledBox)
    processEvents(0.05)
    parameters = opened.parameters
    assert parameters.quality is Quality.REFERENCE
    assert (parameters.seed, parameters.sampleCount, parameters.uncontrolled) == (99, 3, False)


def test_a_model_is_sampled_as_its_manifest_says(opened, monkeypatch):  # noqa: F811
    from dataclasses import replace

    context, asked = opened.panel.context, []
    monkeypatch.setattr(context.logic, "start", lambda choices, **options: asked.append(options) or _nothing())
    usual = context.packs
    for packs in (usual, tuple(replace(pack, sampling=("rflow", 30)) for pack in usual)):
        context.packs = packs
        for quality in Quality:
            opened.parameters.quality = quality
            opened.panel.errands.generate([], lambda job: None)
    assert [(options["sampler"], options["steps"]) for options in asked] == [
        ("dpm++", 10), ("dpm++", 20), ("ddim", 200), ("rflow", 15), ("rflow", 30), ("ddim", 200),
    ]  # fmt: skip


def _nothing():
    raise VcmError(Code.CANCELLED, "Enough.")


def test_the_volume_follows_the_mask_until_it_is_set(opened):  # noqa: F811
    row = opened.panel.subject.rows["ventricular_volume"]
    assert not row.setBox.checked and not row.editor.enabled
    assert "model's average" in row.originLabel.text
    opened.press(opened.ui.startDemoButton)
    processEvents(0.1)
    assert row.editor.value == pytest.approx(52.4, abs=0.5)
    assert "Follows the conditions: 52.4 ml" in row.originLabel.text
    assert not opened.parameters.attribute("ventricular_volume").given, "it is shown, not sent"
    opened.press(opened.row("ventricles").enabledBox)
    processEvents(0.1)
    assert "model's average" in row.originLabel.text and row.editor.value == pytest.approx(51)
    opened.press(row.setBox)
    assert row.editor.enabled
    row.editor.value = 77
    processEvents(0.05)
    setting = opened.parameters.attribute("ventricular_volume")
    assert setting.given and setting.value == 77


def test_choosing_a_source_switches_the_condition_on_and_finds_its_segment(opened):  # noqa: F811
    from VCMSlicerLib.conditions.startPoints import template

    point = template()
    opened.row("ventricles").sourceBox.setCurrentNode(point.segmentation)
    opened.settle()
    setting = opened.parameters.condition("ventricles")
    assert setting.enabled and setting.node is point.segmentation
    segment = point.segmentation.GetSegmentation().GetSegment(setting.segmentId)
    assert segment.GetName() == "Ventricles"
    assert opened.ui.generateButton.enabled, opened.ui.generateButton.toolTip


def test_a_mask_that_was_moved_out_of_the_head_is_refused_in_words_as_soon_as_it_lies_there(opened):  # noqa: F811
    from logicSetup import transformNode, turned

    opened.press(opened.ui.startDemoButton)
    assert opened.ui.generateButton.enabled
    away = turned(0, 0)
    away[:3, 3] = (0, 0, 400)
    opened.parameters.condition("ventricles").node.SetAndObserveTransformNodeID(transformNode(away).GetID())
    opened.settle()
    assert not opened.ui.generateButton.enabled
    assert "outside the model's field of view" in opened.ui.generateButton.toolTip
    assert "outside" in opened.row("ventricles").stateLabel.text


def test_removing_the_source_from_the_scene_is_noticed(opened):  # noqa: F811
    opened.press(opened.ui.startDemoButton)
    slicer.mrmlScene.RemoveNode(opened.parameters.condition("ventricles").node)
    opened.settle()
    assert not opened.ui.generateButton.enabled
    assert "Nothing is chosen" in opened.ui.generateButton.toolTip


def test_a_condition_that_is_off_stays_off_when_its_source_goes(opened):  # noqa: F811
    opened.press(opened.ui.startDemoButton)
    setting = opened.parameters.condition("ventricles")
    setting.enabled = False
    opened.parameters.setCondition("ventricles", setting)
    opened.settle()
    slicer.mrmlScene.RemoveNode(setting.node)
    opened.settle()
    assert not opened.parameters.condition("ventricles").enabled


def test_a_segment_that_is_gone_is_not_replaced_by_another(opened):  # noqa: F811
    opened.press(opened.ui.startTemplateButton)
    setting = opened.parameters.condition("ventricles")
    segmentation = setting.node.GetSegmentation()
    chosen = setting.segmentId or segmentation.GetNthSegmentID(0)
    setting.segmentId = chosen
    opened.parameters.setCondition("ventricles", setting)
    segmentation.AddEmptySegment("another", "Another")
    segmentation.RemoveSegment(chosen)
    opened.settle()
    opened.row("ventricles").strengthSlider.value = 0.9
    opened.settle()
    assert opened.parameters.condition("ventricles").segmentId == chosen
    assert not opened.ui.generateButton.enabled


def test_preferences_belong_to_the_user_and_not_to_the_scene(opened):  # noqa: F811
    from VCMSlicerLib.scene.parameters import preference

    box = opened.ui.deviceBox
    box.setCurrentIndex(box.findData("cpu"))
    box.activated.emit(box.currentIndex)
    slicer.mrmlScene.Clear(0)
    processEvents(0.2)
    assert preference("device") == "cpu"
    assert opened.panel.model.device == "cpu"


def test_the_editor_has_shortcuts_and_views_only_while_the_module_is_open(opened):  # noqa: F811
    editor = opened.ui.editor
    opened.press(opened.ui.startDemoButton)
    editor.setActiveEffectByName("Paint")
    assert editor._shortcuts and editor._observedViews
    opened.window.selectModule(None)
    assert not editor._shortcuts and not editor._observedViews
    assert editor.activeEffect() is None
    opened.window.selectModule(opened.module)
    assert editor._shortcuts and editor._observedViews


def test_the_editor_works_again_after_the_scene_was_closed(opened):  # noqa: F811
    opened.press(opened.ui.startDemoButton)
    opened.ui.editor.setActiveEffectByName("Paint")
    slicer.mrmlScene.Clear(0)
    processEvents(0.2)
    assert opened.ui.editor.segmentationNode() is None
    opened.press(opened.ui.startBlankButton)
    opened.paint([(6, 4, 6), (6, -8, 6)])
    assert opened.ui.generateButton.enabled, opened.ui.generateButton.toolTip


def test_a_stroke_can_be_taken_back(opened):  # noqa: F811
    opened.press(opened.ui.startBlankButton)
    opened.paint([(6, 4, 6), (6, -8, 6)])
    assert opened.ui.generateButton.enabled
    opened.ui.editor.undo()
    opened.settle()
    assert not opened.ui.generateButton.enabled


def test_the_modules_own_test_passes(loadModule, scene):
    import unittest

    module = loadModule(MODULE)
    case = sys.modules[module.name].VCMSlicerTest
    suite = unittest.TestSuite(case(name) for name in unittest.TestLoader().getTestCaseNames(case))
    result = unittest.TextTestRunner(stream=sys.stderr).run(suite)
    assert result.wasSuccessful() and result.testsRun >= 2


@pytest.mark.parametrize(
    "measured, shown, words", [(52.7, 52.7, "Follows"), (120.0, 101.0, "beyond"), (None, 51.0, "average")]
)
def test_a_volume_beyond_what_the_model_was_trained_with_is_told(measured, shown, words):
    from vcm.conditions.attributes import AttributeSpec
    from VCMSlicerLib.panels.subjectPanel import followed, originWords
    from VCMSlicerLib.scene.parameters import AttributeSetting

    info = AttributeSpec("ventricular_volume", "Ventricular volume", "ml", 1, 101, structures=(4,))
    assert followed(info, measured) == shown
    assert words in originWords(info, AttributeSetting(), measured)[1]


def test_every_input_that_a_manifest_names_has_a_row_and_is_sent(opened):  # noqa: F811
    from dataclasses import replace

    from vcm.conditions.attributes import AttributeSpec
    from VCMSlicerLib.panels.errands import givenAttributes

    inputs = (
        AttributeSpec("contrast", "Contrast", choices={"FLAIR": 0.0, "T2w": 0.5, "T1w": 1.0}, default=1.0),
        AttributeSpec("slice_thickness", "Slice thickness", "mm", low=0.5, high=3.5, default=0.5),
        AttributeSpec("age", "Age", "years", low=20, high=90, default=0.0),
        AttributeSpec("style", "Style"),
    )
    context = opened.panel.context
    context.packs = tuple(replace(pack, attributes=inputs) for pack in context.packs)
    opened.panel.refresh()
    rows = opened.panel.subject.rows
    assert list(rows) == ["contrast", "slice_thickness", "age", "style"]
    box = rows["contrast"].editor
    assert [box.itemText(i) for i in range(box.count)] == ["FLAIR", "T2w", "T1w"] and box.currentText == "T1w"
    thickness, age, style = (rows[name].editor for name in ("slice_thickness", "age", "style"))
    assert (thickness.minimum, thickness.maximum, thickness.decimals, thickness.suffix) == (0.5, 3.5, 2, " mm")
    assert (age.value, age.decimals) == (20.0, 0) and (style.minimum, style.maximum, style.value) == (0.0, 1.0, 0.5)
    box.setCurrentIndex(1)
    box.activated.emit(1)
    thickness.value = 1.25
    processEvents(0.1)
    given = {"contrast": "T2w", "slice_thickness": 1.25, "age": 20.0, "style": 0.5}
    assert givenAttributes(opened.parameters, context.pack) == given


def test_a_start_point_changes_no_segmentation_that_was_there(opened):  # noqa: F811
    opened.press(opened.ui.startDemoButton)
    before = opened.parameters.condition("ventricles").node
    changed = before.GetSegmentation().GetMTime()
    for pressed in (opened.ui.startTemplateButton, opened.ui.startBlankButton):
        opened.press(pressed)
    assert before.GetScene() is slicer.mrmlScene and before.GetSegmentation().GetMTime() == changed
    assert opened.parameters.condition("ventricles").node is not before


def test_the_skulls_image_is_made_of_a_t1w_and_a_brain_and_chosen(opened):  # noqa: F811
    import numpy as np
    import qt
    from VCMSlicerLib.conditions.startPoints import template

    point = template()
    opened.row("skull").makeButton.click()
    processEvents(0.1)
    (dialog,) = [w for w in qt.QApplication.topLevelWidgets() if w.objectName == "VCMSlicerSkull" and w.isVisible()]
    ui = opened.panel.conditions._skull.ui
    ui.skullSegmentBox.setCurrentIndex(ui.skullSegmentBox.findText("White matter"))
    opened.press(ui.skullMakeButton)
    processEvents(0.3)
    made = opened.parameters.condition("skull").node
    assert opened.row("skull").sourceBox.currentNode() is made
    before, after = slicer.util.arrayFromVolume(point.volume), slicer.util.arrayFromVolume(made)
    id = point.segmentation.GetSegmentation().GetSegmentIdBySegmentName("White matter")
    brain = slicer.util.arrayFromSegmentBinaryLabelmap(point.segmentation, id, point.volume) > 0
    assert brain.sum() > 1000
    assert (after[brain] == 0).all()
    assert np.allclose(after[~brain], (before[~brain] / np.percentile(before, 99.5)).clip(0, 1), atol=1e-5)
    assert not dialog.isVisible()
