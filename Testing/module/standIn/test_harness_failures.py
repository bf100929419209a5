"""What Qt, VTK and Python would only print fails the test, and a dialog nobody answers does not hang it."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import qt
import slicer
import vtk
from slicerStandIn.testing.dialogs import UnansweredDialog
from slicerStandIn.testing.eventLoop import measureBlocking, processEvents, waitUntil

FAILING = """
import slicer, qt
def test_slot(scene):
    button = qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
def test_late_slot(scene):
    qt.QTimer.singleShot(0, lambda: [][1])
def test_observer(scene):
    scene.AddObserver(scene.NodeAddedEvent, lambda caller, event: {}["no such key"])
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    scene.RemoveAllObservers()
def test_vtk(scene):
    scene.AddNode(None)
def test_good(scene):
    pass
"""


def raiseValueError(*arguments):
    raise ValueError("from inside")


def test_an_exception_in_a_slot_is_kept(noUncaughtExceptions):
    button = qt.QPushButton()
    button.connect("clicked(bool)", raiseValueError)
    button.clicked.connect(raiseValueError)
    button.click()
    assert [type(error) for error in noUncaughtExceptions.take()] == [ValueError, ValueError]


def test_an_exception_in_an_observer_is_kept(noUncaughtExceptions, scene):
    tag = scene.AddObserver(vtk.vtkCommand.ModifiedEvent, raiseValueError)
    scene.Modified()
    scene.RemoveObserver(tag)
    assert [type(error) for error in noUncaughtExceptions.take()] == [ValueError]


def test_an_exception_in_a_thread_is_kept(noUncaughtExceptions):
    thread = threading.Thread(target=raiseValueError)
    thread.start()
    thread.join()
    assert [str(error) for error in noUncaughtExceptions.take()] == ["from inside"]


def test_an_error_of_vtk_is_kept(noVtkErrors, scene):
    scene.AddNode(None)
    (text,) = noVtkErrors.take()
    assert "unable to add a null node" in text


def test_kept_errors_fail_their_test_and_no_other(tmp_path):
    conftest = (Path(__file__).parents[1] / "conftest.py").read_text(encoding="utf-8")
    harness = Path(__file__).parents[2] / "harness"
    (tmp_path / "conftest.py").write_text(f"import sys; sys.path.insert(0, {str(harness)!r})\n{conftest}")
    (tmp_path / "test_failing.py").write_text(FAILING)
    command = [sys.executable, "-m", "pytest", "-q", "--noconftest", "-p", "conftest", "-p", "no:cacheprovider", "-rA"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    for name in ("slot", "late_slot", "observer", "vtk"):
        assert f"ERROR test_failing.py::test_{name} " in done.stdout, done.stdout
    assert "5 passed, 4 errors" in done.stdout  # each body ran through; its end told on it


def test_a_dialog_nobody_answers_is_an_error():
    box = qt.QMessageBox()
    box.text = "Really?"
    with pytest.raises(UnansweredDialog, match="Really"):
        box.exec_()
    with pytest.raises(UnansweredDialog, match="getOpenFileName"):
        qt.QFileDialog.getOpenFileName(None, "Choose", "")


def test_dialogs_are_answered_in_order(dialogs):
    dialogs.answer("/tmp/folder", qt.QMessageBox.No, lambda box: len(box.text))
    assert qt.QFileDialog.getExistingDirectory(None, "Folder") == "/tmp/folder"
    assert qt.QMessageBox.question(None, "Title", "Sure?") == qt.QMessageBox.No
    box = qt.QMessageBox()
    box.text = "seven"
    assert box.exec_() == 5
    assert dialogs.asked[1:] == ["QMessageBox.question: Title: Sure?", "QMessageBox: seven"]


def test_in_testing_mode_slicer_util_shows_nothing(scene, caplog):
    slicer.util.errorDisplay("The disk is full.")
    assert "The disk is full." in caplog.text


def test_waiting_ends_when_it_is_so_and_says_what_never_was():
    answered = []
    qt.QTimer.singleShot(20, lambda: answered.append(1))
    waitUntil(lambda: answered, 5, "the answer")
    with pytest.raises(TimeoutError, match="the moon"):
        waitUntil(lambda: False, 0.05, "the moon")


def test_a_blocked_event_loop_is_measured():
    with measureBlocking() as smooth:
        processEvents(0.1)
    with measureBlocking() as blocked:
        qt.QTimer.singleShot(5, lambda: time.sleep(0.6))
        waitUntil(lambda: blocked.total, 5, "the pause")
    assert smooth.longest < 0.6 <= blocked.longest <= blocked.total
