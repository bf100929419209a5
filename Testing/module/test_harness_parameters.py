"""parameterNodeWrapper and parameterPack keep their values in the scene, check them, and follow widgets."""

import enum
import pathlib
from typing import Annotated

import ctk
import pytest
import qt
import slicer
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import Choice, Default, FloatRange, WithinRange, parameterNodeWrapper, parameterPack
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic


class Quality(enum.Enum):
    QUICK = 1
    FINE = 2


@parameterPack
class Row:
    name: str
    strength: Annotated[float, WithinRange(0, 2)] = 1.0
    mask: vtkMRMLSegmentationNode


@parameterNodeWrapper
class Parameters:
    volume: vtkMRMLScalarVolumeNode
    strength: Annotated[float, WithinRange(0.0, 3.0)] = 1.25
    count: Annotated[int, Default(7)]
    on: bool = True
    quality: Quality = Quality.FINE
    rows: list[Row]
    main: Row
    scores: dict[str, float]
    folder: pathlib.Path
    pair: tuple[int, str]
    maybe: int | None
    sex: Annotated[str, Choice(["F", "M"])]
    window: FloatRange
    text: str = "a b;c\"<>&\n'é"


class HarnessParametersLogic(ScriptedLoadableModuleLogic):
    pass


@pytest.fixture
def parameters(scene):
    return Parameters(HarnessParametersLogic().getParameterNode())


def test_defaults_are_those_declared(parameters):
    found = (parameters.strength, parameters.count, parameters.quality, parameters.sex, parameters.maybe)
    assert found == (1.25, 7, Quality.FINE, "F", None)
    assert (parameters.rows, parameters.main, parameters.volume) == ([], Row(), None)


@pytest.mark.parametrize(
    ("name", "value"),
    [("strength", 3.5), ("count", 1.5), ("count", True), ("sex", "X"), ("main.strength", 2.5), ("rows", ["no row"])],
)
def test_values_that_are_not_allowed_are_refused_and_change_nothing(parameters, name, value):
    before = str(parameters.getValue(name))
    with pytest.raises(ValueError):
        parameters.setValue(name, value)
    assert str(parameters.getValue(name)) == before


def test_an_unknown_parameter_is_named_in_the_error(parameters):
    with pytest.raises(ValueError, match="seeed"):
        parameters.getValue("seeed")


def test_changing_a_list_in_place_reaches_the_scene(parameters):
    parameters.rows.append(Row("a", 0.5))
    parameters.rows.append(Row("b"))
    parameters.rows[0].strength = 1.75
    del parameters.rows[1]
    again = Parameters(parameters.parameterNode)
    assert again.rows == [Row("a", 1.75)]


def test_a_shortened_list_leaves_nothing_behind(parameters):
    parameters.rows = [Row("a"), Row("b")]
    parameters.rows = []
    assert not [name for name in parameters.parameterNode.GetParameterNames() if name.startswith("rows.")]


def test_all_of_it_survives_a_saved_scene(parameters, scene, tmp_path):
    mask = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mask")
    parameters.rows = [Row("a", 0.5, mask)]
    parameters.scores["ventricles"] = 0.875
    parameters.pair, parameters.maybe, parameters.quality = (4, "z"), 9, Quality.QUICK
    parameters.folder, parameters.window = pathlib.PurePosixPath("/some/Lékař"), FloatRange(-1.5, 2.5)
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear()
    assert Parameters(HarnessParametersLogic().getParameterNode()).maybe is None
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    read = Parameters(HarnessParametersLogic().getParameterNode())
    assert (read.rows[0].name, read.rows[0].strength, read.rows[0].mask.GetName()) == ("a", 0.5, "Mask")
    assert (read.scores, read.pair, read.maybe, read.quality) == ({"ventricles": 0.875}, (4, "z"), 9, Quality.QUICK)
    assert (str(read.folder), read.window) == ("/some/Lékař", FloatRange(-1.5, 2.5))
    assert read.text == "a b;c\"<>&\n'é"


def test_widgets_and_parameters_follow_one_another_until_disconnected(parameters, scene):
    widgets = {
        "strength": ctk.ctkSliderWidget(),
        "quality": qt.QComboBox(),
        "on": qt.QCheckBox(),
        "count": qt.QSpinBox(),
    }
    chooser = slicer.qMRMLNodeComboBox()
    chooser.setMRMLScene(scene)
    tag = parameters.connectParametersToGui({**widgets, "volume": chooser, "main.strength": ctk.ctkSliderWidget()})
    assert (widgets["strength"].maximum, widgets["strength"].value, widgets["count"].value) == (3.0, 1.25, 7)

    widgets["strength"].value = 2.5
    widgets["quality"].currentIndex = 0
    widgets["on"].checked = False
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    assert (parameters.strength, parameters.quality, parameters.on) == (2.5, Quality.QUICK, False)
    assert parameters.volume is volume

    parameters.strength = 0.5
    assert widgets["strength"].value == 0.5
    parameters.disconnectGui(tag)
    widgets["strength"].value = 2
    assert parameters.strength == 0.5


def test_a_slider_needs_a_range_and_a_combo_box_choices(parameters):
    with pytest.raises(RuntimeError, match="range"):
        parameters.connectParametersToGui({"count": qt.QSlider()})
    with pytest.raises(RuntimeError, match="Choice"):
        parameters.connectParametersToGui({"text": qt.QComboBox()})


def test_a_widget_of_a_derived_class_cannot_be_bound_as_in_slicer(parameters):
    with pytest.raises(RuntimeError, match="ctkCheckBox"):
        parameters.connectParametersToGui({"on": ctk.ctkCheckBox()})


def test_names_of_the_wrapper_itself_are_reserved():
    with pytest.raises(ValueError, match="setValue"):

        @parameterNodeWrapper
        class Clash:
            setValue: int
