"""What is made and removed again is gone: nodes, voxels and jobs, though Slicer holds every connected method."""

import gc
import os
import signal
import sys
import weakref
from collections import Counter

import pytest
import qt
import slicer
from logicSetup import FAKE_WORKER
from opened import home, opened, tinyPacks  # noqa: F401
from slicerStandIn.testing.eventLoop import processEvents, waitUntil
from VCMSlicerLib.engine.job import Job
from VCMSlicerLib.engine.workerProcess import WorkerCommand, WorkerProcess
from VCMSlicerLib.results.resultImport import Preloading
from VCMSlicerLib.results.results import DIFFERENCE_REFERENCE, TWIN_REFERENCE
from VCMSlicerLib.scene.niftiFile import WorldImage

GENERATES = 20


class Lives:
    """Counts VTK objects by class from when they are watched until C++ deletes them."""

    def __init__(self):
        self.alive = Counter()
        self.watched = Counter()

    def watch(self, *objects):
        for each in objects:
            name = each.GetClassName()
            self.watched[name] += 1
            self.alive[name] += 1
            each.AddObserver("DeleteEvent", lambda _caller, _event, name=name: self.alive.subtract([name]))

    def watchVolume(self, node):
        image = node.GetImageData()
        self.watch(node, image, image.GetPointData().GetScalars())


def ofClass(*classes):
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, classes)]


@pytest.fixture
def quick(opened):  # noqa: F811
    """The module with a worker that computes nothing."""
    command = WorkerCommand(sys.executable, (str(FAKE_WORKER), "--delay", "0"))
    opened.client._connection._command = lambda: command
    opened.press(opened.ui.startDemoButton)
    opened.settle()
    return opened


def test_nothing_of_twenty_removed_results_is_alive(quick, monkeypatch):
    """Removed in turn by the panel's button and, as in the module Data, by taking the volumes out of the scene."""
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *_arguments: True)
    lives = Lives()
    for number in range(GENERATES):
        (node,) = quick.generate()
        if number % 5 == 0:
            quick.press(quick.ui.compareButton)
            quick.press(quick.ui.compareButton)
        volumes = [node, *(node.GetNodeReference(role) for role in (TWIN_REFERENCE, DIFFERENCE_REFERENCE))]
        for volume in filter(None, volumes):
            lives.watchVolume(volume)
        if number % 2:
            quick.press(quick.ui.removeButton)
        else:
            for volume in filter(None, volumes):
                slicer.mrmlScene.RemoveNode(volume)
        del node, volumes, volume
    # Slicer's slice views keep the image they showed last until they show another (vtkMRMLSliceLayerLogic).
    quick.generate()
    for _ in range(2):
        quick.press(quick.ui.compareButton)
    assert ofClass(Job, Preloading, WorldImage) == []
    assert lives.watched["vtkMRMLScalarVolumeNode"] == 2 * GENERATES + GENERATES // 5
    assert +lives.alive == Counter()


def test_jobs_that_end_otherwise_are_gone_too(quick):
    quick.ui.generateButton.click()
    quick.client.cancel()
    waitUntil(lambda: not quick.client.state.busy, 30, "the end of the job")
    quick.press(quick.ui.seeButton)
    waitUntil(lambda: not quick.client.state.busy, 30, "the end of the job")
    processEvents(0.2)
    assert ofClass(Job, Preloading) == []


def test_a_worker_that_ended_is_gone(quick):
    for _ in range(3):
        quick.generate()
        os.kill(quick.client.workerPid, signal.SIGKILL)
        waitUntil(lambda: quick.client.workerPid is None, 30, "the end of the worker")
    processEvents(0.2)
    assert ofClass(WorkerProcess) == []


def test_a_panel_that_was_reloaded_is_gone(quick):
    panel = weakref.ref(quick.panel)
    quick.widget.onReload()
    processEvents(0.2)
    slicer.app.sendPostedEvents(None, qt.QEvent.DeferredDelete)
    gc.collect()
    assert panel() is None
