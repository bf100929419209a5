"""The stand-in treats a scripted module as Slicer's factory does, from loading to unloading."""

import sys

import pytest
import slicer

CODE = """
import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import *

class Lively(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Lively")
        parent.categories = ["Examples"]
        slicer.app.connect("startupCompleted()", lambda: LIFE.append("startup"))

LIFE = []

class LivelyWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        LIFE.append("setup")
        self.logic = LivelyLogic()
    def enter(self): LIFE.append("enter")
    def exit(self): LIFE.append("exit")
    def cleanup(self): LIFE.append("cleanup")

class LivelyLogic(ScriptedLoadableModuleLogic):
    answer = VALUE

class LivelyTest(ScriptedLoadableModuleTest):
    def test_answer(self):
        self.assertEqual(LivelyLogic.answer, 1)
"""


@pytest.fixture
def lively(tmp_path):
    path = tmp_path / "Lively.py"
    path.write_text(CODE.replace("VALUE", "1"))
    return path


def life():
    return sys.modules["Lively"].LIFE


def test_a_module_lives_from_loading_to_unloading(lively, loadModule, mainWindow):
    from slicerStandIn.application.moduleFactory import unloadModule

    module = loadModule(lively)
    assert slicer.modules.lively is module and slicer.moduleNames.Lively == "Lively"
    assert (module.title, module.categories, slicer.util.modulePath("Lively")) == ("Lively", ["Examples"], str(lively))
    assert life() == []  # nothing is made before the panel is wanted
    slicer.util.selectModule("Lively")
    assert life() == ["setup", "enter"] and module.widgetRepresentation().isEntered
    mainWindow.selectModule(None)
    slicer.app.startupCompleted.emit()
    unloadModule(module)
    assert life() == ["setup", "enter", "exit", "startup", "cleanup"]
    assert not hasattr(slicer.modules, "lively")


def test_an_entered_module_is_left_before_it_is_unloaded(lively, loadModule):
    from slicerStandIn.application.moduleFactory import unloadModule

    module = loadModule(lively)
    module.widgetRepresentation().enter()
    unloadModule(module)
    assert life() == ["setup", "enter", "exit", "cleanup"]


def test_reloading_runs_the_changed_code(lively, loadModule):
    module = loadModule(lively)
    assert slicer.util.getModuleLogic("Lively").answer == 1
    lively.write_text(CODE.replace("VALUE", "22"))
    module.widgetRepresentation().self().onReload()
    assert slicer.modules.LivelyWidget.logic.answer == 22
    assert module.widgetRepresentation().self() is slicer.modules.LivelyWidget


def test_the_modules_tests_run_as_slicer_runs_them(lively, loadModule):
    from slicer.testing import runUnitTest

    loadModule(lively)
    runUnitTest(str(lively.parent), "Lively")
    sys.modules["Lively"].LivelyLogic.answer = 3
    with pytest.raises(Exception):  # noqa: B017 (Slicer raises no other)
        runUnitTest(str(lively.parent), "Lively")


def test_parameter_nodes_are_found_again_and_go_with_the_scene(lively, loadModule, scene):
    loadModule(lively)
    logic = sys.modules["Lively"].LivelyLogic()
    node = logic.getParameterNode()
    node.SetParameter("seed", "4")
    assert logic.getParameterNode() is node
    scene.Clear()
    assert logic.getParameterNode().GetParameter("seed") == ""


def test_a_module_unloaded_while_it_is_shown_leaves_an_empty_window(lively, loadModule, mainWindow):
    from slicerStandIn.application.moduleFactory import unloadModule

    module = loadModule(lively)
    mainWindow.selectModule(module)
    unloadModule(module)
    assert mainWindow.selectedModule() == "" and life() == ["setup", "enter", "exit", "cleanup"]
    mainWindow.selectModule(None)


@pytest.mark.parametrize("name", ["", "Widget", "Logic", "Test"])
def test_a_base_beside_slicers_own_is_initialised_without_arguments(name, scene, slicerApp):
    from slicer import ScriptedLoadableModule as bases

    base = getattr(bases, f"ScriptedLoadableModule{name}")

    class NeedsAnArgument:
        def __init__(self, argument):
            self.argument = argument

    class Beside(base, NeedsAnArgument):
        pass

    arguments = () if name in ("Logic", "Test") else (slicer.qMRMLWidget(),)
    with pytest.raises(TypeError, match="argument"):
        Beside(*arguments)
