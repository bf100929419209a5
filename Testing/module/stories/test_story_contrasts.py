"""One mask in three contrasts with one switch: chosen in Subject, named, measured, shown beside each other."""

import csv
import json
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import slicer
from finishedRun import finishedRun
from opened import TESTING, home, opened  # noqa: F401
from slicerStandIn.testing.eventLoop import processEvents
from vcm.conditions.attributes import AttributeSpec
from VCMSlicerLib.panels.errands import givenAttributes
from VCMSlicerLib.results import dicomExport
from VCMSlicerLib.results.comparison import CONTRASTS_LAYOUT_ID, LAYOUT_ID, Comparison, registerArrangements
from VCMSlicerLib.results.resultRemoval import removeResult
from VCMSlicerLib.results.results import Results, contrastsOf, sidecarOf
from VCMSlicerLib.results.scoreNodes import exportScores
from VCMSlicerLib.scene.parameters import AttributeSetting

CHOICES = {"T1w": 0.2, "T2w": 0.55, "FLAIR": 0.9}
NAMES = list(CHOICES)


@pytest.fixture(scope="session")
def tinyPacks(tmp_path_factory):
    """The tiny model with an input that names the contrast."""
    import sys

    sys.path.append(str(TESTING / "engine" / "support"))
    import tiny

    folder = tmp_path_factory.mktemp("contrasts") / "packs"
    tiny.write_packs(folder)
    tiny.name_contrasts(folder, CHOICES)
    return folder


def choose(opened, words):  # noqa: F811
    box = opened.panel.subject.rows["class"].editor
    box.setCurrentIndex(box.findText(words))
    box.activated.emit(box.currentIndex)
    processEvents(0.05)


def widgetOf(view):
    return slicer.app.layoutManager().sliceWidget(view)


def columns(count, orientations=("Axial", "Coronal")):
    """Volume and words of each view of the contrasts, by orientation."""
    found = []
    for orientation in orientations:
        for place in range(1, count + 1):
            widget = widgetOf(f"VCMContrast{place}{orientation}")
            composite = widget.mrmlSliceCompositeNode()
            assert composite.GetLinkedControl() and widget.mrmlSliceNode().IsMappedInLayout()
            found.append((composite.GetBackgroundVolumeID(), widget.mrmlSliceNode().GetLayoutLabel()))
    return found


def contrastRun(folder, names):
    """A finished run of one noise in these contrasts."""
    run, request = finishedRun(folder, len(names))
    samples = tuple(replace(s, seed=11, contrast=n) for s, n in zip(run.samples, names, strict=True))
    return replace(run, samples=samples), request


def test_the_contrast_is_a_choice_of_the_subject_with_all_three_as_its_last_entry(opened):  # noqa: F811
    row = opened.panel.subject.rows["class"]
    assert row.title == "Contrast"
    assert [row.editor.itemText(i) for i in range(row.editor.count)] == [*NAMES, "All three"]
    assert (
        row.editor.currentText == "T1w"
        and givenAttributes(opened.parameters, opened.panel.context.pack)["class"] == "T1w"
    )
    choose(opened, "All three")
    assert givenAttributes(opened.parameters, opened.panel.context.pack)["class"] == "all"
    opened.panel.refresh()
    assert row.editor.currentText == "All three"


def test_all_three_are_made_loaded_named_and_shown_side_by_side(opened):  # noqa: F811
    opened.press(opened.ui.startDemoButton)
    opened.press(opened.ui.previewButton)
    choose(opened, "All three")
    samples = opened.generate()
    assert [node.GetName() for node in samples] == [f"Synthetic {name}, seed 1" for name in NAMES]
    assert [node.GetAttribute("VCMSlicer.Contrast") for node in samples] == NAMES
    arrays = [slicer.util.arrayFromVolume(node) for node in samples]
    assert not any(np.array_equal(arrays[0], other) for other in arrays[1:])
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    (folder,) = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in samples}
    twins = [row.twin for row in opened.logic.results.rows()]
    assert {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(twin)) for twin in twins} == {folder}
    assert [twin.GetAttribute("VCMSlicer.Contrast") for twin in twins] == NAMES

    processEvents(0.2)
    assert slicer.app.layoutManager().layout == CONTRASTS_LAYOUT_ID + 3
    assert columns(3) == 2 * [(node.GetID(), name) for node, name in zip(samples, NAMES, strict=True)]
    assert opened.ui.contrastsButton.isVisible() and opened.ui.contrastsButton.checked
    assert not opened.ui.compareButton.checked and opened.ui.compareButton.enabled
    assert opened.ui.resultsTable.rowCount == 3
    assert [row.seed for row in opened.logic.results.rows()] == [1, 1, 1]


def test_contrasts_and_with_and_without_take_turns_in_the_views_and_both_go_back(opened):  # noqa: F811
    manager = slicer.app.layoutManager()
    usual = manager.layout
    opened.press(opened.ui.startDemoButton)
    opened.press(opened.ui.previewButton)
    choose(opened, "All three")
    samples = opened.generate()
    widgetOf("VCMContrast1Axial").mrmlSliceNode().JumpSlice(0, 0, 9)
    opened.panel.results.select(samples[2])
    assert manager.layout == CONTRASTS_LAYOUT_ID + 3, "another row of the same head shows the same contrasts"
    opened.press(opened.ui.compareButton)
    assert manager.layout == LAYOUT_ID and not opened.ui.contrastsButton.checked
    assert widgetOf("VCMControlledAxial").mrmlSliceCompositeNode().GetBackgroundVolumeID() == samples[2].GetID()
    opened.press(opened.ui.contrastsButton)
    assert manager.layout == CONTRASTS_LAYOUT_ID + 3 and not opened.ui.compareButton.checked
    opened.press(opened.ui.contrastsButton)
    assert manager.layout == usual and not opened.ui.contrastsButton.checked


def test_a_scene_that_was_saved_in_a_comparison_shows_its_images_in_the_usual_views(opened):  # noqa: F811
    opened.press(opened.ui.startDemoButton)
    opened.press(opened.ui.previewButton)
    choose(opened, "All three")
    opened.generate()
    layouts = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
    assert layouts.GetViewArrangement() == CONTRASTS_LAYOUT_ID + 3
    path = opened.home / "compared.mrb"
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(0)
    processEvents(0.2)
    usual = layouts.GetViewArrangement()
    assert usual == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    slicer.util.loadScene(str(path))
    processEvents(0.3)
    assert layouts.GetViewArrangement() == usual and not opened.panel.context.comparison.active
    opened.panel.exit()
    layouts.SetViewArrangement(CONTRASTS_LAYOUT_ID + 3)  # a scene that was read while another module was open
    opened.panel.enter()
    assert layouts.GetViewArrangement() == usual


def test_every_arrangement_is_known_before_the_module_is_opened(mainWindow):
    layouts = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
    registerArrangements()
    contrasts = {2: 4, 3: 6, 4: 8, 5: 5, 6: 6, 7: 7, 8: 8}
    for layout, views in {LAYOUT_ID: 6, **{CONTRASTS_LAYOUT_ID + n: views for n, views in contrasts.items()}}.items():
        assert layouts.IsLayoutDescription(layout)
        assert layouts.GetLayoutDescription(layout).count("<view ") == views, layout


def test_one_contrast_is_an_image_like_any_other_by_its_own_name(opened):  # noqa: F811
    opened.press(opened.ui.startDemoButton)
    opened.press(opened.ui.previewButton)
    choose(opened, "FLAIR")
    (sample,) = opened.generate()
    assert sample.GetName() == "Synthetic FLAIR, seed 1" and sample.GetAttribute("VCMSlicer.Contrast") == "FLAIR"
    assert not opened.ui.contrastsButton.isVisible() and not opened.panel.context.comparison.active


def test_the_switch_is_saved_with_the_scene(opened):  # noqa: F811
    choose(opened, "All three")
    path = opened.home / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(0)
    processEvents(0.1)
    assert opened.panel.subject.rows["class"].editor.currentText == "T1w"
    slicer.util.loadScene(str(path))
    processEvents(0.2)
    assert opened.panel.subject.rows["class"].editor.currentText == "All three"
    assert givenAttributes(opened.parameters, opened.panel.context.pack)["class"] == "all"


@pytest.mark.parametrize("remembered", ["all", "SWI"])
def test_a_choice_that_another_model_does_not_have_is_not_sent_to_it(opened, remembered):  # noqa: F811
    other = AttributeSpec("class", "Class", choices={"CT": 0.0, "T1w": 1.0}, default=1.0)
    context = opened.panel.context
    context.packs = tuple(replace(pack, attributes=(other,)) for pack in context.packs)
    opened.parameters.setAttribute("class", AttributeSetting(remembered, True))
    opened.panel.refresh()
    assert opened.panel.subject.rows["class"].editor.currentText == "T1w"
    assert givenAttributes(opened.parameters, context.pack) == {"class": "T1w"}


@pytest.mark.parametrize(
    ("choices", "entries"),
    [
        (["T1w"], ["T1w"]),
        (["T1w", "T2w"], ["T1w", "T2w", "Both"]),
        (["a", "b", "c", "d"], ["a", "b", "c", "d", "All"]),
        (["T1w", "All"], ["T1w", "All"]),
    ],
)
def test_the_last_entry_says_how_many_contrasts_there_are(opened, choices, entries):  # noqa: F811
    numbered = {name: float(number) for number, name in enumerate(choices)}
    info = AttributeSpec("mri_kind", "Kind", choices=numbered, default=0.0, role="contrast")
    context = opened.panel.context
    context.packs = tuple(replace(pack, attributes=(info,)) for pack in context.packs)
    opened.panel.refresh()
    row = opened.panel.subject.rows["mri_kind"]
    assert [row.editor.itemText(i) for i in range(row.editor.count)] == entries and row.title == "Contrast"


def test_each_export_says_its_contrast(scene, tmp_path):
    nodes = Results().add(*contrastRun(tmp_path, NAMES))
    for node, name in zip(nodes, NAMES, strict=True):
        assert sidecarOf(node)["contrast"] == name
        files = dicomExport.exportDicom(node, tmp_path / name)
        read = pydicom.dcmread(files[0])
        assert read.SeriesDescription == f"SYNTHETIC {name}, seed 11" and read.ProtocolName == f"SYNTHETIC {name}"
    exportScores(Results().rows(), tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="") as stream:
        said = [(line["image"], line["contrast"]) for line in csv.DictReader(stream)]
    assert set(said) == {(f"Synthetic {name}, seed 11", name) for name in NAMES}


def test_removing_one_contrast_leaves_the_others_in_the_sequence(scene, tmp_path):
    first, second, third = Results().add(*contrastRun(tmp_path, NAMES))
    removeResult(second)
    (sequence,) = slicer.util.getNodesByClass("vtkMRMLSequenceNode")
    assert sequence.GetNumberOfDataNodes() == 2
    kept = [sequence.GetNthDataNode(index).GetAttribute("VCMSlicer.Contrast") for index in range(2)]
    assert kept == ["T1w", "FLAIR"] and contrastsOf(first) == [first, third]


def test_contrasts_of_another_run_with_the_same_seed_are_not_mixed_in(scene, tmp_path):
    first = Results().add(*contrastRun(tmp_path, NAMES))
    run, request = contrastRun(tmp_path, NAMES)
    (tmp_path / "report.json").write_text(json.dumps({"synthetic": True, "timing_s": {"whole run": 9.0}}))
    second = Results().add(run, request)
    assert contrastsOf(first[1]) == first and contrastsOf(second[0]) == second
    single = Results().add(*finishedRun(tmp_path, 2))
    assert contrastsOf(single[0]) == []


def test_many_contrasts_are_axial_slices_in_rows_and_few_ones_after_them_are_two_rows_again(
    mainWindow, scene, tmp_path
):
    names = ["T1w", "T2w", "FLAIR", "SWI", "<MRA & more>"]
    nodes = Results().add(*contrastRun(tmp_path, names))
    comparison = Comparison()
    comparison.compareContrasts(nodes)
    processEvents(0.2)
    assert columns(5, ["Axial"]) == [(node.GetID(), name) for node, name in zip(nodes, names, strict=True)]
    comparison.compareContrasts(nodes[3:])
    processEvents(0.2)
    assert columns(2) == 2 * [(nodes[3].GetID(), "SWI"), (nodes[4].GetID(), "<MRA & more>")]
    assert not widgetOf("VCMContrast5Axial").mrmlSliceNode().IsMappedInLayout()
    comparison.compareContrasts(nodes[:2])
    assert columns(2) == 2 * [(nodes[0].GetID(), "T1w"), (nodes[1].GetID(), "T2w")]
    comparison.close()


def test_the_contrasts_open_on_the_slice_looked_at(mainWindow, scene, tmp_path):
    nodes = Results().add(*contrastRun(tmp_path, NAMES))
    slicer.util.setSliceViewerLayers(background=nodes[0], fit=True)
    widgetOf("Red").mrmlSliceNode().JumpSlice(0, 0, -12)
    comparison = Comparison()
    comparison.compareContrasts(nodes)
    processEvents(0.2)
    for place in (1, 2, 3):
        matrix = widgetOf(f"VCMContrast{place}Axial").mrmlSliceNode().GetSliceToRAS()
        assert matrix.GetElement(2, 3) == pytest.approx(-12, abs=0.1)
    comparison.close()
