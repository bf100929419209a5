"""How the panel behaves among Slicer's other modules: keys, nodes, files and windows that are not its own."""

import numpy as np
import pytest
import slicer
from opened import MODULE, home, opened, tinyPacks  # noqa: F401
from slicerStandIn.testing.eventLoop import processEvents
from VCMSlicerLib.engine.jobState import Failure
from VCMSlicerLib.panels.editorPanel import editorNode

NONE = slicer.vtkMRMLSegmentEditorNode.OverwriteNone


def pressKey(opened, key):  # noqa: F811
    from PySide6 import QtCore, QtTest

    opened.window.activateWindow()
    QtTest.QTest.keyClick(opened.window, key, QtCore.Qt.KeyboardModifier.NoModifier)
    processEvents(0.05)


def test_the_editors_keys_act_while_it_is_open_and_unfolded_and_not_else(opened):  # noqa: F811
    editor, section = opened.ui.editor, opened.ui.editorSection
    pressKey(opened, "1")
    assert editor.activeEffect() is None, "there is nothing to edit yet"
    opened.press(opened.ui.startDemoButton)
    pressKey(opened, "1")
    assert editor.activeEffect().name == "Paint"
    section.collapsed = True
    assert editor.activeEffect() is None, "an effect that cannot be seen goes on no longer"
    pressKey(opened, "1")
    assert editor.activeEffect() is None
    section.collapsed = False
    pressKey(opened, "1")
    assert editor.activeEffect().name == "Paint"
    opened.window.selectModule(None)
    pressKey(opened, "1")
    assert editor.activeEffect() is None


def test_painting_spares_neighbours_also_after_the_scene_was_closed(opened):  # noqa: F811
    assert editorNode().GetOverwriteMode() == NONE
    slicer.mrmlScene.Clear(0)
    processEvents(0.2)
    assert editorNode().GetOverwriteMode() == NONE
    editorNode().SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteAllSegments)
    opened.window.selectModule(None)
    opened.window.selectModule(opened.module)
    assert editorNode().GetOverwriteMode() != NONE, "what the user chose stays"


def test_a_scene_that_is_closed_while_another_module_is_open_stays_empty(opened):  # noqa: F811
    opened.window.selectModule(None)
    others = [name for name in nodes() if "Difference" in name]
    for node in (editorNode(), opened.parameters.parameterNode):
        slicer.mrmlScene.RemoveNode(node)  # a scene file of another's would not have them either
    slicer.mrmlScene.Clear(0)
    processEvents(0.2)
    assert not [name for name in nodes() if "VCMSlicer" in name and name not in others], (
        "nothing is made for a module that is not open"
    )
    opened.window.selectModule(opened.module)
    assert opened.ui.startDemoButton.enabled
    opened.press(opened.ui.startDemoButton)
    assert opened.ui.editor.segmentationNode() is opened.parameters.condition("ventricles").node


def nodes():
    scene = slicer.mrmlScene
    found = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    return [f"{node.GetName()} {node.GetSingletonTag()} {node.GetAttribute('ModuleName')}" for node in found]


def test_a_panel_that_is_made_and_not_opened_puts_nothing_into_the_scene(scene, home, loadModule):  # noqa: F811
    module = loadModule(MODULE)
    before = nodes()
    module.widgetRepresentation()
    processEvents(0.1)
    assert nodes() == before


def test_start_points_are_no_files_of_the_users(opened):  # noqa: F811
    manager = slicer.app.coreIOManager()
    before = list(manager.recentlyLoaded)
    for button in (opened.ui.startDemoButton, opened.ui.startTemplateButton, opened.ui.startDemoButton):
        opened.press(button)
    assert manager.recentlyLoaded == before
    volumes = [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if "skull" not in node.GetName()]
    assert [node.GetName() for node in volumes] == ["Typical head (synthetic)"], "one head is enough for all"
    assert volumes[0].GetStorageNode() is None
    for node in slicer.util.getNodesByClass("vtkMRMLStorageNode"):
        assert "Resources" not in (node.GetFileName() or "")


def test_the_average_head_lies_as_slicer_reads_its_file(scene):
    from VCMSlicerLib.conditions.startPoints import TEMPLATE_HEAD, TEMPLATE_LABELS, template

    point, expected = template(), slicer.util.loadVolume(str(TEMPLATE_HEAD))
    labels = slicer.util.loadLabelVolume(str(TEMPLATE_LABELS))
    for place in ((-40, 20, 10), (12, -60, -20), (30, 5, 44)):
        assert at(point.volume, place) == at(expected, place) > 0
    drawn = point.segmentation.GetSegmentation()
    id = drawn.GetSegmentIdBySegmentName("Ventricles")
    there = slicer.util.arrayFromSegmentBinaryLabelmap(point.segmentation, id, labels) > 0
    assert np.array_equal(there, slicer.util.arrayFromVolume(labels) == 4)


def at(volume, place):
    """The voxel at a place in RAS millimetres."""
    matrix = slicer.util.arrayFromVTKMatrix(ijkToRas(volume))
    i, j, k, _one = np.rint(np.linalg.inv(matrix) @ (*place, 1)).astype(int)
    return slicer.util.arrayFromVolume(volume)[k, j, i]


def ijkToRas(volume):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix


def test_an_error_without_a_log_has_no_details_that_say_none(opened, dialogs, monkeypatch):  # noqa: F811
    monkeypatch.setattr(slicer.app, "testingEnabled", lambda: False)
    details = []
    dialogs.answer(*[lambda box: details.append(box.detailedText)] * 2)
    opened.panel.model._tell(Failure("X", "It did not work."))
    opened.panel.model._tell(Failure("X", "It did not work.", log="line 1"))
    assert details == ["", "line 1"]


def test_the_skull_dialog_is_one_and_lets_go_of_the_scene_however_it_is_closed(opened):  # noqa: F811
    def open_():
        opened.row("skull").makeButton.click()
        processEvents(0.1)
        return opened.panel.conditions._skull

    first = open_()
    box = first.ui.skullScanBox
    assert box.mrmlScene() is slicer.mrmlScene
    second = open_()
    assert skullDialogs() == 1 and first.open is False
    second.dialog.close()  # as by the title bar
    assert second.open is False and second.ui.skullScanBox.mrmlScene() is None
    processEvents(0.1)
    assert skullDialogs() == 0


def skullDialogs():
    import qt
    from PySide6 import QtCore

    QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete.value)
    return sum(w.objectName == "VCMSlicerSkull" for w in qt.QApplication.topLevelWidgets())


@pytest.mark.parametrize("first, second", [("a.nrrd", "b.nii.gz"), ("a.nii", "b.nrrd"), ("head", "head.v2")])
def test_each_export_has_the_format_of_its_own_name(scene, tmp_path, first, second):
    from finishedRun import finishedRun
    from VCMSlicerLib.results.results import Results

    (node,) = Results().add(*finishedRun(tmp_path))
    for name in (first, second):
        sidecar = Results().exportVolume(node, tmp_path / name)
        written = tmp_path / (name if name.endswith((".nrrd", ".nii", ".nii.gz")) else f"{name}.nii.gz")
        assert written.is_file() and sidecar.is_file() and sidecar.suffix == ".json"
        assert slicer.util.loadVolume(str(written)).GetImageData().GetDimensions() == (16, 26, 20)


def test_an_export_that_cannot_be_written_is_told_and_not_raised(opened, dialogs, monkeypatch, tmp_path):  # noqa: F811
    from finishedRun import finishedRun

    told = []
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda words, *_rest, **_more: told.append(words))
    opened.logic.results.add(*finishedRun(tmp_path))
    opened.panel.refresh()
    monkeypatch.setattr(
        slicer.util, "exportNode", lambda *_all, **_more: (_ for _ in ()).throw(ValueError("no format"))
    )
    dialogs.answer(str(tmp_path / "x.nii.gz"))
    opened.panel.results._onExportVolume()
    assert told == ["no format"]
