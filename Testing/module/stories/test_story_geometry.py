"""Drawn where the patient lies, seen by the model where it belongs: oblique scans, transforms, overlaps."""

import itertools

import numpy as np
import pytest
import slicer
import vtk
from logicSetup import obliqueScan, transformNode, turned
from opened import home, opened, tinyPacks  # noqa: F401
from slicerStandIn.testing.eventLoop import processEvents, waitUntil


def seen(opened, name):  # noqa: F811
    """Press “What the model sees”; the world points (mm) of its voxels."""
    opened.press(opened.ui.seeButton)
    waitUntil(lambda: not opened.client.state.busy, 90, "the answer")
    processEvents(0.2)
    assert opened.client.failure is None, opened.client.failure
    (node,) = [n for n in slicer.util.getNodesByClass("vtkMRMLVolumeNode") if n.GetAttribute("VCMSlicer.Seen") == name]
    assert node.GetImageData().GetDimensions() == opened.panel.context.pack.grid.shape
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    array = slicer.util.arrayFromVolume(node)
    k, j, i = np.nonzero(array)
    return (np.stack([i, j, k, np.ones_like(i)]).T @ slicer.util.arrayFromVTKMatrix(matrix).T)[:, :3], array


@pytest.fixture
def oblique(opened):  # noqa: F811
    """A scan of 0.9 × 0.9 × 2 mm, tilted, under a transform that turns and moves it, with an empty segment on it."""
    volume, _affine = obliqueScan()
    matrix = turned(1, 9)
    matrix[:3, 3] = (6, -4, 11)
    transform = transformNode(matrix)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "on the scan")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segmentation.GetSegmentation().AddEmptySegment("", "Ventricles")
    for node in (volume, segmentation):
        node.SetAndObserveTransformNodeID(transform.GetID())
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    opened.row("ventricles").sourceBox.setCurrentNode(segmentation)
    opened.settle()
    assert opened.parameters.condition("ventricles").enabled
    return opened


def test_a_stroke_on_an_oblique_scan_under_a_transform_arrives_where_it_was_drawn(oblique):
    stroke = [(12, 8, 14), (12, -6, 14), (-9, -6, 14)]
    oblique.paint(stroke)
    points, _array = seen(oblique, "ventricles")
    along = np.concatenate([np.linspace(a, b, 40) for a, b in itertools.pairwise(stroke)])
    nearest = np.linalg.norm(points[:, None] - along[None], axis=2)
    # A voxel of the tiny grid is 4 mm wide, the brush some millimetres more: none further, and no part left out.
    assert nearest.min(axis=1).max() < 9
    assert nearest.min(axis=0).max() < 6


def test_the_image_made_from_it_lies_over_the_scan(oblique):
    oblique.paint([(10, 6, 10), (10, -10, 10), (-8, -10, 10)])
    (sample,) = oblique.generate()
    assert sample.GetParentTransformNode() is None
    bounds = [0.0] * 6
    sample.GetRASBounds(bounds)
    assert bounds[0] < -8 and bounds[1] > 10 and bounds[4] < 10 < bounds[5]


def test_painting_into_one_of_two_overlapping_segments_leaves_the_other_and_only_the_chosen_is_sent(opened):  # noqa: F811
    opened.press(opened.ui.startDemoButton)
    node = opened.parameters.condition("ventricles").node
    first = node.GetSegmentation().GetNthSegmentID(0)
    before = slicer.util.arrayFromSegmentBinaryLabelmap(node, first).copy()
    second = node.GetSegmentation().AddEmptySegment("", "Something else")
    opened.settle()
    opened.ui.editor.setCurrentSegmentID(second)
    opened.paint([(-6, 6, 8), (-6, -14, 8), (8, -14, 8)])
    drawn = slicer.util.arrayFromSegmentBinaryLabelmap(node, second)
    assert drawn.any()
    reference = slicer.util.arrayFromSegmentBinaryLabelmap(node, first)
    assert np.array_equal(reference, before), "painting over a structure must not eat it away"
    assert opened.parameters.choice(opened.panel.conditions.conditions()[0]).segmentIds == (first,)
    together, _array = seen(opened, "ventricles")
    opened.row("ventricles").segmentBox.setCurrentIndex(opened.row("ventricles").segmentBox.findText("Something else"))
    opened.row("ventricles").segmentBox.activated.emit(0)
    opened.settle()
    assert opened.parameters.condition("ventricles").segmentId == second
    alone, _array = seen(opened, "ventricles")
    assert len(alone) < len(together)
