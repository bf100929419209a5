"""A patient's scan, from loading to a result in its own space."""

import sys

import numpy as np
import pytest
import slicer
from logicSetup import FAKE_WORKER, transformNode, turned
from opened import home, openedPlain  # noqa: F401
from slicerStandIn.testing.eventLoop import processEvents, waitUntil
from VCMSlicerLib.conditions.scanRegistration import registrationOf, registrations
from VCMSlicerLib.conditions.startPoints import TEMPLATE_HEAD
from VCMSlicerLib.engine.workerProcess import WorkerCommand
from VCMSlicerLib.scene.parameters import ResultSpace
from VCMSlicerLib.scene.worldImages import volumeImage


@pytest.fixture
def patient(openedPlain):  # noqa: F811
    """The module over a worker that finds a turn of 30° and a shift of 40 mm in whatever it is given."""
    openedPlain.logic.environment.interpreter = sys.executable
    openedPlain.parameters.controlName = "brainldm-mini-ventricles"
    openedPlain.client._connection._command = lambda: WorkerCommand(sys.executable, (str(FAKE_WORKER),))
    processEvents(0.1)
    return openedPlain


def found():
    """What the fake worker answers: from the scan's millimetres to the model's."""
    matrix = turned(2, 30)
    matrix[:3, 3] = (24, -32, 0)
    return matrix


def loaded(under=None):
    volume = slicer.util.loadVolume(str(TEMPLATE_HEAD), properties={"name": "Patient"})
    volume.SetAttribute("VCMSlicer.Synthetic", None)
    if under is not None:
        volume.SetAndObserveTransformNodeID(under.GetID())
    return volume


def settled(opened):
    waitUntil(lambda: not opened.client.state.busy, 60, "the worker")
    opened.settle()
    assert opened.client.failure is None, opened.client.failure


def registration(opened):
    return opened.panel.conditions.registration


def start(opened, volume):
    opened.panel.conditions.startFromScan(volume)
    settled(opened)


def test_a_scan_is_registered_looked_at_accepted_and_segmented_on_its_own_voxels(patient):
    volume = loaded()
    start(patient, volume)
    ui = registration(patient).ui
    assert registration(patient).widget.visible and "turned by 30°" in ui.registrationLabel.text
    assert ui.acceptRegistrationButton.visible and ui.overlayLabel.visible
    assert not slicer.util.getNodesByClass("vtkMRMLSegmentationNode"), "nothing follows before the user has looked"
    patient.press(ui.acceptRegistrationButton)
    settled(patient)
    (segmentation,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert registrationOf(segmentation) is registrationOf(volume) is not None
    id = segmentation.GetSegmentation().GetNthSegmentID(0)
    drawn = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, id, volume)
    k, j, i = drawn.shape
    expected = np.zeros(drawn.shape, np.uint8)
    expected[k // 4 : k // 2, j // 4 : j // 2, i // 4 : i // 2] = 1
    assert np.array_equal(drawn, expected), "voxel by voxel what the worker drew on the scan"
    assert patient.parameters.condition("ventricles").node is segmentation
    assert not ui.acceptRegistrationButton.visible and ui.undoRegistrationButton.visible


def test_a_result_lies_on_the_scan_and_stays_on_it_when_the_registration_is_undone(patient):
    users = turned(1, 12)
    users[:3, 3] = (3, 4, -5)
    volume = loaded(transformNode(users))
    place = volumeImage(volume).ijkToRas
    start(patient, volume)
    patient.press(registration(patient).ui.acceptRegistrationButton)
    settled(patient)
    (sample,) = patient.generate()
    (transform,) = registrations()
    assert sample.GetParentTransformNode() is transform
    inModel = volumeImage(sample).ijkToRas
    box = registration(patient).ui.resultSpaceBox
    box.setCurrentIndex(box.findData(ResultSpace.MODEL.value))
    box.activated.emit(box.currentIndex)
    assert sample.GetParentTransformNode() is None and np.allclose(volumeImage(sample).ijkToRas, inModel, atol=1e-6)
    box.setCurrentIndex(box.findData(ResultSpace.SCAN.value))
    box.activated.emit(box.currentIndex)
    patient.press(registration(patient).ui.undoRegistrationButton)
    assert np.allclose(volumeImage(volume).ijkToRas, place)
    assert not registrations() and not registration(patient).widget.visible
    # Undone, the result has gone back by the same way as the scan.
    assert np.allclose(volumeImage(sample).ijkToRas, np.linalg.inv(found()) @ inModel, atol=1e-6)


def test_what_is_discarded_leaves_the_scan_as_it_was_and_starts_nothing(patient):
    volume = loaded()
    place = volumeImage(volume).ijkToRas
    start(patient, volume)
    assert np.allclose(volumeImage(volume).ijkToRas, found() @ place)
    patient.press(registration(patient).ui.rejectRegistrationButton)
    patient.settle()
    assert volume.GetParentTransformNode() is None and not registrations()
    assert not slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert not registration(patient).widget.visible


def test_a_saved_scene_remembers_the_registration_and_where_results_go(patient):
    volume = loaded()
    start(patient, volume)
    patient.press(registration(patient).ui.acceptRegistrationButton)
    settled(patient)
    patient.parameters.resultSpace = ResultSpace.MODEL
    place = volumeImage(volume).ijkToRas
    path = patient.home / "case.mrb"
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(0)
    patient.settle()
    assert not registration(patient).widget.visible
    slicer.util.loadScene(str(path))
    patient.settle()
    volume = slicer.util.getNode("Patient")
    (transform,) = registrations()
    assert registrationOf(volume) is transform
    corner = np.array([0, 0, 0, 1.0])
    assert np.isclose(volumeImage(volume).ijkToRas @ corner, place @ corner, atol=1e-3).sum() >= 1
    assert patient.parameters.resultSpace is ResultSpace.MODEL
    assert registration(patient).widget.visible and "turned by 30°" in registration(patient).ui.registrationLabel.text


def test_a_wrong_pose_offers_the_button_that_registers(patient, monkeypatch):
    from vcm.core.findings import Finding, Level

    volume = loaded()
    start(patient, volume)
    patient.press(registration(patient).ui.acceptRegistrationButton)
    settled(patient)
    patient.press(registration(patient).ui.undoRegistrationButton)
    patient.settle()

    class Looked:
        findings = (Finding(Level.WARNING, "POSE", "ventricles", "It is turned by 30°.", "Register it."),)

    patient.panel._lookAtFindings(Looked)
    assert patient.ui.problemFrame.visible and "30°" in patient.ui.problemLabel.text
    assert patient.ui.remedyButton.text == "Register…"
    patient.press(patient.ui.remedyButton)
    settled(patient)
    segmentation = patient.parameters.condition("ventricles").node
    assert registrationOf(volume) is registrationOf(segmentation) is not None


def test_a_scan_without_a_head_is_refused_in_a_sentence(patient):
    from vcm.protocol import Registered

    volume = loaded()
    answer = Registered(
        "r", "failed", "No head was found: correlation ratio 0.10 in the brain.", 0.1, 1.0, 0.0, 0.0, (), ""
    )
    registration(patient)._found(volume, answer, None)
    assert patient.ui.problemFrame.visible and "No head was found" in patient.ui.problemLabel.text
    assert volume.GetParentTransformNode() is None
