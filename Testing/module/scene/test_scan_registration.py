"""A scan in a patient's own space is carried into the model's by a transform, and everything finds its way back."""

import numpy as np
import pytest
import slicer
import vtk
from logicSetup import obliqueScan, scan, transformNode, turned
from vcm.conditions.condition import ClassSpec, Kind
from vcm.registration.pose import Pose
from vcm.registration.transform_file import write_transform
from VCMSlicerLib.conditions.conditionSource import ConditionChoice, conditionImage
from VCMSlicerLib.conditions.scanRegistration import (
    REGISTRATION_REFERENCE,
    RegistrationKeeper,
    accept,
    drawnOn,
    placeResult,
    registerNode,
    registrationOf,
    rememberRegistration,
    scanOf,
    showOwnSlices,
    undo,
)
from VCMSlicerLib.models.packInfo import ConditionInfo
from VCMSlicerLib.results.results import CONDITION_REFERENCE, TWIN_REFERENCE
from VCMSlicerLib.scene.worldImages import volumeImage

VENTRICLES = ConditionInfo("ventricles", Kind.MASK, (ClassSpec(1, "ventricles"),))


def move():
    """A rigid move that no axis, sign or order can be exchanged in."""
    matrix = turned(0, 31) @ turned(2, -14) @ turned(1, 7)
    matrix[:3, 3] = (23, -31, 11)
    return matrix


def own(node):
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


@pytest.fixture
def patient():
    """A scan under a transform of the user's, another volume under it too, and a mask drawn on the scan."""
    volume, affine = obliqueScan()
    users = turned(1, 9)
    users[:3, 3] = (6, -4, 11)
    above = transformNode(users)
    other = scan((5, 6, 7), np.eye(4), "another")
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segmentation.GetSegmentation().AddEmptySegment("v", "Ventricles")
    for node in (volume, other, segmentation):
        node.SetAndObserveTransformNodeID(above.GetID())
    shape = np.zeros(slicer.util.arrayFromVolume(volume).shape, np.uint8)
    shape[8:25, 30:60, 20:33] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(shape, segmentation, "v", volume)
    return volume, affine, above, users, other, segmentation, shape


def test_a_scan_is_carried_from_where_it_lies_in_the_world_and_nothing_else_moves(patient):
    volume, affine, above, users, other, segmentation, _ = patient
    before = slicer.util.arrayFromVolume(volume).copy()
    transform = registerNode(volume, move().ravel(), "Registered.", "good")
    assert np.allclose(volumeImage(volume).ijkToRas, move() @ users @ affine, atol=1e-9)
    assert np.allclose(own(volume), affine) and np.array_equal(slicer.util.arrayFromVolume(volume), before)
    assert transform.GetParentTransformNode() is above
    assert np.allclose(slicer.util.arrayFromTransformMatrix(above), users)
    assert other.GetParentTransformNode() is above
    assert segmentation.GetParentTransformNode() is transform, "what was drawn on it goes with it"
    assert registrationOf(volume) is registrationOf(segmentation) is transform and registrationOf(other) is None
    assert scanOf(transform) is volume and drawnOn(volume) == [segmentation]


@pytest.mark.parametrize("how", ["the button", "another module"])
def test_removing_the_transform_leaves_everything_as_it_was(patient, how):
    volume, affine, above, users, _, segmentation, _ = patient
    keeper = RegistrationKeeper()
    transform = registerNode(volume, move().ravel(), "Registered.", "good")
    if how == "the button":
        undo(transform)
    else:
        slicer.mrmlScene.RemoveNode(transform)
    keeper.close()
    assert volume.GetParentTransformNode() is segmentation.GetParentTransformNode() is above
    assert np.allclose(volumeImage(volume).ijkToRas, users @ affine)
    assert transform.GetScene() is None


def test_a_mask_drawn_on_the_scan_is_given_where_the_scan_was_carried_and_comes_back_on_it(patient):
    volume, affine, _, users, _, segmentation, shape = patient
    registerNode(volume, move().ravel(), "Registered.", "good")
    choice = ConditionChoice("ventricles", segmentationNode=segmentation, segmentIds=("v",))
    given = conditionImage(choice, VENTRICLES)
    k, j, i = np.nonzero(given.array)
    points = np.stack([i, j, k, np.ones_like(i)])
    backOnScan = np.linalg.inv(move() @ users @ affine) @ given.ijkToRas @ points
    back = np.zeros(shape.shape, np.uint8)
    i, j, k = np.rint(backOnScan[:3]).astype(int)
    back[k, j, i] = 1
    assert 2 * (back & shape).sum() / (back.sum() + shape.sum()) > 0.98


def result(name="made"):
    node = slicer.util.addVolumeFromArray(
        np.random.default_rng(1).random((6, 7, 8)), move() @ np.diag([2, 2, 3, 1.0]), name
    )
    node.SetAttribute("VCMSlicer.Synthetic", "true")
    return node


def test_a_result_gets_the_scans_millimetres_or_the_models_and_is_seen_in_one_place(patient):
    volume, _, _, users, _, segmentation, _ = patient
    transform = registerNode(volume, move().ravel(), "Registered.", "good")
    accept(transform)
    made, twin = result(), result("without")
    made.SetNodeReferenceID(TWIN_REFERENCE, twin.GetID())
    made.AddNodeReferenceID(CONDITION_REFERENCE, segmentation.GetID())
    place = own(made)
    rememberRegistration([made])
    assert made.GetNodeReference(REGISTRATION_REFERENCE) is transform
    for _ in range(2):
        placeResult(made, True)
        for node in (made, twin):
            assert np.allclose(volumeImage(node).ijkToRas, place, atol=1e-6)
            # From the result to the scan, in the scan's own millimetres, without any transform.
            assert np.allclose(own(node), np.linalg.inv(move() @ users) @ place, atol=1e-6)
    placeResult(made, False)
    for node in (made, twin):
        assert node.GetParentTransformNode() is None
        assert np.allclose(own(node), place, atol=1e-6)
    placeResult(made, True)
    undo(transform)
    assert np.allclose(volumeImage(made).ijkToRas, users @ np.linalg.inv(move() @ users) @ place, atol=1e-6)


def test_a_result_of_nothing_registered_stays_where_it_is(patient):
    made = result()
    made.AddNodeReferenceID(CONDITION_REFERENCE, patient[5].GetID())
    rememberRegistration([made])
    placeResult(made, True)
    assert made.GetParentTransformNode() is None


@pytest.mark.parametrize("ending", [".tfm", ".h5"])
def test_slicer_reads_the_commands_transform_as_the_move_of_the_scan(tmp_path, ending):
    """Slicer's own reader turns an ITK file round; what it makes of ours carries the scan into the model's space."""
    path = tmp_path / f"scan-to-model{ending}"
    write_transform(path, Pose(move()))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    storage = slicer.vtkMRMLTransformStorageNode()
    storage.SetFileName(str(path))
    assert storage.ReadData(node) == 1
    matrix = vtk.vtkMatrix4x4()
    node.GetMatrixTransformToParent(matrix)
    assert np.allclose(slicer.util.arrayFromVTKMatrix(matrix), move(), atol=1e-6)


def test_a_transform_that_bends_space_is_refused_in_a_sentence():
    from vcm.core.errors import VcmError

    volume, _ = obliqueScan()
    bending = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    spline = vtk.vtkThinPlateSplineTransform()
    points, moved = vtk.vtkPoints(), vtk.vtkPoints()
    for corner in np.ndindex(2, 2, 2):
        points.InsertNextPoint(*(50.0 * np.array(corner)))
        moved.InsertNextPoint(*(50.0 * np.array(corner) + (3.0 if sum(corner) == 3 else 0.0)))
    spline.SetSourceLandmarks(points)
    spline.SetTargetLandmarks(moved)
    spline.SetBasisToR()
    bending.SetAndObserveTransformToParent(spline)
    volume.SetAndObserveTransformNodeID(bending.GetID())
    with pytest.raises(VcmError, match="bends space"):
        registerNode(volume, np.eye(4).ravel(), "", "good")


def test_the_views_turn_to_the_planes_of_the_scan(patient, mainWindow):
    volume = patient[0]
    registerNode(volume, move().ravel(), "Registered.", "good")
    showOwnSlices(volume)
    axes = volumeImage(volume).ijkToRas[:3, :3]
    axes = axes / np.linalg.norm(axes, axis=0)
    normal = slicer.util.arrayFromVTKMatrix(
        slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().GetSliceToRAS()
    )[:3, 2]
    assert np.abs(axes.T @ normal).max() > 0.999
