"""What a result leaves to keep: the measured segmentation, the overlay of asked and obtained, scores and charts."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import slicer
from finishedRun import AFFINE, asked, finishedRun, measured, scores, ventriclesOverlap
from logicSetup import letterF, scan, segmentation, transformNode, turned, vtkMatrix, worldPoints
from slicerStandIn.testing.eventLoop import processEvents
from vcm.core.errors import VcmError
from VCMSlicerLib.results.belongings import belongings
from VCMSlicerLib.results.formingImage import FormingImage
from VCMSlicerLib.results.measuredSegmentation import ASKED_REFERENCE, MEASURED_REFERENCE, comparables
from VCMSlicerLib.results.overlay import COLORS, OVERLAY_REFERENCE, Overlay, overlayOf
from VCMSlicerLib.results.results import Results, row
from VCMSlicerLib.results.scoreCharts import scoreCharts, showChart
from VCMSlicerLib.results.scoreNodes import exportScores, scoreTable
from VCMSlicerLib.scene.niftiFile import WorldImage, writeNifti
from VCMSlicerLib.scene.scene import addVolume
from VCMSlicerLib.scene.sliceViews import showInSlices, sliceLogics
from VCMSlicerLib.scene.worldImages import segmentsImage


@pytest.fixture
def added(scene, tmp_path):
    return Results().add(*finishedRun(tmp_path, samples=2))


def segmentPoints(node, *names):
    """Where the voxels of segments lie, in millimetres of the world."""
    drawn = node.GetSegmentation()
    image = segmentsImage(node, [(drawn.GetSegmentIdBySegmentName(name), 1) for name in names])
    return worldPoints(image.array, image.ijkToRas) if image is not None else np.zeros((0, 3))


def voxelsOf(overlay):
    counts = {}
    for id in ("agreed", "missed", "extra"):
        image = segmentsImage(overlay, [(id, 1)])
        counts[id] = int(image.array.sum()) if image is not None else 0
    return counts


def test_the_measured_segmentation_and_what_was_asked_lie_where_their_files_say(added):
    node = added[0]
    found, wanted = node.GetNodeReference(MEASURED_REFERENCE), node.GetNodeReference(ASKED_REFERENCE)
    assert np.array_equal(segmentPoints(found, "lateral ventricles"), worldPoints(measured() == 4, AFFINE))
    assert np.array_equal(segmentPoints(found, "white matter"), worldPoints(measured() == 1, AFFINE))
    assert np.array_equal(segmentPoints(wanted, "hippocampus"), worldPoints(asked() == 2, AFFINE))
    for segmentationNode in (found, wanted):
        assert not segmentationNode.GetDisplayNode().GetVisibility(), "it does not cover what the user is looking at"
        assert "ynthetic" in segmentationNode.GetName()
        assert segmentationNode.GetAttribute("VCMSlicer.Synthetic") == "true"
        assert '"engine"' in segmentationNode.GetAttribute("VCMSlicer.Provenance")
        assert "Jane" not in segmentationNode.GetAttribute("VCMSlicer.Provenance")
    assert added[1].GetNodeReference(ASKED_REFERENCE) is wanted, "a run was asked once"
    assert added[1].GetNodeReference(MEASURED_REFERENCE) is not found
    assert len(Results().rows()) == 2


def test_the_segments_lie_in_the_folder_of_their_run(added):
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(added[0]))
    for role in (MEASURED_REFERENCE, ASKED_REFERENCE):
        item = hierarchy.GetItemByDataNode(added[0].GetNodeReference(role))
        assert item and hierarchy.GetItemParent(item) == folder


def test_agreed_missed_and_extra_are_what_counting_by_hand_says(added):
    assert [(each.condition, each.name) for each in comparables(added[0])] == [("anatomy", "ventricles")], (
        "no segmenter knows the hippocampus"
    )
    overlay = overlayOf(added[0])
    assert voxelsOf(overlay) == ventriclesOverlap()
    agreed = worldPoints((asked() == 1) & (measured() == 4), AFFINE)
    assert np.array_equal(segmentPoints(overlay, "Agreed"), agreed)
    assert np.array_equal(segmentPoints(overlay, "Missed"), worldPoints((asked() == 1) & (measured() != 4), AFFINE))
    assert "ynthetic" in overlay.GetName() and overlay.GetAttribute("VCMSlicer.Provenance")
    assert overlayOf(added[0]) is overlay, "one a result"


def test_from_the_overlay_the_dice_of_the_report_follows():
    counts = ventriclesOverlap()
    both = 2 * counts["agreed"] + counts["missed"] + counts["extra"]
    assert 2 * counts["agreed"] / both == pytest.approx(scores(0.82).classes[0].dice, abs=0.01)


def test_an_overlay_follows_the_transform_that_carries_its_result_to_the_patient(added):
    node, matrix = added[0], turned(2, 30)
    matrix[:3, 3] = (40, -12, 7)
    carried = transformNode(matrix)
    for moved in (node, *(node.GetNodeReference(role) for role in (MEASURED_REFERENCE, ASKED_REFERENCE))):
        moved.SetAndObserveTransformNodeID(carried.GetID())
    overlay = overlayOf(node)
    assert voxelsOf(overlay) == ventriclesOverlap()
    expected = worldPoints((asked() == 1) & (measured() == 4), matrix @ AFFINE)
    assert np.allclose(segmentPoints(overlay, "Agreed"), expected, atol=1e-3)


def test_an_overlay_is_made_where_a_result_hangs_under_a_registration_and_what_was_asked_does_not(added):
    node, matrix = added[0], turned(1, 20)
    matrix[:3, 3] = (15, -9, 30)
    registration = transformNode(matrix)
    for each in (node, node.GetNodeReference(MEASURED_REFERENCE)):
        each.ApplyTransformMatrix(vtkMatrix(np.linalg.inv(matrix)))
        each.SetAndObserveTransformNodeID(registration.GetID())
    overlay = overlayOf(node)
    assert voxelsOf(overlay) == ventriclesOverlap()
    expected = worldPoints((asked() == 1) & (measured() == 4), AFFINE)
    assert np.allclose(segmentPoints(overlay, "Agreed"), expected, atol=1e-2)


def test_segments_that_were_moved_off_the_voxels_of_their_image_are_refused_with_a_sentence(added):
    wanted = added[0].GetNodeReference(ASKED_REFERENCE)
    shifted = np.eye(4)
    shifted[0, 3] = 1.2
    wanted.SetAndObserveTransformNodeID(transformNode(shifted).GetID())
    slicer.vtkSlicerTransformLogic().hardenTransform(wanted)
    with pytest.raises(VcmError, match="no longer lies on the voxels"):
        overlayOf(added[0])


def test_a_result_that_was_not_measured_has_no_overlay_and_says_so(scene, tmp_path):
    from dataclasses import replace

    run, request = finishedRun(tmp_path)
    bare = replace(run.samples[0], segmentation_path=None, labels=())
    (node,) = Results().add(replace(run, samples=(bare,)), request)
    with pytest.raises(VcmError, match="not measured"):
        overlayOf(node)
        scoreTable(row(node))


def test_after_saving_and_opening_the_scene_the_overlay_is_the_same(added, tmp_path):
    overlayOf(added[1])
    path = tmp_path / "kept.mrb"
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear()
    slicer.util.loadScene(str(path))
    node = Results().rows()[1].node
    assert voxelsOf(node.GetNodeReference(OVERLAY_REFERENCE)) == ventriclesOverlap()
    assert voxelsOf(overlayOf(node)) == ventriclesOverlap()


def test_showing_an_overlay_hides_other_segmentations_and_closing_it_brings_them_back(added):
    reference = scan((40, 50, 30), np.diag([1.0, 1, 1, 1]))
    drawn, hidden = (segmentation(reference, Ventricles=letterF(reference)) for _n in range(2))
    hidden.GetDisplayNode().SetVisibility(False)
    overlay = Overlay()
    first = overlay.show(added[0])
    assert overlay.active and first.GetDisplayNode().GetVisibility() and not drawn.GetDisplayNode().GetVisibility()
    second = overlay.show(added[1])
    assert second.GetDisplayNode().GetVisibility() and not first.GetDisplayNode().GetVisibility()
    overlay.close()
    assert not overlay.active and not second.GetDisplayNode().GetVisibility()
    assert drawn.GetDisplayNode().GetVisibility() and not hidden.GetDisplayNode().GetVisibility()


def test_in_3d_each_part_is_a_surface_around_its_voxels(added):
    overlay = overlayOf(added[0])
    drawn = overlay.GetSegmentation()
    assert drawn.ContainsRepresentation("Closed surface")
    bounds = drawn.GetSegment("missed").GetRepresentation("Closed surface").GetBounds()
    points = worldPoints((asked() == 1) & (measured() != 4), AFFINE)
    middle = [(bounds[2 * axis] + bounds[2 * axis + 1]) / 2 for axis in range(3)]
    assert np.allclose(middle, (points.min(axis=0) + points.max(axis=0)) / 2, atol=2)


# Machado, Oliveira and Fernandes (2009), severity 1.0: what a person without one kind of cone sees, in linear RGB.
DEFICIENCIES = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def lab(linear):
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    scaled = xyz / (0.9505, 1.0, 1.089)
    root = np.where(scaled > 0.008856, np.cbrt(scaled), 7.787 * scaled + 16 / 116)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


@pytest.mark.parametrize("sight", ["full", "achromatopsia", *DEFICIENCIES])
def test_the_three_colours_are_told_apart_by_everybody(sight):
    seen = []
    for color in COLORS.values():
        srgb = np.array(color)
        linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
        if sight == "achromatopsia":
            linear = np.full(3, linear @ (0.2126, 0.7152, 0.0722))
        elif sight != "full":
            linear = np.clip(np.array(DEFICIENCIES[sight]) @ linear, 0, 1)
        seen.append(lab(linear))
    least = 15 if sight == "achromatopsia" else 25
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.linalg.norm(seen[one] - seen[other]) > least, (sight, one, other)


def test_the_table_holds_every_figure_of_the_report_and_nothing_for_what_was_not_measured(added):
    table = scoreTable(row(added[0]))
    assert scoreTable(row(added[0])) is table and "ynthetic" in table.GetName()
    assert table.GetNumberOfRows() == 3
    cells = {name: [table.GetCellText(line, table.GetColumnIndex(name)) for line in range(3)] for name in
             ("structure", "condition", "seed", "dice", "dice_without", "mse")}  # fmt: skip
    assert cells["structure"] == ["ventricles", "hippocampus", ""] and cells["condition"][2] == "skull"
    assert cells["seed"] == ["11"] * 3 and float(cells["dice"][0]) == pytest.approx(0.82)
    assert float(cells["dice_without"][0]) == pytest.approx(0.31) and float(cells["mse"][2]) == pytest.approx(0.0021)
    assert math.isnan(float(cells["dice"][1])), "not measured is not 0"
    assert table.GetColumnUnitLabel("hd95_mm") == "mm"


def test_scores_of_all_results_go_into_one_csv_file(added, tmp_path):
    added[0].SetName('Synthetic "older", with ventricles of 72 ml')
    before = slicer.mrmlScene.GetNumberOfNodes()
    exportScores(Results().rows(), tmp_path / "scores.csv")
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 6 and {line["seed"] for line in lines} == {"11", "12"}
    assert lines[0]["image"] == added[0].GetName(), "a comma and quotes in a name spoil nothing"
    assert float(lines[0]["asked_ml"]) == pytest.approx(384 * 0.036) and lines[1]["remark"].startswith("not measurable")


def test_a_csv_file_that_cannot_be_written_is_an_error_and_leaves_nothing(added, tmp_path):
    (tmp_path / "taken.csv").mkdir()
    with pytest.raises(OSError, match="taken"):
        exportScores(Results().rows(), tmp_path / "taken.csv")
    assert not list(tmp_path.glob("*.part"))


def test_charts_draw_what_was_measured_and_leave_out_the_rest(added):
    volumes, dices = scoreCharts(row(added[0]))
    assert scoreCharts(row(added[0])) == (volumes, dices)
    (equal, found) = (volumes.GetNthPlotSeriesNode(index) for index in range(2))
    table = found.GetTableNode()
    assert table.GetNumberOfRows() == 1 and table.GetCellText(0, 0) == "ventricles"
    assert (found.GetXColumnName(), found.GetYColumnName()) == ("asked_ml", "obtained_ml")
    line = equal.GetTableNode()
    assert [line.GetCellText(0, 0), line.GetCellText(1, 0)] == [line.GetCellText(0, 1), line.GetCellText(1, 1)]
    assert [dices.GetNthPlotSeriesNode(index).GetYColumnName() for index in range(2)] == ["dice", "dice_without"]
    assert "ynthetic" in volumes.GetTitle() and not volumes.GetXAxisLogScale()


def test_a_chart_is_shown_in_a_layout_that_has_a_plot(mainWindow, added):
    chart, _dice = scoreCharts(row(added[0]))
    before = slicer.app.layoutManager().layout
    showChart(chart)
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActivePlotChartID() == chart.GetID()
    assert slicer.app.layoutManager().layout not in (before, 0)


def test_what_belongs_to_a_result_goes_with_it_and_what_the_run_asked_with_the_last_of_the_run(added):
    first, second = added
    for node in added:
        overlayOf(node)
        scoreTable(row(node))
        scoreCharts(row(node))
    wanted = first.GetNodeReference(ASKED_REFERENCE)
    kinds = sorted(other.GetClassName().removeprefix("vtkMRML") for other in belongings(first))
    assert kinds == ["PlotChartNode"] * 2 + ["PlotSeriesNode"] * 4 + ["SegmentationNode"] * 2 + ["TableNode"] * 3
    assert wanted not in belongings(first)
    slicer.mrmlScene.RemoveNode(first)
    assert wanted in belongings(second)


def formingNodes():
    return [each for each in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if "Forming" in each.GetName()]


def test_of_previews_that_come_at_once_the_newest_is_shown_and_none_after_the_end(mainWindow, tmp_path):
    forming = FormingImage()
    images = [WorldImage(np.full((4, 5, 6), n, np.float32), np.eye(4)) for n in (1, 2, 3)]
    paths = [writeNifti(tmp_path / f"{n}.nii.gz", image) for n, image in enumerate(images)]
    forming.begin()
    for step, path in enumerate(paths, start=1):
        forming.showSoon(path, 0, step)
    processEvents(0.1)
    (node,) = formingNodes()
    assert "step 3" in node.GetName() and not any(Path(path).exists() for path in paths)
    shown = [logic for logic in sliceLogics() if logic.GetSliceCompositeNode().GetBackgroundVolumeID() == node.GetID()]
    assert shown and all(logic.GetSliceNode().IsMappedInLayout() for logic in shown)
    late = writeNifti(tmp_path / "late.nii.gz", WorldImage(np.ones((4, 5, 6), np.float32), np.eye(4)))
    forming.putAway()
    forming.showSoon(late, 0, 4)
    processEvents(0.1)
    assert not formingNodes()
    assert not Path(late).exists()


@pytest.fixture
def previewed(mainWindow, tmp_path):
    """A preview in views that showed another image before."""
    image = WorldImage(np.ones((4, 5, 6), np.float32), np.eye(4))
    former, forming = addVolume(image, "former"), FormingImage()
    showInSlices(background=former)
    forming.begin()
    forming.show(writeNifti(tmp_path / "preview.nii.gz", image), 1)
    return forming, former, image


def backgrounds():
    return {logic.GetSliceCompositeNode().GetBackgroundVolumeID() for logic in sliceLogics()}


def test_a_last_preview_gives_way_to_the_former_background(previewed):
    forming, former, _image = previewed
    forming.putAwaySoon()
    processEvents(0.1)
    assert formingNodes() == [] and backgrounds() == {former.GetID()}


def test_a_result_takes_the_place_of_the_last_preview_without_the_former_background_in_between(previewed):
    forming, former, image = previewed
    result, seen = addVolume(image, "result"), []
    for logic in sliceLogics():
        node = logic.GetSliceCompositeNode()
        node.AddObserver("ModifiedEvent", lambda node, _event: seen.append(node.GetBackgroundVolumeID()))
    forming.putAwaySoon()
    showInSlices(background=result)
    processEvents(0.1)
    assert formingNodes() == [] and backgrounds() == {result.GetID()}
    assert seen and former.GetID() not in seen


def test_a_job_that_begins_before_the_last_preview_is_away_shows_its_own(previewed, tmp_path):
    forming, _former, image = previewed
    forming.putAwaySoon()
    forming.begin()
    assert formingNodes() == []
    forming.show(writeNifti(tmp_path / "second.nii.gz", image), 2)
    processEvents(0.1)
    (node,) = formingNodes()
    assert "step 2" in node.GetName()
    forming.putAway()
