"""The model that ships, without any download: a whole head, and a loaded T1w as the start."""

import sys

import numpy as np
import slicer
from opened import home, inWorldOrder, openedPlain  # noqa: F401
from slicerStandIn.testing.eventLoop import processEvents, waitUntil
from VCMSlicerLib.conditions.startPoints import TEMPLATE_HEAD
from VCMSlicerLib.models.packCatalogue import DEFAULT_PACK


def test_the_model_that_ships_makes_a_head_in_the_place_of_the_average_head(openedPlain):  # noqa: F811
    openedPlain.logic.environment.interpreter = sys.executable
    assert openedPlain.panel.context.pack.name == DEFAULT_PACK
    openedPlain.press(openedPlain.ui.previewButton)
    openedPlain.ui.livePreviewBox.checked = False
    processEvents(0.1)
    (sample,) = openedPlain.generate(180)
    average = slicer.util.loadVolume(str(TEMPLATE_HEAD))
    made, expected = inWorldOrder(sample), inWorldOrder(average)
    assert made.shape == expected.shape
    assert np.corrcoef(made.ravel(), expected.ravel())[0, 1] > 0.75
    turned = expected[:, ::-1]
    assert np.corrcoef(made.ravel(), turned.ravel())[0, 1] < 0.75, "front and back are not exchanged"


def test_a_loaded_t1w_is_segmented_and_becomes_the_start(openedPlain):  # noqa: F811
    openedPlain.logic.environment.interpreter = sys.executable
    openedPlain.parameters.controlName = "brainldm-mini-ventricles"
    processEvents(0.1)
    head = slicer.util.loadVolume(str(TEMPLATE_HEAD))
    openedPlain.panel.conditions.startFromScan(head)
    # It is registered first, as any scan is: a head of its own lies a few millimetres off the mean one.
    waitUntil(lambda: not openedPlain.client.state.busy, 240, "the registration")
    processEvents(0.2)
    openedPlain.press(openedPlain.panel.conditions.registration.ui.acceptRegistrationButton)
    waitUntil(lambda: not openedPlain.client.state.busy, 240, "the segmentation")
    processEvents(0.2)
    assert openedPlain.client.failure is None, openedPlain.client.failure
    (segmentation,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    drawn = segmentation.GetSegmentation()
    names = [drawn.GetNthSegment(index).GetName() for index in range(drawn.GetNumberOfSegments())]
    assert names == ["Ventricles"], "what the control takes, and nothing else"
    assert openedPlain.parameters.condition("ventricles").node is segmentation
    (id,) = openedPlain.parameters.choice(openedPlain.panel.conditions.conditions()[0]).segmentIds
    ml = np.count_nonzero(slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, id)) * 8 / 1000
    assert 10 < ml < 60
    assert openedPlain.ui.generateButton.enabled, openedPlain.ui.generateButton.toolTip
