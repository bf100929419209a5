"""parameterNodeWrapper keeps its values in the scene, checks them, and follows widgets: ours and Slicer's own alike."""

import enum
from typing import Annotated

import ctk
import pytest
import qt
import slicer
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import Choice, Default, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic


class Quality(enum.Enum):
    QUICK = 1
    FINE = 2


@parameterNodeWrapper
class Parameters:
    volume: vtkMRMLScalarVolumeNode
    mask: vtkMRMLSegmentationNode
    strength: Annotated[float, WithinRange(0.0, 3.0)] = 1.25
    count: Annotated[int, Default(7)]
    on: bool = True
    quality: Quality = Quality.FINE
    sex: Annotated[str, Choice(["F", "M"])] = "F"
    text: str = "a b;c\"<>&\n'é"


class HarnessParametersLogic(ScriptedLoadableModuleLogic):
    pass


@pytest.fixture
def parameters(scene):
    return Parameters(HarnessParametersLogic().getParameterNode())


def test_defaults_are_those_declared(parameters):
    found = (parameters.strength, parameters.count, parameters.quality, parameters.sex, parameters.volume)
    assert found == (1.25, 7, Quality.FINE, "F", None)
    assert parameters.default("strength").value == 1.25


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("strength", 3.5, ValueError),
        ("sex", "X", ValueError),
        ("text", None, ValueError),
        ("count", 1.5, TypeError),
        ("quality", "FINE", TypeError),
        ("on", "yes", TypeError),
    ],
)
def test_values_that_are_not_allowed_are_refused_and_change_nothing(parameters, name, value, error):
    before = str(parameters.getValue(name))
    with pytest.raises(error):
        parameters.setValue(name, value)
    assert str(parameters.getValue(name)) == before


def test_an_unknown_parameter_is_named_in_the_error(parameters):
    with pytest.raises(ValueError, match="seeed"):
        parameters.getValue("seeed")


def test_all_of_it_survives_a_saved_scene(parameters, scene, tmp_path):
    parameters.mask = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mask")
    parameters.strength, parameters.count, parameters.on, parameters.quality = 0.1, -9, False, Quality.QUICK
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear()
    assert Parameters(HarnessParametersLogic().getParameterNode()).count == 7
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    read = Parameters(HarnessParametersLogic().getParameterNode())
    assert (read.mask.GetName(), read.volume) == ("Mask", None)
    assert (read.strength, read.count, read.on, read.quality) == (0.1, -9, False, Quality.QUICK)
    assert read.text == "a b;c\"<>&\n'é"


def test_widgets_and_parameters_follow_one_another_until_disconnected(parameters, scene):
    widgets = {
        "strength": ctk.ctkSliderWidget(),
        "quality": qt.QComboBox(),
        "on": qt.QCheckBox(),
        "count": qt.QSpinBox(),
        "sex": qt.QComboBox(),
        "text": qt.QLineEdit(),
    }
    # Slicer's binding reads an enumeration's box before it fills it.
    widgets["quality"].addItem("")
    chooser = slicer.qMRMLNodeComboBox()
    chooser.setMRMLScene(scene)
    tag = parameters.connectParametersToGui({**widgets, "volume": chooser})
    assert (widgets["strength"].maximum, widgets["strength"].value, widgets["count"].value) == (3.0, 1.25, 7)

    widgets["strength"].value = 2.5
    widgets["quality"].currentIndex = 0
    widgets["on"].checked = False
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    assert (parameters.strength, parameters.quality, parameters.on) == (2.5, Quality.QUICK, False)
    assert parameters.volume is volume

    parameters.strength = 0.5
    parameters.sex = "M"
    assert (widgets["strength"].value, widgets["sex"].currentText) == (0.5, "M")
    parameters.disconnectGui(tag)
    widgets["strength"].value = 2
    assert parameters.strength == 0.5


def test_a_slider_needs_a_range_and_a_combo_box_choices(parameters):
    with pytest.raises(RuntimeError):
        parameters.connectParametersToGui({"count": qt.QSlider()})
    with pytest.raises(RuntimeError):
        parameters.connectParametersToGui({"text": qt.QComboBox()})


def test_a_widget_of_a_derived_class_cannot_be_bound(parameters):
    class Mine(qt.QCheckBox):
        pass

    with pytest.raises(RuntimeError, match="Mine"):
        parameters.connectParametersToGui({"on": Mine()})


def test_names_of_the_wrapper_itself_are_reserved():
    with pytest.raises(ValueError, match="setValue"):

        @parameterNodeWrapper
        class Clash:
            setValue: int
