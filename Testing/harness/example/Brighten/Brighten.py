"""A scripted module as small as they come: adds a number to an image inside a mask. Written for Slicer, tested here."""

from typing import Annotated

import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class Brighten(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Brighten")
        parent.categories = ["Examples"]


@parameterNodeWrapper
class BrightenParameterNode:
    image: vtkMRMLScalarVolumeNode
    mask: vtkMRMLSegmentationNode
    amount: Annotated[float, WithinRange(0.0, 100.0)] = 40.0


class BrightenWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.parameters = self.guiTag = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/Brighten.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        self.logic = BrightenLogic()
        self.editorNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
        self.ui.segmentEditor.setMRMLSegmentEditorNode(self.editorNode)
        panel.setMRMLScene(slicer.mrmlScene)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onEndClose)

    def cleanup(self):
        self.removeObservers()

    def enter(self):
        self.connectParameters(self.logic.getParameterNode())
        self.ui.segmentEditor.setupViewObservations()

    def exit(self):
        self.ui.segmentEditor.setActiveEffect(None)
        self.ui.segmentEditor.removeViewObservations()
        self.connectParameters(None)

    def onStartClose(self, caller, event):
        self.connectParameters(None)

    def onEndClose(self, caller, event):
        if self.parent.isEntered:
            self.connectParameters(self.logic.getParameterNode())

    def connectParameters(self, parameters):
        if self.parameters is not None:
            self.parameters.disconnectGui(self.guiTag)
            self.removeObserver(self.parameters, vtk.vtkCommand.ModifiedEvent, self.onModified)
        self.parameters = parameters
        if parameters is not None:
            self.guiTag = parameters.connectGui(self.ui)
            self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self.onModified)
            if parameters.image is None:
                parameters.image = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
            self.onModified()

    def onModified(self, caller=None, event=None):
        self.ui.segmentEditor.setSegmentationNode(self.parameters.mask)
        self.ui.segmentEditor.setSourceVolumeNode(self.parameters.image)
        self.ui.applyButton.enabled = self.parameters.image is not None and self.parameters.mask is not None

    def onApply(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("Failed to brighten.")):
            self.logic.brighten(self.parameters.image, self.parameters.mask, self.parameters.amount)


class BrightenLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self):
        return BrightenParameterNode(super().getParameterNode())

    def brighten(self, image, mask, amount):
        """Add `amount` to the voxels of `image` in the segments of `mask`; give the number of voxels."""
        values = slicer.util.arrayFromVolume(image)
        inside = values < values.min()
        for segmentID in mask.GetSegmentation().GetSegmentIDs():
            inside |= slicer.util.arrayFromSegmentBinaryLabelmap(mask, segmentID, image) > 0
        if not inside.any():
            raise ValueError(_("The mask is empty."))
        values[inside] += amount
        slicer.util.arrayFromVolumeModified(image)
        return int(inside.sum())


class BrightenTest(ScriptedLoadableModuleTest):
    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_an_empty_mask_is_refused()

    def test_an_empty_mask_is_refused(self):
        import numpy as np

        image = slicer.util.addVolumeFromArray(np.zeros((3, 4, 5), np.float32))
        mask = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        with self.assertRaises(ValueError):
            BrightenLogic().brighten(image, mask, 1.0)
