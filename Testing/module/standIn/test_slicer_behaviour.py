"""What Slicer does that a module finds out the hard way, each with the file and function of its sources that does it.

`harness/slicerApi.json` says what Slicer's classes have; these say how they behave, and hold the stand-in to it.
"""

import functools
import gc
import weakref

import numpy as np
import pytest
import qt
import slicer
from slicerStandIn.testing.eventLoop import processEvents


class Ticking:
    """Holds a timer that is connected to a method of its own."""

    def __init__(self):
        self.ticks = []
        self.timer = qt.QTimer()
        self.timer.connect("timeout()", self.tick)

    def tick(self):
        self.ticks.append(1)


def lives(reference):
    gc.collect()
    return reference() is not None


# PythonQt holds what is connected: PythonQtSignalTarget (src/PythonQtSignalReceiver.h) keeps a reference of its own,
# and the type of its wrappers (PythonQtInstanceWrapper_Type in src/PythonQtInstanceWrapper.cpp) has no tp_traverse.


def test_a_cycle_through_a_connected_method_is_never_collected():
    reference = weakref.ref(Ticking())
    assert lives(reference)
    reference().timer.disconnect("timeout()", reference().tick)
    assert not lives(reference)


def test_a_cycle_through_a_signal_taken_as_an_attribute_is_no_different():
    ticking = Ticking()
    ticking.timer.disconnect("timeout()", ticking.tick)
    ticking.timer.timeout.connect(ticking.tick)
    reference = weakref.ref(ticking)
    del ticking
    assert lives(reference)
    reference().timer.timeout.disconnect(reference().tick)
    assert not lives(reference)


@pytest.mark.parametrize("end", ["delete", "deleteLater"])
def test_the_end_of_the_sender_lets_go_of_what_was_connected(end):
    reference = weakref.ref(Ticking())
    getattr(reference().timer, end)()
    slicer.app.sendPostedEvents(None, qt.QEvent.DeferredDelete)
    assert not lives(reference)


def test_a_receiver_that_nobody_else_holds_goes_on_receiving():
    heard = []

    class Receiver:
        def hear(self, text):
            heard.append(text)

    line = qt.QLineEdit()
    line.textChanged.connect(Receiver().hear)
    gc.collect()
    line.text = "a"
    assert heard == ["a"]


def test_a_single_shot_holds_its_receiver_until_it_was_called():
    # PythonQtSingleShotTimer in src/PythonQtStdDecorators.cpp
    ticking = Ticking()
    ticking.timer.disconnect("timeout()", ticking.tick)
    ticks, reference = ticking.ticks, weakref.ref(ticking)
    qt.QTimer.singleShot(0, ticking.tick)
    del ticking
    assert lives(reference)
    processEvents(0.05)
    assert ticks == [1] and not lives(reference)


def test_only_what_is_written_in_python_is_spared_arguments_it_does_not_take():
    # PythonQtSignalTarget::call in src/PythonQtSignalReceiver.cpp counts the arguments of functions and methods only
    heard = []
    button = qt.QPushButton()
    button.connect("clicked(bool)", functools.partial(lambda *arguments: heard.append(arguments), "first"))
    button.connect("clicked(bool)", lambda: heard.append(()))
    button.click()
    assert heard == [("first", False), ()]


def test_disconnecting_takes_out_one_connection_at_a_time():
    # PythonQtSignalReceiver::removeSignalHandler in src/PythonQtSignalReceiver.cpp
    heard = []
    line = qt.QLineEdit()
    for _ in range(2):
        line.connect("textChanged(QString)", heard.append)
    line.disconnect("textChanged(QString)", heard.append)
    line.text = "a"
    line.disconnect("textChanged(QString)", heard.append)
    line.text = "b"
    assert heard == ["a"]


# The segment editor takes the slice views for itself.


@pytest.fixture
def editing(mainWindow, scene):
    """A segment editor that follows the views, a source volume for it, and another volume."""
    source, other = (slicer.util.addVolumeFromArray(np.zeros((3, 4, 5)), name=name) for name in ("source", "other"))
    editor = slicer.qMRMLSegmentEditorWidget()
    editor.setMRMLSegmentEditorNode(scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    editor.setMRMLScene(scene)
    editor.setSegmentationNode(scene.AddNewNodeByClass("vtkMRMLSegmentationNode"))
    editor.setSourceVolumeNode(source)
    editor.setupViewObservations()
    yield editor, source, other
    editor.removeViewObservations()
    editor.delete()


def backgrounds():
    layoutManager = slicer.app.layoutManager()
    views = [layoutManager.sliceWidget(name) for name in layoutManager.sliceViewNames()]
    return {view.mrmlSliceCompositeNode().GetBackgroundVolumeID() for view in views}


def showInAnotherLayout(node):
    slicer.util.setSliceViewerLayers(background=node, foreground=None)
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)


def test_a_change_of_layout_shows_the_source_volume_again(editing):
    # onLayoutChanged and showSourceVolumeInSliceViewers in
    # Modules/Loadable/Segmentations/Widgets/qMRMLSegmentEditorWidget.cxx; autoShowSourceVolumeNode is true at first
    editor, source, other = editing
    assert editor.autoShowSourceVolumeNode
    showInAnotherLayout(other)
    assert backgrounds() == {source.GetID()}


def test_it_does_not_where_that_was_turned_off_or_the_editor_looks_at_no_views(editing):
    editor, _source, other = editing
    editor.setAutoShowSourceVolumeNode(False)
    showInAnotherLayout(other)
    assert backgrounds() == {other.GetID()}
    editor.setAutoShowSourceVolumeNode(True)
    editor.removeViewObservations()
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    assert backgrounds() == {other.GetID()}


def test_a_source_volume_that_lies_in_front_is_left_there(editing):
    _editor, source, other = editing
    slicer.util.setSliceViewerLayers(background=other, foreground=source)
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)
    assert backgrounds() == {other.GetID()}


def test_closing_the_scene_keeps_singletons_and_resets_them(scene):
    # RemoveAllNodes and ResetNodes in Libs/MRML/Core/vtkMRMLScene.cxx: what a singleton was set to is lost
    node = scene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
    node.UnRegister(None)
    node.SetSingletonTag("Note")
    node = scene.AddNode(node)
    node.SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteNone)
    plain = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    scene.Clear(0)
    assert node.GetScene() is scene and plain.GetScene() is None
    assert node.GetOverwriteMode() == slicer.vtkMRMLSegmentEditorNode.OverwriteAllSegments
    scene.RemoveNode(node)
