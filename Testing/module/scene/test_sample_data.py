"""What the module offers in Slicer's Sample Data."""

import json

import numpy as np
import pytest
import SampleData
import slicer
from opened import home, opened, openedPlain, tinyPacks  # noqa: F401
from slicerStandIn.testing.eventLoop import processEvents
from VCMSlicerLib.results.measuredSegmentation import comparables
from VCMSlicerLib.results.overlay import overlayOf, partVolumes
from VCMSlicerLib.results.results import Results, alignmentOf, conditionNodes, sidecarOf
from VCMSlicerLib.scene.sampleData import DEMO_RESULT, register


@pytest.fixture
def finished(openedPlain):  # noqa: F811
    """The finished demo case, loaded as its button in Sample Data does it."""
    register()
    source = SampleData.SampleDataLogic().sourceForSampleName("SyntheticHeadWithScores")
    (node,) = source.customDownloader(source)
    slicer.util.selectModule("VCMSlicer")
    processEvents(0.1)
    return node


def test_the_finished_demo_is_a_result_like_any_other(openedPlain, finished):  # noqa: F811
    (row,) = Results().rows()
    assert row.node is finished and row.seed == 1 and "ynthetic" in finished.GetName()
    assert row.twin is not None and len(row.dice) == 8
    (painted,) = conditionNodes(finished)
    assert painted.GetSegmentation().GetNumberOfSegments() == 9
    report = json.loads((DEMO_RESULT / "report.json").read_text("utf-8"))
    assert sidecarOf(finished)["provenance"]["report"] == report and report["synthetic"] is True
    assert openedPlain.ui.overlayButton.enabled and openedPlain.ui.compareButton.enabled


def test_its_label_maps_are_those_that_its_figures_came_from(finished):
    """Dice of each structure, computed again from the parts of its overlay, is the report's."""
    scores = {score.name: score for score in alignmentOf(finished).classes}
    found = comparables(finished)
    assert {each.name for each in found} == set(scores)
    for structure in found:
        volumes = partVolumes(overlayOf(finished, structure))
        both = 2 * volumes["agreed"] + volumes["missed"] + volumes["extra"]
        assert 2 * volumes["agreed"] / both == pytest.approx(scores[structure.name].dice, abs=1e-4)
        assert volumes["agreed"] + volumes["missed"] == pytest.approx(scores[structure.name].requested_ml, abs=1e-3)


def test_its_images_are_a_head_and_its_twin_and_not_the_same(finished):
    one, twin = (slicer.util.arrayFromVolume(node) for node in (finished, Results().rows()[0].twin))
    assert one.dtype == np.uint8 and one.shape == twin.shape == (88, 112, 88)
    assert one.max() > 200 and not np.array_equal(one, twin)


def test_it_is_small_and_holds_no_path(finished):
    files = list(DEMO_RESULT.iterdir())
    assert sum(file.stat().st_size for file in files) < 1_500_000
    assert "/" not in json.dumps(json.loads((DEMO_RESULT / "report.json").read_text("utf-8"))["conditions"])
