"""Results in the scene and out of it: provenance, comparison, DICOM."""

import json
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import slicer
from finishedRun import LABELS, finishedRun, measured
from logicSetup import letterF, scan, segmentation
from vcm.protocol import AlignmentSummary, ClassScore, ConditionInput, Generate, Generated, GeneratedSample, ImageScore
from VCMSlicerLib.conditions.conditionSource import ConditionChoice
from VCMSlicerLib.conditions.startPoints import skullImage
from VCMSlicerLib.results import dicomExport
from VCMSlicerLib.results.comparison import LAYOUT_ID, Comparison, difference, differenceColors
from VCMSlicerLib.results.resultRemoval import removeResult
from VCMSlicerLib.results.results import Results, alignmentOf, conditionNodes, sidecarOf
from VCMSlicerLib.scene.niftiFile import WorldImage, writeNifti

LAS = np.array([[-3.0, 0, 0, 31], [0, 3, 0, -52], [0, 0, 4, -41], [0, 0, 0, 1]])


def scores(dice):
    classes = (ClassScore("ventricles", "ventricles", 40.0, 38.0, dice, 2.5, 0.8),)
    return AlignmentSummary("nobody", f"Dice {dice:.2f}", classes)


@pytest.fixture
def run(tmp_path):
    """Two finished Samples with their twins, as a worker leaves them."""
    rng = np.random.default_rng(7)
    samples = []
    for index in range(2):
        paths = [
            str(writeNifti(tmp_path / f"{kind}-{index}.nii.gz", image(rng))) for kind in ("sample", "uncontrolled")
        ]
        samples.append(GeneratedSample(paths[0], 11 + index, scores(0.86), paths[1], scores(0.31)))
    (tmp_path / "report.json").write_text(json.dumps({"synthetic": True, "engine": "0.1.0"}), "utf-8")
    return Generated("7", str(tmp_path), tuple(samples), str(tmp_path / "report.json"))


def image(rng):
    array = rng.random((9, 12, 7)).astype(np.float32)
    array[7:, 8:, :2] = 1.0
    return WorldImage(array, LAS)


@pytest.fixture
def request_(tmp_path):
    condition = ConditionInput("ventricles", str(tmp_path / "secret" / "Jane-Doe.nii"))
    return Generate("7", str(tmp_path), (condition,), attributes={"age": 72.0}, seed=11, samples=2)


@pytest.fixture
def added(scene, run, request_):
    reference = scan((40, 50, 30), np.diag([1.0, 1, 1, 1]))
    drawn = segmentation(reference, Ventricles=letterF(reference))
    choices = [
        ConditionChoice(name, segmentationNode=drawn, segmentIds=("Ventricles",)) for name in ("ventricles", "brain")
    ]
    return Results().add(run, request_, choices)


def test_a_result_lies_where_its_file_says_and_knows_its_seed_scores_and_twin(added):
    (first, second) = added
    row = Results().rows()[0]
    assert row.node is first and row.seed == 11 and Results().rows()[1].node is second
    assert row.dice == {"ventricles": pytest.approx(0.86)}
    assert row.diceWithout == {"ventricles": pytest.approx(0.31)}
    assert row.hd95 == {"ventricles": pytest.approx(2.5)}
    assert alignmentOf(row.twin).summary == "Dice 0.31"
    assert first.GetImageData().GetDimensions() == (7, 12, 9)
    assert len(conditionNodes(first)) == 1, "both conditions are drawn in one segmentation"


def test_provenance_goes_with_the_node_but_no_file_name_of_the_patients(added):
    written = json.dumps(sidecarOf(added[0]))
    assert '"age": 72.0' in written and '"engine": "0.1.0"' in written
    assert "Jane" not in written and "secret" not in written


def test_an_unreadable_report_leaves_what_was_asked(scene, run, request_):
    Path(run.report_path).write_text("{half", "utf-8")
    (node, _other) = Results().add(run, request_)
    assert sidecarOf(node)["provenance"]["report"] == {}
    assert sidecarOf(node)["provenance"]["request"]["seed"] == 11


def manyScores(dices):
    names = ("white matter", "amygdala", "ventricles")
    classes = tuple(
        ClassScore("semantics", name, 100.0 + i, 90.0, dice, 2.0 + i, 0.8)
        for i, (name, dice) in enumerate(zip(names, dices, strict=True))
    )
    return AlignmentSummary("nobody", "words", classes, (ImageScore("skull", 900.0, 0.01, 0.031),))


def test_many_structures_are_one_row_of_means_and_a_table_with_the_weakest_in_bold(scene, run, request_):

    from VCMSlicerLib.panels.results.scoreTables import sampleCells, sampleHeaders, structureCells, structureHeaders

    first = replace(
        run.samples[0], alignment=manyScores((0.9, 0.3, None)), uncontrolled_alignment=manyScores((0.6, 0.2, 0.1))
    )
    Results().add(replace(run, samples=(first,)), request_)
    (row,) = Results().rows()
    assert [cell.words for cell in sampleCells(row)][1:] == ["0.60", "0.30", "3.0"]
    assert "amygdala: 0.30" in sampleCells(row)[1].tip and len(sampleCells(row)) == len(sampleHeaders())
    lines = [[cell.words for cell in line] for line in structureCells(row)]
    assert lines[0] == ["White matter", "100", "90.0", "0.90", "0.60", "2.0"]
    assert lines[2] == ["Ventricles", "102", "90.0", "–", "0.10", "4.0"]
    assert lines[3] == ["Skull", "–", "±0.031", "–", "±0.031", "–"]
    assert all(len(line) == len(structureHeaders()) for line in lines)
    assert [line[0].bold for line in structureCells(row)] == [False, False, False, False], (
        "two measured are not several"
    )
    again = replace(first, alignment=manyScores((0.9, 0.3, 0.5)))
    Results().add(replace(run, samples=(again,)), request_)
    assert [line[0].bold for line in structureCells(Results().rows()[1])] == [False, True, False, False]


def counted(*classes):
    return {name: slicer.mrmlScene.GetNumberOfNodesByClass(name) for name in classes}


KINDS = ("vtkMRMLScalarVolumeNode", "vtkMRMLScalarVolumeDisplayNode", "vtkMRMLStorageNode", "vtkMRMLSequenceNode")


def test_removing_a_sample_takes_its_twin_its_difference_and_its_place_in_the_sequence_along(added):
    first, second = added
    difference(first)
    before = counted(*KINDS)
    (sequence,) = slicer.util.getNodesByClass("vtkMRMLSequenceNode")
    removeResult(first)
    after = counted(*KINDS)
    assert before["vtkMRMLScalarVolumeNode"] - after["vtkMRMLScalarVolumeNode"] == 3
    assert before["vtkMRMLScalarVolumeDisplayNode"] - after["vtkMRMLScalarVolumeDisplayNode"] == 3
    assert [row.node for row in Results().rows()] == [second]
    assert sequence.GetNumberOfDataNodes() == 1 and sequence.GetNthDataNode(0).GetAttribute("VCMSlicer.Seed") == "12"


def test_with_the_last_sample_of_a_run_all_that_was_made_with_it_and_its_folder_go_too(scene, tmp_path):
    hierarchy = scene.GetSubjectHierarchyNode()
    colors = differenceColors()
    before, items = scene.GetNumberOfNodes(), hierarchy.GetNumberOfItems()
    added = Results().add(*finishedRun(tmp_path, 2))
    difference(added[0])
    assert scene.GetNumberOfNodes() > before + 12
    arrays = [weakref.ref(slicer.util.arrayFromVolume(node)) for node in added]
    for node in list(added):
        removeResult(node)
    del node
    added.clear()
    assert scene.GetNumberOfNodes() == before and colors.GetScene() is scene, "colours are shared by all results"
    assert hierarchy.GetNumberOfItems() == items
    assert [array() for array in arrays] == [None, None]


def test_a_completed_head_is_shared_by_the_contrasts_of_a_layout_and_goes_with_the_last(scene, tmp_path):
    generated, request = finishedRun(tmp_path, 2)
    head = str(writeNifti(tmp_path / "layout-0.nii.gz", WorldImage(measured(), LAS)))
    samples = tuple(replace(sample, layout_path=head, layout_labels=LABELS) for sample in generated.samples)
    first, second = Results().add(replace(generated, samples=samples), request)
    layout = first.GetNodeReference("VCMSlicer.layout")
    assert layout is second.GetNodeReference("VCMSlicer.layout")
    segments = [layout.GetSegmentation().GetNthSegment(n) for n in range(3)]
    assert [segment.GetName() for segment in segments] == [label.name for label in LABELS]
    assert layout.GetAttribute("VCMSlicer.Synthetic") == "true"
    removeResult(first)
    assert layout.GetScene() is scene
    removeResult(second)
    assert layout.GetScene() is None


def test_a_renamed_result_goes_on_saying_that_it_is_synthetic(added):
    Results().rename(added[0], "patient 7")
    assert "synthetic" in added[0].GetName()


def test_the_difference_is_the_sample_minus_its_twin_and_made_once(added):
    made = difference(added[0])
    expected = slicer.util.arrayFromVolume(added[0]) - slicer.util.arrayFromVolume(Results().rows()[0].twin)
    assert np.allclose(slicer.util.arrayFromVolume(made), expected)
    assert difference(added[0]) is made
    assert not [name for name in made.GetAttributeNames() if "Alignment" in name]
    assert made.GetAttribute("VCMSlicer.Role") == "difference"
    roles = []
    made.GetNodeReferenceRoles(roles)
    assert not [role for role in roles if role.startswith("VCMSlicer.") and made.GetNodeReference(role) is not None]


def test_the_skull_of_a_result_is_no_result(added):
    rows = len(Results().rows())
    image = slicer.util.arrayFromVolume(added[0])
    brain = np.zeros(image.shape, bool)
    brain[2:5, 4:8, 3:6] = True
    added[0].SetAttribute("VCMSlicer.TypicalHead", "true")
    skull = skullImage(added[0], brain)
    assert len(Results().rows()) == rows
    assert skull.GetAttribute("VCMSlicer.TypicalHead") is None and skull.GetAttribute("VCMSlicer.Synthetic") == "true"
    assert skull.GetNodeReference("VCMSlicer.uncontrolled") is None
    assert added[0].GetNodeReference("VCMSlicer.uncontrolled") is not None
    assert len(Results().rows()) == 2, "it is no Sample itself"


@pytest.mark.parametrize("unit", [1.0, 1700.0])
def test_a_skull_is_as_bright_as_in_the_whole_scan_whatever_the_unit(added, unit):
    """The brain is half of the bright end here; what is left is not to be scaled by itself."""
    image = np.linspace(0, 1, slicer.util.arrayFromVolume(added[0]).size, dtype=np.float32)
    image = image.reshape(slicer.util.arrayFromVolume(added[0]).shape)
    brain = (image > 0.6) & (image < 0.999)
    slicer.util.updateVolumeFromArray(added[0], image * unit - 0.003 * unit)
    added[0].GetScalarVolumeDisplayNode().SetWindowLevelMinMax(0, 900)
    skull = skullImage(added[0], brain)
    display = skull.GetScalarVolumeDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (1, 0.5)
    seen = slicer.util.arrayFromVolume(skull)
    assert not seen[brain].any() and seen.min() >= 0 and seen.max() <= 1
    kept = ~brain & (image > 0.01) & (image < 0.9)
    assert np.abs(seen[kept] - image[kept]).max() < 0.01


def test_comparing_arranges_linked_views_under_the_outline_and_closing_puts_all_back(mainWindow, added):
    manager = slicer.app.layoutManager()
    before = manager.layout
    display = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[0].GetDisplayNode()
    assert display.GetVisibility2DFill()
    comparison = Comparison()
    comparison.compare(added[0])
    assert manager.layout == LAYOUT_ID
    row = Results().rows()[0]
    for column, volume in (("Controlled", row.node), ("Uncontrolled", row.twin), ("Difference", difference(row.node))):
        for orientation in ("Axial", "Coronal"):
            widget = manager.sliceWidget(f"VCM{column}{orientation}")
            assert widget.mrmlSliceCompositeNode().GetBackgroundVolumeID() == volume.GetID()
            assert widget.mrmlSliceCompositeNode().GetLinkedControl()
            assert widget.mrmlSliceNode().GetOrientation() == orientation
    assert not display.GetVisibility2DFill() and display.GetVisibility2DOutline()
    comparison.close()
    assert manager.layout == before
    assert display.GetVisibility2DFill()


def test_dicom_files_say_in_each_that_they_are_synthetic_and_lie_where_the_volume_lies(added, tmp_path):
    folder = tmp_path / "dicom"
    files = dicomExport.exportDicom(added[0], folder)
    assert len(files) == 9
    voxels = slicer.util.arrayFromVolume(added[0])
    for index, path in enumerate(files):
        slice_ = pydicom.dcmread(path)
        assert slice_.SyntheticData == "YES" and slice_[0x0008, 0x001C].value == "YES"
        assert str(slice_.PatientName).startswith("SYNTHETIC")
        assert "SYNTHETIC" in slice_.SeriesDescription
        assert slice_.SOPInstanceUID == slice_.file_meta.MediaStorageSOPInstanceUID
        across, down = np.array(slice_.ImageOrientationPatient, float).reshape(2, 3)
        spacing = np.array(slice_.PixelSpacing, float)
        corner = np.array(slice_.ImagePositionPatient, float)
        last = corner + across * spacing[1] * 6 + down * spacing[0] * 11
        expected = np.diag([-1, -1, 1]) @ (LAS @ [6, 11, index, 1])[:3]
        assert np.allclose(last, expected)
        values = slice_.pixel_array * float(slice_.RescaleSlope) + float(slice_.RescaleIntercept)
        assert np.allclose(values, voxels[index], atol=1e-3)
    assert len({pydicom.dcmread(path).SOPInstanceUID for path in files}) == 9
    assert len({pydicom.dcmread(path).SeriesInstanceUID for path in files}) == 1


@pytest.mark.parametrize("contrast, name", [("T2w", "Synthetic T2w, seed"), ("", "Synthetic image, seed")])
def test_images_and_their_series_are_named_after_the_contrast_of_the_model(scene, tmp_path, contrast, name):
    run, request = finishedRun(tmp_path)
    packs = {"backbone": {"name": "other", "contrast": contrast, "body_part": "KNEE"}, "control": None}
    (tmp_path / "report.json").write_text(json.dumps({"synthetic": True, "packs": packs}), "utf-8")
    (node,) = Results().add(run, request)
    assert node.GetName().startswith(name)
    first = pydicom.dcmread(dicomExport.exportDicom(node, tmp_path / "dicom")[0])
    assert first.BodyPartExamined == "KNEE"
    assert first.ProtocolName == f"SYNTHETIC {contrast}".strip()
    assert first.SeriesDescription.startswith(f"{first.ProtocolName}, seed 11")
    twin = node.GetNodeReference("VCMSlicer.uncontrolled")
    assert (twin.GetAttribute("VCMSlicer.Contrast") or "") == contrast


def test_dicom_is_not_written_among_the_users_files(added, tmp_path):
    (tmp_path / "patient.dcm").write_bytes(b"theirs")
    with pytest.raises(OSError, match="not empty"):
        dicomExport.exportDicom(added[0], tmp_path)
    assert "0008,001C" in dicomExport.warning() and "clinical archive" in dicomExport.warning()
