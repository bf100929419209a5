"""The module that Slicer loads: its description, and the shells around what VCMSlicerLib does."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin
from VCMSlicerLib.engine.workerClient import WorkerClient
from VCMSlicerLib.install.environment import Environment
from VCMSlicerLib.logicFacade import LogicFacade
from VCMSlicerLib.results.comparison import registerArrangements
from VCMSlicerLib.results.results import ROLE, Results
from VCMSlicerLib.scene.parameters import VCMParameters
from VCMSlicerLib.scene.scene import removeLeftBehind

DOCUMENTATION = "https://github.com/ACCOUNT-TO-BE-SET/SlicerBrainMRISynthesis/blob/main/docs/slicer.md"
MENU = Path(__file__).parent / "VCMSlicerLib" / "VCMSlicerSubjectHierarchyPlugin.py"


class VCMSlicer(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("VCMSlicer")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        parent.dependencies = ["Segmentations", "SegmentEditor", "Volumes", "Sequences", "SubjectHierarchy"]
        parent.contributors = ["VCMSlicer contributors"]
        parent.helpText = _(
            "Paint a segmentation, press Generate, and get a synthetic T1w brain that follows it, with a measured "
            "report of how well. Everything it makes is synthetic. For research only, never for a diagnosis."
        )
        link = f'<a href="{DOCUMENTATION}">{_("documentation")}</a>'
        parent.helpText += "<p>" + _("How to use it is in the {link}.").format(link=link) + "</p>"
        parent.acknowledgementText = _(
            "Steering is done by VCM (Ahn et al., Volumetric Conditioning Module to Control Pretrained Diffusion "
            "Models for 3D Medical Images, WACV 2025) over latent diffusion models of the brain (Pinaya et al., 2022)."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)
        slicer.app.connect("startupCompleted()", registerArrangements)

    def setup(self) -> None:
        """Slicer calls this when all modules are loaded."""
        import SubjectHierarchyPlugins  # noqa: F401 - makes the base class of plugins importable

        scriptedPlugin = slicer.qSlicerSubjectHierarchyScriptedPlugin(None)
        scriptedPlugin.setPythonSource(str(MENU))


class VCMSlicerWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel between Slicer and `VCMSlicerLib.panels`: it hands on what Slicer tells."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: VCMSlicerLogic | None = None
        self.panel: Any = None

    def setup(self) -> None:
        """Make the panel, and listen to the scene's life. Nothing is put into the scene before the module is opened."""
        ScriptedLoadableModuleWidget.setup(self)
        # The class of the embedded Segment Editor comes from a library that Slicer loads on demand.
        with contextlib.suppress(ModuleNotFoundError):
            import qSlicerSegmentationsModuleWidgetsPythonQt  # noqa: F401
        from VCMSlicerLib.panels.panel import Panel

        self.logic = VCMSlicerLogic()
        self.panel = Panel(self.logic, self.resourcePath)
        self.layout.addWidget(self.panel.widget, 1)
        for event, handler in (
            (slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose),
            (slicer.mrmlScene.EndCloseEvent, self.onSceneChanged),
            (slicer.mrmlScene.EndImportEvent, self.onSceneChanged),
            (slicer.mrmlScene.NodeRemovedEvent, self.onNodeRemoved),
        ):
            self.addObserver(slicer.mrmlScene, event, handler)

    def enter(self) -> None:
        """The user opened the module."""
        if self.panel is not None and self.logic is not None:
            self.panel.setParameters(self.logic.getParameterNode())
            self.panel.enter()

    def exit(self) -> None:
        """The user went to another module."""
        if self.panel is not None:
            self.panel.exit()

    def cleanup(self) -> None:
        """The module is being unloaded or reloaded."""
        self.removeObservers()
        if self.panel is not None:
            self.panel.cleanup()
            # Slicer only hides the old panel when the module is reloaded, and its widgets hold what they call.
            self.panel.widget.deleteLater()
            self.panel = None
        if self.logic is not None:
            self.logic.shutdown()

    def onReload(self) -> None:
        """Forget the module's own code, so that a reload in developer mode reloads all of it."""
        for name in [name for name in sys.modules if name.split(".")[0] == "VCMSlicerLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, _caller: Any, _event: Any) -> None:
        """The scene is about to be emptied; a job that runs goes on and its result comes into the next scene."""
        self.panel.beforeSceneCloses()

    def onSceneChanged(self, _caller: Any, _event: Any) -> None:
        """The scene was emptied, or another was read into it: taken up now, or when the module is opened."""
        if self.parent.isEntered and self.logic is not None:
            self.panel.setParameters(self.logic.getParameterNode())
            self.panel.afterSceneChanged()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(self, _caller: Any, _event: Any, node: Any) -> None:
        """A result was removed, perhaps in another module."""
        if self.panel is not None and node.GetAttribute(ROLE) and not slicer.mrmlScene.IsClosing():
            removeLeftBehind(node)
            self.panel.refreshLater()


class VCMSlicerLogic(LogicFacade, ScriptedLoadableModuleLogic):
    """The module for scripts: see docs/slicer.md for an example.

    `generate(...)` blocks and returns volume nodes; `start(...)` returns a job at once.
    """

    def __init__(self) -> None:
        # Slicer's class is the last base: it calls the `__init__` of the base after it, without arguments.
        ScriptedLoadableModuleLogic.__init__(self)
        self.environment = Environment()
        LogicFacade.__init__(self, WorkerClient(self.environment.workerCommand), Results())
        slicer.app.connect("aboutToQuit()", self.shutdown)

    def shutdown(self, seconds: float = 2.0) -> None:
        """End the worker; no process stays behind when Slicer ends or the module is reloaded."""
        slicer.app.disconnect("aboutToQuit()", self.shutdown)
        self.environment.shutdown()
        LogicFacade.shutdown(self, seconds)

    def getParameterNode(self) -> VCMParameters:
        """The parameters of the scene."""
        return VCMParameters(ScriptedLoadableModuleLogic.getParameterNode(self))


class VCMSlicerTest(ScriptedLoadableModuleTest):
    """A check that runs in Slicer (“Reload and Test”) and in this repository's tests alike."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Slicer calls this."""
        self.setUp()
        self.test_theDemoCaseIsUsableForTheModelThatShips()
        self.setUp()
        self.test_aBlankLiesOnTheModelsGrid()

    def test_theDemoCaseIsUsableForTheModelThatShips(self) -> None:
        from VCMSlicerLib.conditions.conditionCheck import check
        from VCMSlicerLib.conditions.conditionSource import ConditionChoice
        from VCMSlicerLib.conditions.givenInputs import conditionOf, readyPack
        from VCMSlicerLib.conditions.startPoints import demoCase

        point, pack = demoCase(), readyPack(None)
        segment = point.segmentation.GetSegmentation().GetNthSegmentID(0)
        choice = ConditionChoice("ventricles", segmentationNode=point.segmentation, segmentIds=(segment,))
        assert pack.grid is not None
        found = check(choice, conditionOf("ventricles", pack), pack.grid)
        self.assertTrue(found.usable, found.words)
        self.assertEqual(found.lostVoxels, 0)

    def test_aBlankLiesOnTheModelsGrid(self) -> None:
        from VCMSlicerLib.conditions.givenInputs import readyPack
        from VCMSlicerLib.conditions.startPoints import blank

        grid = readyPack(None).grid
        assert grid is not None
        point = blank(grid, ["ventricles"])
        self.assertEqual(point.volume.GetImageData().GetDimensions(), grid.shape)
        self.assertEqual(point.segmentation.GetSegmentation().GetNumberOfSegments(), 1)


def registerSampleData() -> None:
    """Offer the demo in Slicer's Sample Data module."""
    from VCMSlicerLib.scene import sampleData

    sampleData.register()
