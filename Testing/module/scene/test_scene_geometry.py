"""What is drawn in the scene reaches the worker at the same millimetres."""

import numpy as np
import pytest
import slicer
import vtk
from logicSetup import (
    letterF,
    obliqueScan,
    scan,
    segmentation,
    transformNode,
    turned,
    vtkMatrix,
    worldPoints,
)
from scipy.spatial import cKDTree
from vcm.conditions.condition import ClassSpec, Kind
from vcm.core.errors import VcmError
from vcm.core.grid import Grid
from vcm.volumes.field_of_view import lost_voxels
from vcm.volumes.volume_files import read_volume
from VCMSlicerLib.conditions.conditionCheck import check
from VCMSlicerLib.conditions.conditionSource import ConditionChoice, exportCondition
from VCMSlicerLib.models.packInfo import ConditionInfo
from VCMSlicerLib.scene.worldImages import segmentsImage, volumeImage

pytestmark = pytest.mark.usefixtures("scene")

VENTRICLES = ConditionInfo("ventricles", Kind.MASK, (ClassSpec(1, "ventricles"),))
SKULL = ConditionInfo("skull", Kind.IMAGE)
TISSUES = ConditionInfo(
    "tissues", Kind.LABELS, (ClassSpec(3, "ventricles"), ClassSpec(1, "white matter"), ClassSpec(7, "amygdala"))
)
GRID = Grid((80, 112, 80), ((-2, 0, 0, 79.0), (0, 2, 0, -122.5), (0, 0, 2, -63.5), (0, 0, 0, 1)))


def exportedPoints(path, value=None):
    """The places of the set voxels as the engine reads them."""
    volume = read_volume(path)
    array = volume.array if value is None else volume.array == value
    i, j, k = np.nonzero(array)
    points = np.stack([i, j, k, np.ones_like(i)]).T @ np.asarray(volume.grid.affine).T
    return points[:, :3]


def samePlaces(found, expected, within=1e-3):
    """Whether two clouds of points are the same, whatever their order."""
    assert len(found) == len(expected)
    distance, index = cKDTree(expected).query(found)
    assert len(set(index)) == len(expected)
    return distance.max() < within


def mask(node, *ids, **more):
    return ConditionChoice("ventricles", segmentationNode=node, segmentIds=ids, **more)


def test_a_segment_on_an_oblique_scan_keeps_its_millimetres(tmp_path):
    volume, affine = obliqueScan()
    shape = letterF(volume)
    node = segmentation(volume, F=shape)
    path = exportCondition(mask(node, "F"), VENTRICLES, tmp_path)
    assert samePlaces(exportedPoints(path), worldPoints(shape, affine))


def test_a_parent_transform_moves_what_is_exported_and_not_the_node(tmp_path):
    volume, affine = obliqueScan()
    shape = letterF(volume)
    node = segmentation(volume, F=shape)
    move = turned(1, 23) @ turned(0, -8)
    move[:3, 3] = (7.25, -13.5, 4.125)
    node.SetAndObserveTransformNodeID(transformNode(move).GetID())
    path = exportCondition(mask(node, "F"), VENTRICLES, tmp_path)
    assert samePlaces(exportedPoints(path), worldPoints(shape, move @ affine))
    assert node.GetParentTransformNode() is not None
    assert np.array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(node, "F", volume) > 0, shape) is False


def test_transforms_in_transforms_that_scale_and_shear_are_exact_too(tmp_path):
    volume, affine = obliqueScan()
    shape = letterF(volume)
    node = segmentation(volume, F=shape)
    shear = np.array([[1.1, 0.2, 0, 3], [0, 0.9, -0.15, -2], [0.05, 0, 1.2, 1], [0, 0, 0, 1]])
    move = turned(2, 31)
    node.SetAndObserveTransformNodeID(transformNode(shear, parent=transformNode(move)).GetID())
    path = exportCondition(mask(node, "F"), VENTRICLES, tmp_path)
    assert samePlaces(exportedPoints(path), worldPoints(shape, move @ shear @ affine))


def bendingTransform():
    """A transform that curves what is straight, as a node in the scene."""
    bend = vtk.vtkThinPlateSplineTransform()
    bend.SetBasisToR()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for x in (-80, 0, 80):
        for y in (-90, 0, 90):
            for z in (-60, 0, 60):
                source.InsertNextPoint(x, y, z)
                target.InsertNextPoint(x + 6 + y * y / 900, y - 3, z + x / 20)
    bend.SetSourceLandmarks(source)
    bend.SetTargetLandmarks(target)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    node.SetAndObserveTransformToParent(bend)
    return node, bend


def test_a_transform_that_bends_space_is_followed(tmp_path):
    volume, affine = obliqueScan()
    shape = letterF(volume)
    shape[3:12, 50:80, 20:60] = True
    node = segmentation(volume, F=shape)
    parent, bend = bendingTransform()
    node.SetAndObserveTransformNodeID(parent.GetID())
    found = exportedPoints(exportCondition(mask(node, "F"), VENTRICLES, tmp_path))
    expected = np.array([bend.TransformPoint(point) for point in worldPoints(shape, affine)])
    assert np.linalg.norm(found.mean(axis=0) - expected.mean(axis=0)) < 0.3
    assert cKDTree(expected).query(found)[0].max() < 1.9  # half the diagonal of a voxel of 0.9 × 0.9 × 2 mm, and more
    assert cKDTree(found).query(expected)[0].max() < 1.9


def test_an_image_under_a_bending_transform_is_resampled(tmp_path):
    volume, affine = obliqueScan()
    k, j, i = np.mgrid[:40, :90, :70]
    shades = (np.exp(-((i - 30) ** 2 + (j - 61) ** 2) / 60 - (k - 22) ** 2 / 15) * 100).astype(np.float32)
    slicer.util.updateVolumeFromArray(volume, shades)
    parent, bend = bendingTransform()
    volume.SetAndObserveTransformNodeID(parent.GetID())
    read = read_volume(exportCondition(ConditionChoice("skull", kind="image", volumeNode=volume), SKULL, tmp_path))
    weights = read.array.ravel() / read.array.sum()
    index = np.stack(np.meshgrid(*map(np.arange, read.array.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    centre = weights @ (index @ read.grid.affine[:3, :3].T + read.grid.affine[:3, 3])
    assert np.linalg.norm(centre - bend.TransformPoint(affine[:3] @ (30, 61, 22, 1))) < 0.2


@pytest.mark.parametrize("first, second", [("white", "vents"), ("vents", "white")])
def test_where_segments_overlap_the_one_named_first_wins(tmp_path, first, second):
    volume, affine = obliqueScan()
    vents, white = letterF(volume), np.zeros((40, 90, 70), bool)
    white[10:25, 18:30, 10:16] = True
    node = segmentation(volume, vents=vents, white=white)
    assert node.GetSegmentation().GetNumberOfLayers() == 2
    value = {"vents": 3, "white": 1}
    choice = ConditionChoice(
        "tissues",
        kind="labels",
        segmentationNode=node,
        segmentIds=(first, second),
        labels=(value[first], value[second]),
    )
    path = exportCondition(choice, TISSUES, tmp_path)
    wins, loses = (white, vents) if first == "white" else (vents, white)
    assert samePlaces(exportedPoints(path, value[first]), worldPoints(wins, affine))
    assert samePlaces(exportedPoints(path, value[second]), worldPoints(loses & ~wins, affine))
    assert (wins & loses).sum() > 50


def test_a_mask_of_several_segments_is_their_union(tmp_path):
    volume, affine = obliqueScan()
    left, right = letterF(volume), letterF(volume, at=(40, 50, 3))
    node = segmentation(volume, left=left, right=right)
    path = exportCondition(mask(node, "left", "right"), VENTRICLES, tmp_path)
    assert samePlaces(exportedPoints(path), worldPoints(left | right, affine))
    assert set(np.unique(read_volume(path).array)) == {0, 1}


def test_segments_that_share_one_labelmap_are_told_apart(tmp_path):
    volume, affine = obliqueScan()
    one, other = letterF(volume), letterF(volume, at=(40, 50, 3))
    node = segmentation(volume, one=one, other=other)
    node.GetSegmentation().CollapseBinaryLabelmaps(True)
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    path = exportCondition(mask(node, "other"), VENTRICLES, tmp_path)
    assert samePlaces(exportedPoints(path), worldPoints(other, affine))


def test_segments_drawn_on_different_voxels_come_together(tmp_path):
    volume, affine = obliqueScan()
    fine = scan((60, 50, 30), [[1, 0, 0, 5.5], [0, 1, 0, -20.5], [0, 0, 1, -10.5], [0, 0, 0, 1]], "fine")
    one, block = letterF(volume), np.zeros((30, 50, 60), bool)
    block[5:25, 10:40, 20:50] = True
    node = segmentation(volume, one=one)
    node.GetSegmentation().AddEmptySegment("block", "block")
    labelmap = slicer.vtkOrientedImageData()
    from VCMSlicerLib.scene.worldImages import WorldImage, orientedImage

    labelmap = orientedImage(WorldImage(block.astype(np.uint8), volumeImage(fine).ijkToRas))
    node.GetSegmentation().GetSegment("block").AddRepresentation("Binary labelmap", labelmap)
    node.GetSegmentation().GetSegment("block").SetLabelValue(1)
    choice = ConditionChoice(
        "tissues", kind="labels", segmentationNode=node, segmentIds=("one", "block"), labels=(3, 1)
    )
    path = exportCondition(choice, TISSUES, tmp_path)
    assert samePlaces(exportedPoints(path, 3), worldPoints(one, affine))
    found = exportedPoints(path, 1)
    expected = worldPoints(block, volumeImage(fine).ijkToRas)
    assert np.linalg.norm(found.mean(axis=0) - expected.mean(axis=0)) < 0.3
    assert abs(len(found) * 0.9 * 0.9 * 2 / len(expected) - 1) < 0.05


def test_a_segment_that_is_only_a_surface_is_exported(tmp_path):
    volume, _affine = obliqueScan()
    sphere = vtk.vtkSphereSource()
    sphere.SetCenter(10, -8, 21)
    sphere.SetRadius(9)
    sphere.SetThetaResolution(40)
    sphere.SetPhiResolution(40)
    sphere.Update()
    node = segmentation(volume)
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    node.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "ball", [1, 0, 0], "ball")
    path = exportCondition(mask(node, "ball"), VENTRICLES, tmp_path)
    found = exportedPoints(path)
    assert np.linalg.norm(found.mean(axis=0) - (10, -8, 21)) < 0.3
    assert abs(len(found) * 0.9 * 0.9 * 2 / (4 / 3 * np.pi * 9**3) - 1) < 0.05
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")


def test_an_image_keeps_its_shades_and_its_place(tmp_path):
    affine = turned(1, 9) @ np.diag([1.1, -0.8, 1.7, 1.0])
    affine[:3, 3] = (-30.5, 44.25, -12.0)
    shades = np.arange(11 * 13 * 17, dtype=np.float32).reshape(11, 13, 17)
    node = slicer.util.addVolumeFromArray(shades, affine, name="t1w")
    move = turned(2, -14)
    node.SetAndObserveTransformNodeID(transformNode(move).GetID())
    path = exportCondition(ConditionChoice("skull", kind="image", volumeNode=node), SKULL, tmp_path)
    volume = read_volume(path)
    assert np.array_equal(volume.array, shades.transpose(2, 1, 0))
    assert np.allclose(volume.grid.affine, move @ affine, atol=1e-4)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.float64])
def test_every_number_type_of_a_volume_survives(tmp_path, kind):
    values = np.arange(5 * 6 * 7).reshape(5, 6, 7).astype(kind)
    node = slicer.util.addVolumeFromArray(values, np.diag([2.0, 3, 4, 1]), name="v")
    path = exportCondition(ConditionChoice("skull", kind="image", volumeNode=node), SKULL, tmp_path)
    assert np.array_equal(read_volume(path).array, values.transpose(2, 1, 0))


def test_voxels_outside_the_models_grid_are_counted(tmp_path):
    volume, affine = obliqueScan()
    move = np.eye(4)
    move[:3, 3] = (35.0, 0, 3)
    shape = letterF(volume) | letterF(volume, at=(3, 50, 20))
    node = segmentation(volume, F=shape)
    node.SetAndObserveTransformNodeID(transformNode(move).GetID())
    points = worldPoints(shape, move @ affine)
    index = (np.c_[points, np.ones(len(points))] @ np.linalg.inv(np.array(GRID.affine)).T)[:, :3]
    outside = int(((index < -0.5) | (index > np.array(GRID.shape) - 0.5)).any(axis=1).sum())
    assert 0 < outside < len(points)
    found = check(mask(node, "F"), VENTRICLES, GRID)
    assert found.usable and found.lostVoxels == outside
    assert f"{outside:,} of {len(points):,} voxels" in found.words


def test_what_lies_mostly_elsewhere_is_refused_as_the_engine_would():
    volume, affine = obliqueScan()
    shape = letterF(volume)
    node = segmentation(volume, F=shape)
    move = np.eye(4)
    top = worldPoints(shape, affine)[:, 2]
    edge = GRID.affine[2][3] + 2 * (GRID.shape[2] - 0.5)
    for share, usable in ((0.4, True), (0.6, False)):
        move[2, 3] = edge - np.quantile(top, 1 - share)
        node.SetAndObserveTransformNodeID(transformNode(move).GetID())
        found = check(mask(node, "F"), VENTRICLES, GRID)
        assert found.usable is usable and f"{found.lostVoxels:,} of" in found.words, share


def test_what_lies_entirely_elsewhere_cannot_be_used():
    volume, _affine = obliqueScan()
    node = segmentation(volume, F=letterF(volume))
    move = np.eye(4)
    move[1, 3] = 400
    node.SetAndObserveTransformNodeID(transformNode(move).GetID())
    found = check(mask(node, "F"), VENTRICLES, GRID)
    assert not found.usable and "outside" in found.words and found.lostVoxels == int(letterF(volume).sum())


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_lost_voxels_are_counted_alike_along_the_axes_and_across_them(axes):
    from VCMSlicerLib.scene.niftiFile import WorldImage

    grid = Grid((9, 12, 10), ((-2, 0, 0, 9.0), (0, 2, 0, -11), (0, 0, 2, -7), (0, 0, 0, 1)))
    array = np.random.default_rng(4).integers(0, 2, (13, 17, 11), np.uint8)
    affine = np.diag([1.7, -1.9, 2.3, 1.0])[[*axes, 3]]
    affine[:3, 3] = (1.3, -0.4, 2.2) - affine[:3, :3] @ (5, 8, 6)
    k, j, i = np.nonzero(array)
    index = np.linalg.inv(np.array(grid.affine)) @ affine @ np.stack([i, j, k, np.ones_like(i)])
    places, last = index[:3].T, np.array(grid.shape) - 0.5
    outside = ((places < -0.5) | (places > last)).any(axis=1)
    assert 0 < outside.sum() < len(i)
    assert lost_voxels(WorldImage(array, affine).volume, grid) == outside.sum()


def test_a_half_voxel_at_the_border_is_not_lost():
    grid = Grid((4, 5, 6), ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)))
    array = np.ones((6, 5, 4), np.uint8)
    move = np.eye(4)
    from VCMSlicerLib.scene.niftiFile import WorldImage

    move[0, 3] = 0.49
    assert lost_voxels(WorldImage(array, move).volume, grid) == 0
    move[0, 3] = 0.51
    assert lost_voxels(WorldImage(array, move).volume, grid) == 30
    move[0, 3] = -0.51
    assert lost_voxels(WorldImage(array, move).volume, grid) == 30


@pytest.mark.parametrize(
    "choice, words",
    [
        (lambda node: ConditionChoice("ventricles"), "Nothing is chosen"),
        (mask, "No segment is chosen"),
        (lambda node: mask(node, "gone"), "gone"),
        (lambda node: mask(node, "blank"), "blank: nothing is drawn yet"),
    ],
)
def test_a_row_says_why_it_cannot_be_used(choice, words):
    volume, _affine = obliqueScan()
    node = segmentation(volume, F=letterF(volume), blank=None)
    found = check(choice(node), VENTRICLES, GRID)
    assert not found.usable and words in found.words


def test_an_erased_segment_counts_as_empty():
    volume, _affine = obliqueScan()
    node = segmentation(volume, F=letterF(volume))
    slicer.util.updateSegmentBinaryLabelmapFromArray(np.zeros((40, 90, 70), np.uint8), node, "F", volume)
    assert "nothing is drawn yet" in check(mask(node, "F"), VENTRICLES, GRID).words


def test_an_image_in_place_of_a_mask_is_refused_in_words():
    node = slicer.util.addVolumeFromArray(np.random.default_rng(1).random((5, 6, 7)), np.eye(4), name="t1w")
    found = check(ConditionChoice("ventricles", volumeNode=node), VENTRICLES, GRID)
    assert not found.usable and "t1w is an image" in found.words


def test_a_labelmap_volume_serves_as_a_mask(tmp_path):
    volume, affine = obliqueScan()
    shape = letterF(volume)
    node = slicer.util.addVolumeFromArray(shape.astype(np.uint8), affine, "mask", "vtkMRMLLabelMapVolumeNode")
    path = exportCondition(ConditionChoice("ventricles", volumeNode=node), VENTRICLES, tmp_path)
    assert samePlaces(exportedPoints(path), worldPoints(shape, affine))


def test_nothing_in_the_scene_changes_by_exporting(tmp_path):
    volume, _affine = obliqueScan()
    node = segmentation(volume, F=letterF(volume))
    node.SetAndObserveTransformNodeID(transformNode(turned(0, 20)).GetID())
    nodes, changed = slicer.mrmlScene.GetNumberOfNodes(), node.GetSegmentation().GetMTime()
    exportCondition(mask(node, "F"), VENTRICLES, tmp_path)
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes and node.GetSegmentation().GetMTime() == changed


def test_a_full_disk_leaves_no_half_file(tmp_path):
    volume, _affine = obliqueScan()
    node = segmentation(volume, F=letterF(volume))
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(OSError):
        exportCondition(mask(node, "F"), VENTRICLES, blocked / "inside")
    assert list(tmp_path.iterdir()) == [blocked]


def test_segments_of_a_label_map_are_told_by_terminology_before_their_names(tmp_path):
    volume, affine = obliqueScan()
    node = segmentation(volume, a=letterF(volume), b=letterF(volume, at=(40, 50, 3)))
    first, second = (node.GetSegmentation().GetSegment(id) for id in "ab")
    first.SetName("Ventrikel")
    from VCMSlicerLib.conditions.anatomy import setStructure

    setStructure(first, "ventricles")
    second.SetName("Gray_Matter left")
    choice = ConditionChoice("tissues", kind="labels", segmentationNode=node, segmentIds=("a", "b"))
    refused = check(choice, TISSUES, GRID)
    assert not refused.usable and "Gray_Matter left" in refused.words and "Ventrikel" not in refused.words
    second.SetName("Left white-matter")
    path = exportCondition(choice, TISSUES, tmp_path)
    assert samePlaces(exportedPoints(path, 3), worldPoints(letterF(volume), affine))
    assert samePlaces(exportedPoints(path, 1), worldPoints(letterF(volume, at=(40, 50, 3)), affine))


def test_a_part_of_a_structure_is_that_structure_and_a_code_counts_more_than_a_name():
    from VCMSlicerLib.conditions.anatomy import classOf, setStructure

    tissues = ConditionInfo(
        "tissues",
        Kind.LABELS,
        (ClassSpec(2, "grey matter"), ClassSpec(3, "deep grey matter"), ClassSpec(4, "ventricles")),
    )
    node = segmentation(obliqueScan()[0], a=None, b=None, c=None, d=None)
    for id, name in zip(
        "abcd", ("Left-Putamen", "Deep gray matter", "Right cerebral cortex", "Third ventricle"), strict=True
    ):
        node.GetSegmentation().GetSegment(id).SetName(name)
    found = [classOf(node.GetSegmentation().GetSegment(id), tissues) for id in "abcd"]
    assert [entry.value if entry else None for entry in found] == [3, 3, 2, 4]
    setStructure(node.GetSegmentation().GetSegment("d"), "grey matter")
    assert classOf(node.GetSegmentation().GetSegment("d"), tissues).value == 2


@pytest.mark.parametrize(
    "code, meaning, value",
    [("35764002", "Brain ventricle", 4), ("66720007", "Lateral ventricle", 4), ("40146001", "Cortex", 2),
     ("89278009", "Putamen", 3), ("4958002", "Amygdala", None)],
)  # fmt: skip
def test_a_segment_is_told_by_any_snomed_code_of_its_structure(code, meaning, value):
    from VCMSlicerLib.conditions.anatomy import classOf

    names = {2: "grey matter", 3: "deep grey matter", 4: "lateral ventricles"}
    tissues = ConditionInfo("tissues", Kind.LABELS, tuple(ClassSpec(number, name) for number, name in names.items()))
    segment = segmentation(obliqueScan()[0], a=None).GetSegmentation().GetSegment("a")
    anatomy = "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    segment.SetTerminology(f"{anatomy}~SCT^{code}^{meaning}~^^~Anatomic codes - DICOM master list~^^~^^")
    found = classOf(segment, tissues)
    assert (found.value if found else None) == value


def test_a_label_map_is_read_as_its_names_where_they_explain_most_of_it():
    from VCMSlicerLib.conditions.labelVolume import readLabels

    array = np.array([[0, 60, 60, 61], [62, 62, 62, 1]], np.int16)
    names = {60: "Right-Lateral-Ventricle", 61: "Left-Amygdala", 62: "Skin", 1: "Hat"}
    reading = readLabels(TISSUES, array, names)
    assert dict(reading.table) == {60: 3, 61: 7} and set(reading.unknown) == {62, 1}
    assert reading.applied(array).tolist() == [[0, 3, 3, 7], [0, 0, 0, 0]]
    assert dict(readLabels(TISSUES, array, {}).table) == {1: 1}


def test_a_mask_is_put_together_from_its_parts_only_where_all_are_drawn():
    from VCMSlicerLib.conditions.anatomy import matchingSegments

    brain = ConditionInfo(
        "brain", Kind.MASK, (ClassSpec(1, "brain", (1, 2)),), labelNames={1: "white matter", 2: "grey matter"}
    )
    node = segmentation(obliqueScan()[0], White_matter=None)
    assert matchingSegments(node, brain) == ()
    node.GetSegmentation().AddEmptySegment("cortex", "Cortex")
    assert matchingSegments(node, brain) == ("White_matter", "cortex")
    node.GetSegmentation().AddEmptySegment("whole", "Brain")
    assert matchingSegments(node, brain) == ("whole",)


def labelVolume(values, affine=None):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.util.updateVolumeFromArray(node, values)
    node.SetIJKToRASMatrix(vtkMatrix(np.diag([-2, 2, 2, 1.0]) if affine is None else affine))
    return node


def blocks(**sizes):
    """Blocks of so many voxels of each value (`v4=100`) in an int16 array."""
    array = np.zeros((20, 20, 20), np.int16)
    for layer, (name, size) in enumerate(sizes.items(), start=2):
        array[layer].ravel()[:size] = int(name[1:])
    return array


def test_of_a_label_map_volume_with_several_values_one_is_chosen_for_a_mask(tmp_path):
    node = labelVolume(blocks(v4=120, v43=80))
    refused = check(ConditionChoice("ventricles", volumeNode=node), VENTRICLES, GRID)
    assert not refused.usable and "several structures" in refused.words
    choice = ConditionChoice("ventricles", volumeNode=node, volumeLabels=(43,))
    assert check(choice, VENTRICLES, GRID).millilitres == {1: pytest.approx(80 * 8 / 1000)}
    assert len(exportedPoints(exportCondition(choice, VENTRICLES, tmp_path))) == 80
    gone = check(ConditionChoice("ventricles", volumeNode=node, volumeLabels=(9,)), VENTRICLES, GRID)
    assert not gone.usable and "no longer holds the label 9" in gone.words


def test_a_label_map_volume_is_read_by_the_numbers_that_explain_most_of_it_as_the_engine_does(tmp_path):
    from vcm.conditions.condition import ConditionSpec
    from vcm.conditions.doctor.examination import examine
    from vcm.core.grid import Grid

    classes = [
        {"value": 1, "name": "white", "segmenter": [2, 41]},
        {"value": 2, "name": "ventricles", "segmenter": [4, 43]},
    ]
    spec = ConditionSpec.from_dict({"name": "tissues", "kind": "labels", "classes": classes})
    info = ConditionInfo(
        "tissues", Kind.LABELS, tuple(ClassSpec(c["value"], c["name"], tuple(c["segmenter"])) for c in classes)
    )
    for values in (blocks(v1=50, v2=70), blocks(v2=50, v41=60, v4=70, v99=5), blocks(v2=90, v7=3)):
        node = labelVolume(values)
        choice = ConditionChoice("tissues", kind="labels", volumeNode=node)
        found = check(choice, info, GRID)
        ours = read_volume(exportCondition(choice, info, tmp_path))
        theirs = examine(spec, ours, Grid(GRID.shape, GRID.affine)).condition
        written = np.bincount(np.asarray(ours.array, int).ravel(), minlength=3)[1:]
        assert found.usable and [found.millilitres.get(v, 0) for v in (1, 2)] == pytest.approx(list(written * 0.008))
        assert theirs is not None
    assert "7" in found.words and "count as background" in found.words
    strange = check(ConditionChoice("tissues", kind="labels", volumeNode=labelVolume(blocks(v99=5))), info, GRID)
    assert not strange.usable and "holds no value that the model knows" in strange.words


def test_the_values_of_a_label_map_volume_are_known_by_its_colours(tmp_path):
    from VCMSlicerLib.panels.conditionRow import bestSegment, segmentEntries
    from VCMSlicerLib.scene.parameters import ConditionSetting

    node = labelVolume(blocks(v1=50, v2=70))
    colors = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode")
    colors.SetTypeToUser()
    colors.SetNumberOfColors(3)
    for index, name in enumerate(("background", "Left-Putamen", "Left-Lateral-Ventricle")):
        colors.SetColor(index, name, 1, 0, 0, 1)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAndObserveColorNodeID(colors.GetID())
    assert bestSegment(node, VENTRICLES) == "2"
    entries = segmentEntries(node, VENTRICLES, ConditionSetting(node=node))
    assert entries == [("Choose a label", ""), ("1 Left-Putamen", "1"), ("2 Left-Lateral-Ventricle", "2")]


def test_an_unknown_condition_node_raises_in_words():
    with pytest.raises(VcmError, match="Nothing is chosen"):
        from VCMSlicerLib.conditions.conditionSource import conditionImage

        conditionImage(ConditionChoice("skull", kind="image"), SKULL)


def test_segments_image_is_none_for_a_missing_segment():
    volume, _affine = obliqueScan()
    assert segmentsImage(segmentation(volume), [("nobody", 1)]) is None
