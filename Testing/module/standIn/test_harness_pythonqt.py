"""The stand-in's `qt` behaves as PythonQt does, and refuses what PythonQt lets pass in silence."""

import ctk
import pytest
import qt
import slicer

UI = """<?xml version="1.0" encoding="UTF-8"?><ui version="4.0"><class>P</class>
<widget class="qMRMLWidget" name="P"><layout class="QVBoxLayout" name="l">
<item><widget class="QPushButton" name="pressMe"><property name="text"><string>Press</string></property></widget></item>
<item><widget class="qMRMLNodeComboBox" name="chooser"><property name="nodeTypes"><stringlist>
<string>vtkMRMLScalarVolumeNode</string></stringlist></property></widget></item></layout></widget>
<connections><connection><sender>P</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>RECEIVER</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>"""


def loadUi(tmp_path, text):
    (tmp_path / "P.ui").write_text(text)
    return slicer.util.loadUI(str(tmp_path / "P.ui"))


def test_properties_are_attributes():
    box = qt.QSpinBox()
    box.maximum = 12
    box.value = 40
    assert (box.value, box.enabled, box.name) == (12, True, "")
    box.name = "seed"
    assert box.objectName == "seed"


def test_a_misspelt_attribute_is_refused():
    button = qt.QPushButton("Generate")
    with pytest.raises(AttributeError, match="enabeld"):
        button.enabeld = False
    slider = ctk.ctkSliderWidget()
    with pytest.raises(AttributeError, match="maximun"):
        slider.maximun = 3


def test_a_class_of_the_modules_own_takes_attributes():
    class Mine(qt.QWidget):
        pass

    mine = Mine()
    mine.anything = 5
    assert mine.anything == 5


@pytest.mark.parametrize("signature", ["cliked(bool)", "clicked(int)", "clicked"])
def test_a_signal_that_does_not_exist_is_an_error(signature):
    with pytest.raises(ValueError, match=r"signal"):
        qt.QPushButton().connect(signature, print)


def test_a_slot_gets_the_arguments_its_signature_names_and_no_more_than_it_takes():
    got = []
    button = qt.QPushButton()
    button.checkable = True
    button.connect("clicked()", lambda *arguments: got.append(("none", arguments)))
    button.connect("clicked(bool)", lambda checked: got.append(("bool", checked)))
    button.connect("toggled(bool)", lambda: got.append("nothing taken"))
    button.click()
    assert sorted(map(str, got)) == ["('bool', True)", "('none', ())", "nothing taken"]


def test_disconnecting_by_the_same_words_ends_the_calls():
    got = []
    line = qt.QLineEdit()
    line.connect("textChanged(QString)", got.append)
    line.text = "a"
    assert line.disconnect("textChanged(QString)", got.append)
    line.text = "b"
    assert got == ["a"]


def test_mrml_signals_are_named_by_their_c_plus_plus_types(scene):
    got = []
    chooser = slicer.qMRMLNodeComboBox()
    chooser.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    chooser.connect("currentNodeChanged(vtkMRMLNode*)", got.append)
    chooser.connect("currentNodeChanged(bool)", got.append)
    chooser.setMRMLScene(scene)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    assert got == [node, True]


def test_a_process_tells_of_its_end_and_of_failing_to_start():
    got = []
    process = qt.QProcess()
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: got.append((code, status)))
    process.connect("errorOccurred(QProcess::ProcessError)", got.append)
    process.start("/bin/sh", ["-c", "exit 3"])
    process.waitForFinished()
    process.start("/no/such/program", [])
    slicer.app.processEvents()
    assert got == [(3, qt.QProcess.NormalExit), qt.QProcess.FailedToStart]


def test_isinstance_follows_qt():
    assert isinstance(ctk.ctkSliderWidget(), qt.QWidget)
    assert isinstance(qt.QPushButton(), qt.QAbstractButton)
    assert not isinstance(qt.QPushButton(), qt.QComboBox)


def test_a_ui_file_brings_its_widgets_and_its_connections(scene, tmp_path):
    panel = loadUi(tmp_path, UI.replace("RECEIVER", "chooser"))
    ui = slicer.util.childWidgetVariables(panel)
    panel.setMRMLScene(scene)
    assert type(ui.pressMe) is qt.QPushButton and panel.pressMe is ui.pressMe
    assert ui.chooser.mrmlScene() is scene


def test_a_ui_file_that_connects_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(RuntimeError, match="choosre"):
        loadUi(tmp_path, UI.replace("RECEIVER", "choosre"))


def test_a_ui_file_with_an_unknown_widget_is_refused(tmp_path, noUncaughtExceptions):
    with pytest.raises(RuntimeError, match="qMRMLNoSuchWidget"):
        loadUi(tmp_path, UI.replace("RECEIVER", "chooser").replace("QPushButton", "qMRMLNoSuchWidget"))
        noUncaughtExceptions.raiseIfAny()
        raise noUncaughtExceptions.take()[0]


def test_settings_are_those_of_this_test_only():
    settings = qt.QSettings()
    assert settings.fileName().startswith(slicer.app.slicerHome)
    settings.setValue("Here", 1)


def test_settings_do_not_reach_the_next_test(scene):
    assert qt.QSettings().value("Here") is None


def test_many_signals_do_not_use_up_true_and_false():
    class Sender(qt.QObject):
        told = qt.Signal(bool)

    sender = Sender()
    sender.told.connect(lambda value: None)
    for _ in range(3000):
        sender.told.emit(True)
        sender.told.emit(False)
