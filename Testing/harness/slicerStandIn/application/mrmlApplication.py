"""The MRML side of the application, made of Slicer's own C++ classes from the slicer-core wheel."""

from pathlib import Path
from typing import Any

import slicer
import vtk

from .subjectHierarchy import SubjectHierarchyItems

# The lists that Slicer brings are not in the wheel; these have the few entries that tests need.
_TERMINOLOGIES = Path(__file__).parents[1] / "resources" / "terminologies"

# Name of the module, class of its logic. Colors first: the display nodes of the others ask for colour nodes.
_MODULE_LOGICS = {
    "Colors": "vtkMRMLColorLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "Models": "vtkSlicerModelsLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
}


class MrmlApplication:
    """One scene and the logics that watch it, for as long as the process lives, as in Slicer."""

    def __init__(self, cacheFolder: Path) -> None:
        self.scene = slicer.vtkMRMLScene()
        self.logic = slicer.vtkSlicerApplicationLogic()
        self.logic.SetMRMLScene(self.scene)
        for getCollection, setCollection in (
            (self.logic.GetSliceLogics, self.logic.SetSliceLogics),
            (self.logic.GetViewLogics, self.logic.SetViewLogics),
        ):
            if getCollection() is None:
                setCollection(vtk.vtkCollection())
        self._addColors()
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        self.scene.RegisterNodeClass(slicer.vtkMRMLCommandLineModuleNode())
        self._addFileAccess(cacheFolder)
        self.moduleLogics: dict[str, Any] = {name: self._addLogic(name) for name in _MODULE_LOGICS}
        self._subjectHierarchyItems = SubjectHierarchyItems(self.scene)

    def _addColors(self) -> None:
        colors = self.logic.GetColorLogic()
        colors.SetMRMLScene(self.scene)
        colors.AddDefaultColorNodes()

    def _addFileAccess(self, cacheFolder: Path) -> None:
        """Without these a scene bundle (.mrb) cannot be read."""
        self._cache = slicer.vtkCacheManager()
        self._cache.SetRemoteCacheDirectory(str(cacheFolder))
        self._cache.SetMRMLScene(self.scene)
        self._dataIO = slicer.vtkDataIOManager()
        self._dataIO.SetCacheManager(self._cache)
        self.scene.SetCacheManager(self._cache)
        self.scene.SetDataIOManager(self._dataIO)

    def _addLogic(self, name: str) -> Any:
        logic = getattr(slicer, _MODULE_LOGICS[name])()
        logic.SetMRMLApplicationLogic(self.logic)
        if name == "Terminologies":
            logic.SetModuleShareDirectory(str(_TERMINOLOGIES))
        logic.SetMRMLScene(self.scene)
        self.logic.SetModuleLogic(name, logic)
        return logic
