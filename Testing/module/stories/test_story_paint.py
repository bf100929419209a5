"""A clinician paints, generates and sees: by mouse, with a real worker."""

import numpy as np
import slicer
from opened import home, opened, tinyPacks  # noqa: F401

STROKE = [(-14, 6, 8), (-14, -10, 8), (-10, -22, 8)]


def voxels(opened):  # noqa: F811
    node = opened.parameters.condition("ventricles").node
    choice = opened.parameters.choice(opened.panel.conditions.conditions()[0])
    return sum(int((slicer.util.arrayFromSegmentBinaryLabelmap(node, id) > 0).sum()) for id in choice.segmentIds)


def test_painting_on_a_blank_and_pressing_generate_gives_a_volume_that_lies_on_the_models_grid(opened):  # noqa: F811
    opened.press(opened.ui.startBlankButton)
    assert not opened.ui.generateButton.enabled
    assert "nothing is drawn" in opened.ui.generateButton.toolTip
    opened.paint(STROKE)
    assert voxels(opened) > 0
    assert opened.ui.generateButton.enabled, opened.ui.generateButton.toolTip
    (sample,) = opened.generate()
    pack = opened.panel.context.pack
    assert sample.GetImageData().GetDimensions() == pack.grid.shape
    matrix = slicer.util.arrayFromVTKMatrix(_ijkToRas(sample))
    assert np.allclose(matrix, pack.grid.affine, atol=1e-4)
    assert "Synthetic" in sample.GetName()
    assert sample.GetAttribute("VCMSlicer.Synthetic") == "true"
    red = slicer.app.layoutManager().sliceWidget("Red")
    assert red.mrmlSliceCompositeNode().GetBackgroundVolumeID() == sample.GetID()
    assert opened.ui.resultsTable.rowCount == 1


def _ijkToRas(node):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return matrix
