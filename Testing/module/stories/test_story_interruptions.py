"""What may come between a user and the image: cancelling, a worker that dies, a scene that is closed."""

import os
import signal

import psutil
import pytest
import slicer
from opened import home, opened, tinyPacks  # noqa: F401
from slicerStandIn.testing.eventLoop import processEvents, waitUntil
from VCMSlicerLib.engine.jobState import JobState
from VCMSlicerLib.scene.parameters import Quality


@pytest.fixture
def running(opened):  # noqa: F811
    """A job that would take long, halfway."""
    opened.press(opened.ui.startDemoButton)
    opened.parameters.quality = Quality.REFERENCE
    opened.parameters.sampleCount = 5
    processEvents(0.1)
    opened.press(opened.ui.generateButton)
    waitUntil(lambda: opened.client.fraction > 0.05 or not opened.client.state.busy, 90, "the middle of the job")
    assert opened.client.state is JobState.RUNNING, f"{opened.client.failure}\n{opened.client.log}"
    return opened


def makeItShort(opened):  # noqa: F811
    opened.parameters.quality = Quality.PREVIEW
    opened.parameters.sampleCount = 1
    processEvents(0.1)


def workersOf(process):
    return [child for child in psutil.Process().children(recursive=True) if child.is_running() and child.pid == process]


def test_cancelling_halfway_leaves_nothing_and_the_next_generate_works_with_the_same_worker(running):
    worker = running.client.workerPid
    assert running.ui.generateButton.text == "Cancel"
    assert running.ui.progressArea.isVisible()
    running.press(running.ui.generateButton)
    waitUntil(lambda: not running.client.state.busy, 20, "the end of the job")
    processEvents(0.2)
    assert running.client.state is JobState.IDLE
    assert running.ui.generateButton.text == "Generate"
    assert not running.ui.progressArea.isVisible()
    assert not running.ui.problemFrame.isVisible()
    assert running.logic.results.rows() == []
    assert not [n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if "Forming" in n.GetName()]
    makeItShort(running)
    assert len(running.generate()) == 1
    assert running.client.workerPid == worker


def test_a_worker_killed_from_outside_is_told_in_a_sentence_and_the_button_beside_it_generates_again(running):
    makeItShort(running)
    os.kill(running.client.workerPid, signal.SIGKILL)
    waitUntil(lambda: not running.client.state.busy, 20, "the end of the job")
    processEvents(0.2)
    assert running.client.state is JobState.FAILED
    assert running.ui.problemFrame.isVisible()
    assert running.client.failure.sentence in running.ui.problemLabel.text
    assert running.ui.remedyButton.text == "Try again"
    running.press(running.ui.remedyButton)
    assert not running.ui.problemFrame.isVisible()
    waitUntil(lambda: running.client.state is JobState.DONE or not running.client.state.busy, 90, "the second job")
    processEvents(0.2)
    assert running.client.failure is None
    assert len(running.logic.results.rows()) == 1


def test_the_log_can_be_shown_after_a_failure(running):
    os.kill(running.client.workerPid, signal.SIGKILL)
    waitUntil(lambda: not running.client.state.busy, 20, "the end of the job")
    processEvents(0.2)
    running.press(running.ui.showLogButton)
    import qt

    (dialog,) = [w for w in qt.QApplication.topLevelWidgets() if w.objectName == "VCMSlicerLog" and w.isVisible()]
    assert dialog.findChild(qt.QPlainTextEdit).toPlainText() == running.client.log
    dialog.close()


def test_closing_the_scene_during_a_job_loses_nothing(opened):  # noqa: F811
    opened.press(opened.ui.startDemoButton)
    opened.parameters.quality = Quality.REFERENCE
    processEvents(0.1)
    opened.press(opened.ui.generateButton)
    waitUntil(lambda: opened.client.fraction > 0.05, 90, "the middle of the job")
    slicer.mrmlScene.Clear(0)
    processEvents(0.2)
    assert opened.client.state is JobState.RUNNING
    assert opened.ui.generateButton.text == "Cancel"
    waitUntil(lambda: not opened.client.state.busy, 90, "the end of the job")
    processEvents(0.3)
    assert opened.client.state is JobState.DONE
    assert opened.logic.results.rows() == []
    assert opened.ui.remedyButton.text == "Load it"
    opened.press(opened.ui.remedyButton)
    processEvents(0.2)
    (row,) = opened.logic.results.rows()
    assert row.node.GetImageData() is not None
    assert opened.ui.resultsTable.rowCount == 1
    assert not opened.ui.problemFrame.isVisible()


def test_ending_slicer_during_a_job_leaves_no_process_behind(running):
    worker = running.client.workerPid
    running.logic.shutdown(0.5)
    waitUntil(lambda: not workersOf(worker), 10, "the end of the worker")
