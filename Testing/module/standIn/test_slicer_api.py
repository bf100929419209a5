"""What the module asks of Slicer's Qt classes, and what the stand-in offers as theirs, is what they have.

`harness/slicerApi.json` is read from the sources of Slicer, CTK and PythonQt by `harness/readSlicerApi.py`.
"""

import inspect

import apiContract
import pytest
import readSlicerApi
from apiContract import API, Reader, hasSignal, kindOf, widgetsOf
from apiNames import namedClasses, sources, uiFiles
from PySide6 import QtCore
from slicerStandIn.application.app import qSlicerApplication
from slicerStandIn.ctkWidgets import CTK_CLASSES
from slicerStandIn.mrmlWidgets import MRML_CLASSES
from slicerStandIn.views.layoutManager import qSlicerLayoutManager
from slicerStandIn.views.mainWindow import qSlicerMainWindow
from slicerStandIn.views.sliceWidget import qMRMLSliceWidget

STAND_INS = {
    **CTK_CLASSES,
    **MRML_CLASSES,
    **{cls.__name__: cls for cls in (qSlicerApplication, qSlicerLayoutManager, qSlicerMainWindow, qMRMLSliceWidget)},
}
# What the stand-in has besides, each with its reason; the module may use none of it.
_VIEW = "scheduleRender forceRender renderWindow interactor addMouseListener removeMouseListener displayPosition"
EXCEPTIONS = {
    "qMRMLSliceWidget": _VIEW,  # the widget and its sliceView() are one object here
    "qSlicerApplication": "mrml",  # where the stand-in's fixtures find the scene's logics
    "qSlicerMainWindow": "layoutManager open selectModule selectedModule",  # the tests' hand on the window
    "qSlicerLayoutManager": "QWidget",  # the area of the views itself; in Slicer it is a QObject that fills one
}


def test_the_facts_are_of_every_class_that_is_named():
    """Where this fails, run `harness/readSlicerApi.py` again."""
    assert set(namedClasses()) <= set(API)


def problemsOf(path):
    return Reader(path, widgetsOf(tuple(uiFiles()))).problems


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.name)
def test_the_module_asks_for_nothing_that_slicer_does_not_have(path):
    assert problemsOf(path) == []


def test_a_good_part_of_the_module_could_be_read():
    readers = [Reader(path, widgetsOf(tuple(uiFiles()))) for path in sources()]
    assert sum(reader.checked for reader in readers) > 300


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ui.generateButton.txt = 'a'", "has no txt"),
        ("ui.generateButtn.text = 'a'", "no .ui file has an object generateButtn"),
        ("ui.generateButton.text()", "is a property"),
        ("ui.generateButton.connect('clicked(int)', print)", "no signal clicked(int)"),
        ("ui.editor.setAutoShow(True)", "has no setAutoShow"),
        ("timer = qt.QTimer()\ntimer.active = True", "cannot be set"),
        ("slicer.app.layoutManager().sliceWidget('Red').slicView()", "has no slicView"),
        ("qt.QProcess.Running2", "has no Running2"),
        ("slider = ctk.ctkSliderWidget()\nslider.setRange(0, 1)", "has no setRange"),
    ],
)
def test_a_misuse_is_found(tmp_path, line, words):
    (tmp_path / "misuse.py").write_text(line)
    assert [words in problem for problem in problemsOf(tmp_path / "misuse.py")] == [True]


def test_every_ui_file_sets_and_connects_what_there_is():
    problems = []
    for path in uiFiles():
        root = apiContract.ElementTree.parse(path).getroot()
        classes = {name: next(iter(found)) for name, found in widgetsOf((path,)).items()}
        for widget in root.iter("widget"):
            for attribute in widget.findall("property"):
                name, owner = attribute.get("name"), widget.get("class")
                if owner in API and attribute.get("stdset") != "0" and kindOf(owner, name) != "property":
                    problems.append(f"{path.name}: {owner} has no property {name}")
        for wire in root.iter("connection"):
            sender, signal = classes[wire.findtext("sender")], wire.findtext("signal")
            receiver, slot = classes[wire.findtext("receiver")], wire.findtext("slot")
            if not hasSignal(sender, signal) or kindOf(receiver, slot.split("(")[0]) != "method":
                problems.append(f"{path.name}: {sender} {signal} → {receiver} {slot}")
    assert problems == []


def ownMembers(cls):
    """What a class of the stand-in has of its own, but for what it overrides of Qt's."""
    members = {}
    for part in reversed(cls.__mro__):
        if part.__module__.startswith("slicerStandIn") and "pythonQt" not in part.__module__:
            members.update(vars(part))
    qtBase = next(part for part in cls.__mro__ if part.__module__.startswith("PySide6"))
    return {n: m for n, m in members.items() if not n.startswith("_") and not hasattr(qtBase, n)}


@pytest.mark.parametrize("name", sorted(STAND_INS))
def test_a_class_of_the_stand_in_offers_nothing_that_slicers_lacks(name):
    cls, problems = STAND_INS[name], []
    for member, value in ownMembers(cls).items():
        kind = kindOf(name, member)
        if isinstance(inspect.getattr_static(cls, member), QtCore.Signal):
            kind = kind if kind == "signal" else ""
        elif isinstance(value, QtCore.Property):
            kind = kind if kind in ("property", "read only") else ""
        if not kind and member not in EXCEPTIONS.get(name, "").split():
            problems.append(member)
    assert problems == []


@pytest.mark.parametrize("name", sorted(STAND_INS))
def test_a_class_of_the_stand_in_is_derived_from_the_same_class_of_qt(name):
    bases, entry = [], name
    while entry:
        bases.append(entry)
        entry = API[entry]["base"]
    found = next(part.__name__ for part in STAND_INS[name].__mro__ if part.__module__.startswith("PySide6"))
    assert found in (next(base for base in bases if base.startswith("Q")), EXCEPTIONS.get(name))


def test_the_exceptions_stay_few():
    assert len(EXCEPTIONS) <= 5


HEADER = """
/// class Decoy : public Nothing {
class Q_SLICER_EXPORT qTried : public qMRMLWidget
{
  Q_OBJECT
  Q_PROPERTY(QString text READ text WRITE setText NOTIFY textChanged)
  Q_PROPERTY(int count READ count)
  Q_ENUMS(Mode)
public:
  enum Mode { Slow = 0, Fast };
  explicit qTried(QWidget* parent = nullptr);
  ~qTried() override;
  void plain(int unseen);
  Q_INVOKABLE virtual vtkMRMLNode* node(const QString& name, int index = -1) const;
public slots:
  void setText(const QString& text) { this->hidden(); }
  /// \\param a, b: first; second
  bool choose(QList<QVariant> some, vtkMRMLScene* scene);
signals:
  void textChanged(const QString&);
protected slots:
  void onSomething(bool);
private:
  void hidden();
};
"""


def test_a_header_is_read_for_what_python_reaches_of_it(tmp_path):
    (tmp_path / "qTried.h").write_text(HEADER)
    entry = readSlicerApi._ofSource("qTried", {"qTried": tmp_path / "qTried.h"})
    assert entry["base"] == "qMRMLWidget"
    assert entry["properties"] == {"text": "QString", "count": "int (read only)"}
    assert entry["methods"] == {
        "node": ["(QString,int) -> vtkMRMLNode*"],
        "setText": ["(QString) -> void"],
        "choose": ["(QList<QVariant>,vtkMRMLScene*) -> bool"],
    }
    assert (entry["signals"], entry["enums"]) == (["textChanged(QString)"], ["Fast", "Mode", "Slow"])


def test_facts_that_were_looked_up_by_hand_are_so():
    assert kindOf("qMRMLSegmentEditorWidget", "setAutoShowSourceVolumeNode") == "method"
    assert kindOf("qMRMLSegmentEditorWidget", "autoShowSourceVolumeNode") == "property"
    assert not kindOf("qMRMLSegmentEditorWidget", "onLayoutChanged")  # a protected slot
    assert (kindOf("ctkSliderWidget", "setRange"), kindOf("ctkRangeWidget", "setRange")) == ("", "method")
    assert kindOf("QLabel", "text") == "property" and kindOf("QLabel", "setText") == "method"
    assert (kindOf("QTimer", "singleShot"), kindOf("QTimer", "setSingleShot")) == ("method", "method")
    assert hasSignal("QProcess", "finished(int,QProcess::ExitStatus)") and not hasSignal("QProcess", "finished()")
    assert hasSignal("qMRMLNodeComboBox", "currentNodeChanged(vtkMRMLNode*)")
