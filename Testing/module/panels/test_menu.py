"""The entry “Use as condition” in the context menu of the module Data."""

import numpy as np
import pytest
import slicer
from logicSetup import letterF, scan, segmentation
from opened import home, opened, openedPlain, tinyPacks  # noqa: F401
from slicerStandIn.application.subjectHierarchyPlugins import contextMenu
from slicerStandIn.testing.eventLoop import processEvents

ENTRY = "Use as condition (VCMSlicer)"


@pytest.fixture
def reference(openedPlain):  # noqa: F811
    return scan((40, 50, 30), np.diag([1.0, 1, 1, 1]), name="T1w")


def menuOf(node):
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    return contextMenu(hierarchy.GetItemByDataNode(node))


def test_a_segmentation_becomes_the_source_of_the_condition_that_it_fits(openedPlain, reference):  # noqa: F811
    drawn = segmentation(reference, Tumour=letterF(reference), Ventricles=letterF(reference, (3, 4, 5)))
    slicer.util.selectModule("VCMSlicer")
    openedPlain.parameters.controlName = "brainldm-mini-ventricles"
    menuOf(drawn)[ENTRY].trigger()
    processEvents(0.1)
    setting = openedPlain.parameters.condition("ventricles")
    assert setting.enabled and setting.node is drawn and setting.segmentId == "Ventricles"
    assert openedPlain.ui.conditionsSection.collapsed is False


def test_it_is_offered_for_what_can_be_drawn_from_and_not_for_the_rest(openedPlain, reference):  # noqa: F811
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    model = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "surface")
    assert ENTRY in menuOf(labels)
    assert ENTRY not in menuOf(model)
    assert ENTRY not in menuOf(reference), "the model that is chosen takes no image"
    assert ENTRY not in contextMenu(0) and ENTRY not in contextMenu(
        slicer.mrmlScene.GetSubjectHierarchyNode().GetSceneItemID()
    )


def test_a_volume_is_offered_where_the_model_takes_an_image(opened):  # noqa: F811
    volume = scan((40, 50, 30), np.diag([1.0, 1, 1, 1]), name="T1w")
    menuOf(volume)[ENTRY].trigger()
    processEvents(0.1)
    assert opened.parameters.condition("skull").node is volume
    assert opened.parameters.condition("ventricles").node is not volume


def test_what_fits_nothing_is_said_and_changes_nothing(opened, monkeypatch):  # noqa: F811
    said = []
    monkeypatch.setattr(slicer.util, "infoDisplay", lambda words, *_rest, **_more: said.append(words))
    several = scan((40, 50, 30), np.diag([1.0, 1, 1, 1]))
    drawn = segmentation(several, Kidney=letterF(several))
    opened.choosePack("brainldm-mini")
    opened.parameters.controlName = "brainldm-mini-anatomy"
    processEvents(0.2)
    menuOf(drawn)[ENTRY].trigger()
    processEvents(0.1)
    assert len(said) == 1 and "does not fit" in said[0] and "ventricles" in said[0]
    assert not opened.parameters.condition("brain").enabled


def test_loading_the_module_again_registers_it_once(openedPlain):  # noqa: F811
    handler = slicer.qSlicerSubjectHierarchyPluginHandler.instance()
    slicer.modules.VCMSlicerInstance.setup()
    assert [plugin.name for plugin in handler.allPlugins()].count("VCMSlicer") == 1
    assert len([plugin for plugin in handler.allPlugins() for _a in plugin.itemContextMenuActions()]) == 1
