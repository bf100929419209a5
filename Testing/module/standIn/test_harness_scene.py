"""The stand-in's scene is MRML itself: volumes, segments, files, observers, core modules."""

import numpy as np
import pytest
import slicer
import slicer.packaging
import vtk
from slicer.util import VTKObservationMixin
from slicerStandIn.testing.pip import PipRefused

OBLIQUE = np.array([[0.0, -0.9, 0.1, 4.0], [0.9, 0.0, 0.2, -7.0], [0.1, 0.2, 2.0, 11.0], [0, 0, 0, 1]])


def asymmetric():
    values = np.zeros((5, 7, 9), np.float32)
    values[1, 2, 3:8] = 4.5
    return values


def test_a_volume_survives_a_file_with_its_geometry(scene, tmp_path):
    volume = slicer.util.addVolumeFromArray(asymmetric(), OBLIQUE, "Oblique")
    assert slicer.util.saveNode(volume, str(tmp_path / "v.nrrd"))
    read = slicer.util.loadVolume(str(tmp_path / "v.nrrd"))
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(read), asymmetric())
    matrix = vtk.vtkMatrix4x4()
    read.GetIJKToRASMatrix(matrix)
    np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(matrix), OBLIQUE, atol=1e-6)


def test_exporting_leaves_the_nodes_own_file_alone(scene, tmp_path):
    volume = slicer.util.addVolumeFromArray(asymmetric())
    slicer.util.saveNode(volume, str(tmp_path / "own.nrrd"))
    assert slicer.util.exportNode(volume, str(tmp_path / "copy.nii.gz"))
    assert volume.GetStorageNode().GetFileName().endswith("own.nrrd")
    assert slicer.util.loadVolume(str(tmp_path / "copy.nii.gz")).GetName() == "copy"


def test_a_missing_file_is_an_error_that_names_it(scene):
    with pytest.raises(RuntimeError, match="nothing-here"):
        slicer.util.loadVolume("/tmp/nothing-here.nrrd")


def test_a_bundle_brings_back_the_whole_scene(scene, tmp_path):
    volume = slicer.util.addVolumeFromArray(asymmetric(), OBLIQUE, "Oblique")
    mask = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mask")
    mask.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segment = mask.GetSegmentation().AddEmptySegment("a", "A")
    painted = (asymmetric() > 0).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(painted, mask, segment, volume)
    assert slicer.util.saveScene(str(tmp_path / "s.mrb"))
    scene.Clear()
    slicer.util.loadScene(str(tmp_path / "s.mrb"))
    read = slicer.util.getNode("Mask")
    found = slicer.util.arrayFromSegmentBinaryLabelmap(read, segment, slicer.util.getNode("Oblique"))
    np.testing.assert_array_equal(found, painted)


def test_slice_nodes_keep_their_orientation_when_the_scene_is_closed(mainWindow, scene):
    scene.Clear()
    views = {name: slicer.app.layoutManager().sliceWidget(name) for name in ("Red", "Yellow", "Green")}
    found = {name: view.mrmlSliceNode().GetOrientation() for name, view in views.items()}
    assert found == {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}


def test_observers_of_the_mixin_hear_of_nodes(scene):
    class Listener(VTKObservationMixin):
        def __init__(self):
            VTKObservationMixin.__init__(self)
            self.heard = []

    listener = Listener()
    listener.addObserver(scene, scene.NodeAddedEvent, lambda caller, event: listener.heard.append(caller))
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    listener.removeObservers()
    heard = len(listener.heard)
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    assert len(listener.heard) == heard
    assert listener.heard and set(listener.heard) == {scene}


def test_core_modules_are_there_by_their_logic(scene):
    for name in ("volumes", "segmentations", "sequences", "terminologies", "subjecthierarchy", "cropvolume"):
        assert getattr(slicer.modules, name).logic().GetMRMLScene() is scene
    with pytest.raises(AttributeError, match="nosuchmodule"):
        slicer.modules.nosuchmodule  # noqa: B018


def test_subject_hierarchy_has_an_item_for_every_volume(scene):
    volume = slicer.util.addVolumeFromArray(asymmetric(), name="Volume")
    hierarchy = scene.GetSubjectHierarchyNode()
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Run")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), folder)
    assert slicer.util.getSubjectHierarchyItemChildren(folder) == [hierarchy.GetItemByDataNode(volume)]
    scene.RemoveNode(volume)
    assert slicer.util.getSubjectHierarchyItemChildren(folder) == []


def test_the_sequences_toolbar_remembers_its_browser(scene):
    toolBar = slicer.modules.sequences.toolBar()
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    toolBar.setActiveBrowserNode(browser)
    assert toolBar.activeBrowserNode() is browser
    scene.Clear()
    assert toolBar.activeBrowserNode() is None


def test_without_a_main_window_there_is_no_layout_manager(scene):
    assert slicer.util.mainWindow() is None and slicer.app.layoutManager() is None


def test_registered_sample_data_is_copied_checked_and_loaded(scene, tmp_path):
    import SampleData

    volume = slicer.util.addVolumeFromArray(asymmetric())
    path = tmp_path / "sample.nrrd"
    slicer.util.saveNode(volume, str(path))
    digest = slicer.util.computeChecksum("SHA256", str(path))
    register = SampleData.SampleDataLogic.registerCustomSampleDataSource
    common = {"category": "Harness", "uris": path.as_uri(), "fileNames": "s.nrrd", "nodeNames": "Sample"}
    register(**common, sampleName="Good", checksums=f"SHA256:{digest}")
    register(**common, sampleName="Bad", checksums=f"SHA256:{digest[::-1]}")
    assert SampleData.SampleDataLogic().downloadSample("Good").GetName() == "Sample"
    with pytest.raises(ValueError, match="expected SHA256"):
        SampleData.SampleDataLogic().downloadSample("Bad")


def test_pip_is_refused(scene):
    with pytest.raises(PipRefused, match="install torch"):
        slicer.packaging.pip_install("torch")


def test_pip_goes_to_a_runner_of_the_test(scene, pip):
    calls = []
    pip.runner = calls.append
    slicer.packaging.pip_install("torch")
    assert [call[:2] for call in calls] == [["install", "torch"]]
