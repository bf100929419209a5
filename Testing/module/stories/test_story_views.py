"""Slices, zoom and the look of segmentations stay as the user left them, whatever is shown."""

import numpy as np
import pytest
import slicer
from finishedRun import finishedRun
from opened import home, opened, tinyPacks  # noqa: F401
from slicerStandIn.testing.eventLoop import processEvents
from VCMSlicerLib.conditions.conditionSource import ConditionChoice
from VCMSlicerLib.results.comparison import Comparison, outline, putLooksBack
from VCMSlicerLib.results.results import Results
from VCMSlicerLib.scene.sliceViews import isInView, showInSlices

PLACE = (-14.0, -23.0, 11.0)


@pytest.fixture
def added(scene, tmp_path):
    """Two results that were asked for with a segmentation."""
    drawn = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    drawn.CreateDefaultDisplayNodes()
    drawn.GetSegmentation().AddEmptySegment("ventricles")
    choice = ConditionChoice("anatomy", segmentationNode=drawn, segmentIds=("ventricles",))
    return Results().add(*finishedRun(tmp_path, 2), [choice])


def widgetOf(view):
    return slicer.app.layoutManager().sliceWidget(view)


def states():
    """Where the usual views are and how far they are zoomed in."""
    found = {}
    for view in ("Red", "Green", "Yellow"):
        node = widgetOf(view).mrmlSliceNode()
        found[view] = (slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS()).copy(), np.array(node.GetFieldOfView()))
    return found


def same(before, after):
    """Slices and zoom alike; how wide a view is, is the layout's."""
    return all(
        np.allclose(before[view][0], after[view][0], atol=1e-4)
        and before[view][1][1] == pytest.approx(after[view][1][1], abs=1e-3)
        for view in before
    )


def backgrounds():
    return {
        view: widgetOf(view).mrmlSliceCompositeNode().GetBackgroundVolumeID() for view in ("Red", "Green", "Yellow")
    }


def lookAt(place, zoom):
    for view in ("Red", "Green", "Yellow"):
        node = widgetOf(view).mrmlSliceNode()
        node.JumpSlice(*place)
        across, down, depth = node.GetFieldOfView()
        node.SetFieldOfView(across / zoom, down / zoom, depth)
    processEvents(0.1)


def head(name, shift=(0.0, 0.0, 0.0)):
    """A volume of 160 × 180 × 150 mm around the origin, or beside it."""
    affine = np.diag([4.0, 4.0, 5.0, 1.0])
    affine[:3, 3] = np.array([-80.0, -90.0, -75.0]) + shift
    return slicer.util.addVolumeFromArray(np.ones((30, 45, 40), np.float32), affine, name)


def test_an_image_is_fitted_into_empty_views_once_and_then_left_where_the_user_looks(mainWindow, scene):
    first, second = head("first"), head("second", (3, 0, 0))
    showInSlices(background=first)
    processEvents(0.1)
    fitted = widgetOf("Red").mrmlSliceNode().GetFieldOfView()
    assert min(fitted[0] / 160, fitted[1] / 180) == pytest.approx(1, abs=0.05), "it fills the view"
    lookAt(PLACE, 3)
    before = states()
    showInSlices(background=second, foreground=first, foregroundOpacity=0.6)
    assert same(before, states())
    assert backgrounds()["Yellow"] == second.GetID()
    assert widgetOf("Red").mrmlSliceCompositeNode().GetForegroundOpacity() == pytest.approx(0.6)


def test_views_that_would_show_nothing_of_the_image_are_moved_to_it_and_only_those(mainWindow, scene):
    showInSlices(background=head("first"))
    lookAt(PLACE, 1)
    before = states()
    aside = head("beside", (0, 0, 100.0))  # from 22.5 mm up: the axial slice at 11 mm misses it
    assert [isInView(widgetOf(view).mrmlSliceNode(), aside) for view in ("Red", "Green", "Yellow")] == [
        False,
        True,
        True,
    ]
    showInSlices(background=aside)
    after = states()
    assert not np.allclose(before["Red"][0], after["Red"][0])
    assert same({view: before[view] for view in ("Green", "Yellow")}, after)


def test_a_view_zoomed_into_a_corner_sees_nothing_of_an_image_elsewhere(mainWindow, scene):
    volume = head("first")
    showInSlices(background=volume)
    node = widgetOf("Red").mrmlSliceNode()
    assert isInView(node, volume)
    node.SetFieldOfView(10, 10, node.GetFieldOfView()[2])
    node.JumpSliceByCentering(200, 0, 0)
    assert not isInView(node, volume)


def test_compare_opens_on_the_slice_looked_at_and_leaves_all_as_it_was(mainWindow, added):
    result = added[0]
    showInSlices(background=result)
    lookAt((10.0, -30.0, -12.0), 2)
    before, shown = states(), backgrounds()
    comparison = Comparison()
    comparison.compare(result)
    processEvents(0.2)
    for column in ("Controlled", "Uncontrolled", "Difference"):
        axial = widgetOf(f"VCM{column}Axial").mrmlSliceNode()
        coronal = widgetOf(f"VCM{column}Coronal").mrmlSliceNode()
        assert axial.GetSliceToRAS().GetElement(2, 3) == pytest.approx(-12.0, abs=0.1)
        assert coronal.GetSliceToRAS().GetElement(1, 3) == pytest.approx(-30.0, abs=0.1)
        seen, wanted = axial.GetFieldOfView(), before["Red"][1]
        assert seen[0] >= wanted[0] - 0.1 and seen[1] >= wanted[1] - 0.1, "what was in sight is in sight"
        assert min(seen[0] / wanted[0], seen[1] / wanted[1]) == pytest.approx(1, abs=0.05), "as large as it can be"
    widgetOf("VCMDifferenceAxial").mrmlSliceNode().JumpSlice(0, 0, 4)
    comparison.compare(added[1])
    assert widgetOf("VCMDifferenceAxial").mrmlSliceNode().GetSliceToRAS().GetElement(2, 3) == pytest.approx(4, abs=0.1)
    comparison.close()
    processEvents(0.2)
    assert same(before, states()) and backgrounds() == shown


def test_with_the_editor_open_a_layout_changes_and_the_result_stays_in_the_views(opened):  # noqa: F811
    opened.press(opened.ui.startDemoButton)
    result = head("a result")
    showInSlices(background=result)
    manager = slicer.app.layoutManager()
    usual = manager.layout
    for layout in (slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView, usual):
        manager.setLayout(layout)
        processEvents(0.1)
        assert set(backgrounds().values()) == {result.GetID()}


def test_only_a_comparison_changes_the_look_of_a_segmentation_and_a_saved_one_is_put_back(scene, tmp_path):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetOpacity2DOutline(0.4)
    outline([node])
    outline([node])
    assert not node.GetDisplayNode().GetVisibility2DFill() and node.GetDisplayNode().GetOpacity2DOutline() == 1.0
    assert slicer.util.saveScene(str(tmp_path / "comparing.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "comparing.mrb"))
    putLooksBack()
    (display,) = slicer.util.getNodesByClass("vtkMRMLSegmentationDisplayNode")
    assert display.GetVisibility2DFill() and display.GetOpacity2DOutline() == pytest.approx(0.4)
    assert not display.GetAttributeNames() or "VCMSlicer.LookBefore" not in display.GetAttributeNames()


def test_showing_a_result_leaves_the_look_of_its_segmentations_alone(mainWindow, added):
    display = slicer.util.getNode("drawn").GetDisplayNode()
    Comparison().show(added[0])
    assert display.GetVisibility2DFill()
    comparison = Comparison()
    comparison.compare(added[0])
    assert not display.GetVisibility2DFill()
    comparison.close()
    assert display.GetVisibility2DFill()
