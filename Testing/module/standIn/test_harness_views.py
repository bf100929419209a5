"""The stand-in's views show and take what Slicer's do: layers, strokes, layouts."""

import os
import subprocess
import sys

import numpy as np
import pytest
import slicer
from slicerStandIn.testing.eventLoop import processEvents
from slicerStandIn.testing.mouse import click, drag, pixelOf, strokeRAS
from slicerStandIn.testing.screenshots import saveScreenshot
from slicerStandIn.views.rendering import NoRendering

SIDE_BY_SIDE = """<layout type="horizontal" split="true">
<item><view class="vtkMRMLSliceNode" singletontag="Left"><property name="orientation" action="default">Axial</property>
</view></item><item><view class="vtkMRMLSliceNode" singletontag="Right">
<property name="orientation" action="default">Axial</property></view></item></layout>"""
TILTED = np.array([[1.0, 0.2, 0, -9.0], [-0.2, 1.0, 0, -12.0], [0, 0, 2.0, -8.0], [0, 0, 0, 1]])


@pytest.fixture
def image(mainWindow):
    """Dark, with one bright block to the right, front and top of the middle."""
    values = np.full((10, 30, 20), 20, np.float32)
    values[6:9, 20:27, 13:17] = 200
    volume = slicer.util.addVolumeFromArray(values, TILTED, "Block")
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    return volume


@pytest.fixture
def editor(mainWindow, scene, image):
    widget = slicer.qMRMLSegmentEditorWidget()
    widget.setMRMLSegmentEditorNode(scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    widget.setMRMLScene(scene)
    widget.setSegmentationNode(scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mask"))
    widget.setSourceVolumeNode(image)
    widget.setupViewObservations()
    widget.show()
    widget.findChild("QPushButton", "AddButton").click()
    widget.setActiveEffectByName("Paint")
    yield widget
    widget.setActiveEffect(None)
    widget.removeViewObservations()
    widget.deleteLater()


def red():
    return slicer.app.layoutManager().sliceWidget("Red")


def showNow():
    processEvents()
    slicer.util.forceRenderAllViews()


def painted(editor):
    segmentation = editor.segmentationNode()
    ids = segmentation.GetSegmentation().GetSegmentIDs()
    return [slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, i, editor.sourceVolumeNode()) > 0 for i in ids]


def ras(i, j, k):
    return tuple((TILTED @ [i, j, k, 1])[:3])


def test_a_point_is_shown_where_the_view_says(image):
    red().mrmlSliceNode().JumpSlice(*ras(15, 23, 7))
    showNow()
    picture = red().grab().toImage()
    assert picture.pixelColor(*pixelOf(red(), ras(15, 23, 7))).lightness() > 150
    assert picture.pixelColor(*pixelOf(red(), ras(15, 6, 7))).lightness() < 100
    assert picture.pixelColor(*pixelOf(red(), ras(4, 23, 7))).lightness() < 100


def test_a_stroke_paints_the_voxels_under_it(editor):
    red().mrmlSliceNode().JumpSlice(*ras(5, 10, 3))
    strokeRAS(red(), [ras(5, 10, 3), ras(12, 10, 3)])
    (mask,) = painted(editor)
    k, j, i = np.nonzero(mask)
    assert set(k) == {3} and {10} <= set(j) <= {9, 10, 11}
    assert (i.min(), i.max()) == (5, 12)


def test_a_ball_reaches_beyond_the_slice(editor):
    editor.activeEffect().setParameter("BrushSphere", 1)
    editor.activeEffect().setParameter("BrushDiameterIsRelative", 0)
    editor.activeEffect().setParameter("BrushAbsoluteDiameter", 9)
    red().mrmlSliceNode().JumpSlice(*ras(10, 15, 5))
    strokeRAS(red(), [ras(10, 15, 5)])
    (mask,) = painted(editor)
    volume = mask.sum() * abs(np.linalg.det(TILTED[:3, :3]))
    assert set(np.nonzero(mask)[0]) == {3, 4, 5, 6, 7}
    assert volume == pytest.approx(4 / 3 * np.pi * 4.5**3, rel=0.15)


def test_a_parent_transform_moves_the_stroke_with_the_segmentation(editor, scene):
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    shift = np.eye(4)
    shift[:3, 3] = (0, 0, 4)  # two slices up
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(shift))
    editor.segmentationNode().SetAndObserveTransformNodeID(transform.GetID())
    red().mrmlSliceNode().JumpSlice(*ras(5, 10, 3))
    strokeRAS(red(), [ras(5, 10, 3), ras(12, 10, 3)])
    segment = editor.currentSegmentID()
    own = slicer.util.arrayFromSegmentInternalBinaryLabelmap(editor.segmentationNode(), segment)
    labelmap = editor.segmentationNode().GetBinaryLabelmapInternalRepresentation(segment)
    assert own.any() and labelmap.GetExtent()[4:] == (1, 1)  # slice 1 of its own space
    assert set(np.nonzero(painted(editor)[0])[0]) == {3}  # seen in the world


def test_erase_takes_away_and_undo_brings_back(editor):
    red().mrmlSliceNode().JumpSlice(*ras(5, 10, 3))
    strokeRAS(red(), [ras(5, 10, 3), ras(12, 10, 3)])
    before = painted(editor)[0]
    editor.setActiveEffectByName("Erase")
    strokeRAS(red(), [ras(9, 10, 3), ras(14, 10, 3)])
    after = painted(editor)[0]
    assert 0 < after.sum() < before.sum()
    assert editor.findChild("QPushButton", "UndoButton").enabled
    click(editor.findChild("QPushButton", "UndoButton"))
    np.testing.assert_array_equal(painted(editor)[0], before)
    editor.redo()
    np.testing.assert_array_equal(painted(editor)[0], after)


def test_painting_over_another_segment_takes_its_voxels_unless_overlap_is_allowed(editor):
    red().mrmlSliceNode().JumpSlice(*ras(5, 10, 3))
    strokeRAS(red(), [ras(5, 10, 3), ras(12, 10, 3)])
    editor.findChild("QPushButton", "AddButton").click()
    strokeRAS(red(), [ras(5, 10, 3), ras(12, 10, 3)])
    first, second = painted(editor)
    assert not first.any() and second.any()
    editor.undo()
    editor.mrmlSegmentEditorNode().SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteNone)
    strokeRAS(red(), [ras(5, 10, 3), ras(12, 10, 3)])
    first, second = painted(editor)
    np.testing.assert_array_equal(first, second)


def test_a_panel_that_was_left_no_longer_paints(editor):
    editor.removeViewObservations()
    drag(red(), [(40, 40), (80, 80)])
    assert not painted(editor)[0].any()


def test_paint_is_grey_until_there_is_a_source_volume(editor):
    editor.setSourceVolumeNode(None)
    assert not editor.findChild("QPushButton", "PaintButton").enabled
    editor.setActiveEffectByName("Paint")
    assert editor.activeEffect() is None


def test_a_layout_of_the_modules_own_is_shown_and_left_again(mainWindow, image):
    layoutManager = slicer.app.layoutManager()
    changes = []
    layoutManager.connect("layoutChanged(int)", changes.append)
    before = layoutManager.layout
    layoutManager.layoutLogic().GetLayoutNode().AddLayoutDescription(9871, SIDE_BY_SIDE)
    layoutManager.setLayout(9871)
    assert layoutManager.sliceWidget("Left").isVisible() and not red().isVisible()
    slicer.util.setSliceViewerLayers(background=image, fit=True)
    showNow()
    left, right = layoutManager.sliceWidget("Left"), layoutManager.sliceWidget("Right")
    assert abs(left.width - right.width) < 10 and left.grab().toImage() == right.grab().toImage()
    layoutManager.setLayout(before)
    assert red().isVisible() and not left.isVisible()
    assert changes == [9871, before]


def test_slicers_own_layouts_are_all_there(mainWindow):
    layoutManager = slicer.app.layoutManager()
    for layout in ("OneUpRedSliceView", "SideBySideView", "TabbedSliceView", "ConventionalView", "CompareGridView"):
        layoutManager.layout = getattr(slicer.vtkMRMLLayoutNode, f"SlicerLayout{layout}")
        processEvents()
    layoutManager.layout = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    assert all(layoutManager.sliceWidget(name).isVisible() for name in ("Red", "Green", "Yellow"))


def test_a_closed_scene_leaves_the_views_black(image, scene):
    red().mrmlSliceNode().JumpSlice(*ras(15, 23, 7))
    showNow()
    where = pixelOf(red(), ras(15, 23, 7))
    assert red().grab().toImage().pixelColor(*where).lightness() > 150
    scene.Clear()
    showNow()
    assert red().grab().toImage().pixelColor(*where).lightness() == 0


def test_a_screenshot_is_a_picture_of_the_window(mainWindow, image, tmp_path):
    import qt

    picture = qt.QImage(str(saveScreenshot(mainWindow, tmp_path / "new" / "window.png")))
    assert (picture.width(), picture.height()) == (mainWindow.width, mainWindow.height)


def test_a_machine_that_cannot_render_is_told_what_to_install():
    code = "from slicerStandIn.views.rendering import renderWindowClass; print(renderWindowClass())"
    blind = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "__EGL_VENDOR_LIBRARY_FILENAMES": "/nonexistent"}
    done = subprocess.run([sys.executable, "-c", code], env=blind, capture_output=True, text=True, check=False)
    refused = NoRendering.__name__ in done.stderr and "apt-get install libgl1 libegl1" in done.stderr
    assert refused or done.stdout.strip() == "vtkOSOpenGLRenderWindow"
