"""Five samples: a row each, a folder in the subject hierarchy, a sequence with its slider."""

import json

import numpy as np
import slicer
from opened import home, inWorldOrder, opened, tinyPacks  # noqa: F401
from slicerStandIn.testing.eventLoop import processEvents


def test_five_samples_are_five_rows_in_one_folder_and_a_sequence_that_shows_them_one_by_one(opened):  # noqa: F811
    opened.press(opened.ui.startDemoButton)
    opened.press(opened.ui.previewButton)
    opened.ui.samplesBox.value = 5
    opened.ui.seedBox.value = 40
    opened.press(opened.ui.newSeedBox)
    processEvents(0.1)
    samples = opened.generate()
    assert [row.seed for row in opened.logic.results.rows()] == [40, 41, 42, 43, 44]
    assert opened.ui.resultsTable.rowCount == 5
    assert opened.parameters.seed == 45, "the next Generate should not repeat these"
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    parents = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in samples}
    assert len(parents) == 1
    assert "Synthetic" in hierarchy.GetItemName(parents.pop())
    (browser,) = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode")
    (sequence,) = slicer.util.getNodesByClass("vtkMRMLSequenceNode")
    assert sequence.GetNumberOfDataNodes() == browser.GetNumberOfItems() == 5
    shown = []
    for index in range(5):
        browser.SetSelectedItemNumber(index)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        shown.append(slicer.util.arrayFromVolume(browser.GetProxyNode(sequence)).copy())
    for image, node in zip(shown, samples, strict=True):
        assert np.array_equal(image, slicer.util.arrayFromVolume(node))
    assert not np.array_equal(shown[0], shown[1])
    processEvents(0.2)
    assert opened.ui.resultsTable.rowCount == 5, "the slider's volume is no further Sample"


def test_all_that_was_made_says_synthetic(opened):  # noqa: F811
    opened.press(opened.ui.startDemoButton)
    opened.press(opened.ui.previewButton)
    opened.ui.samplesBox.value = 2
    processEvents(0.1)
    (first, _second) = opened.generate()
    opened.panel.results.select(first)
    opened.press(opened.ui.compareButton)
    made = [n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if n.GetAttribute("VCMSlicer.Role")]
    assert len(made) == 2 + 2 + 1 + 1
    for node in made:
        assert "ynthetic" in node.GetName(), node.GetName()
        assert node.GetAttribute("VCMSlicer.Synthetic") == "true"


def test_an_exported_sample_has_a_file_beside_it_that_says_how_it_was_made(opened):  # noqa: F811
    opened.press(opened.ui.startDemoButton)
    opened.press(opened.ui.previewButton)
    (sample,) = opened.generate()
    path = opened.home / "exported" / "case-1.nii.gz"
    path.parent.mkdir()
    opened.panel.results.exportVolume(path)
    sidecar = json.loads((path.parent / "case-1.json").read_text("utf-8"))
    assert sidecar["synthetic"] is True
    assert sidecar["seed"] == 1
    assert sidecar["provenance"]["report"]["synthetic"] is True
    assert str(opened.home) not in json.dumps(sidecar), "no path of this computer goes out with it"
    back = slicer.util.loadVolume(str(path))
    assert np.array_equal(inWorldOrder(back), inWorldOrder(sample))
