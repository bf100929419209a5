"""Reading and writing as `slicer.util.load…`, `save…` and `exportNode` ask for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
import vtk

_EXTENSIONS = {
    "SegmentationFile": (".seg.nrrd", ".seg.nhdr"),
    "SceneFile": (".mrml", ".mrb"),
    "VolumeFile": (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd"),
    "ModelFile": (".vtk", ".vtp", ".stl", ".ply", ".obj"),
    "TransformFile": (".h5", ".tfm"),
    "MarkupsFile": (".mrk.json",),
    "TableFile": (".tsv", ".csv"),
    "ColorTableFile": (".ctbl",),
}
_WRITERS = {
    "vtkMRMLSegmentationNode": "SegmentationFile",
    "vtkMRMLVolumeNode": "VolumeFile",
    "vtkMRMLModelNode": "ModelFile",
    "vtkMRMLTransformNode": "TransformFile",
    "vtkMRMLMarkupsNode": "MarkupsFile",
    "vtkMRMLTableNode": "TableFile",
    "vtkMRMLColorTableNode": "ColorTableFile",
}


class CoreIOManager:
    """The part of qSlicerCoreIOManager that scripted modules reach through slicer.util.

    `recentlyLoaded` are the files that Slicer's main window would list in its menu *Recent*.
    """

    def __init__(self) -> None:
        self.recentlyLoaded: list[str] = []

    def fileType(self, path: Any) -> str:
        lower = str(path).lower()
        return next((kind for kind, ends in _EXTENSIONS.items() if lower.endswith(ends)), "NoFile")

    def fileWriterFileType(self, node: Any) -> str:
        return next((kind for cls, kind in _WRITERS.items() if node.IsA(cls)), "NoFile")

    def fileWriterExtensions(self, node: Any) -> list[str]:
        return [
            f"{self.fileWriterFileType(node)} (*{end})" for end in _EXTENSIONS.get(self.fileWriterFileType(node), ())
        ]

    def extractKnownExtension(self, path: str, node: Any) -> str:
        ends = _EXTENSIONS.get(self.fileWriterFileType(node), ())
        return next((end for end in ends if path.lower().endswith(end)), Path(path).suffix)

    def loadNodes(self, kind: str, properties: dict[str, Any], loaded: Any = None, messages: Any = None) -> bool:
        """Read a file into the scene; the nodes go into the vtkCollection `loaded`."""
        path = Path(str(properties["fileName"]))
        if not path.is_file():
            return _refuse(messages, f"there is no file {path}")
        if kind == "SceneFile":
            return _readScene(path, clear=bool(properties.get("clear", True)))
        reader = _READERS.get(kind)
        if reader is None:
            return _refuse(messages, f"no reader for {path.name}")
        node = reader(path, properties)
        if node is None:
            return _refuse(messages, f"could not read {path}")
        if loaded is not None:
            loaded.AddItem(node)
        self.recentlyLoaded.append(str(path))
        return True

    def saveNodes(self, kind: str, properties: dict[str, Any], messages: Any = None) -> bool:
        """Write the node of `nodeID`, or the scene; its storage node keeps the path, as in Slicer."""
        path = str(properties["fileName"])
        if kind == "SceneFile":
            return _writeScene(path)
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode(path)
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        if "useCompression" in properties:
            storage.SetUseCompression(int(properties["useCompression"]))
        return bool(storage.WriteData(node)) or _refuse(messages, f"could not write {path}")

    def exportNodes(
        self,
        nodeIDs: list[str],
        paths: list[str],
        properties: dict[str, Any],
        hardenTransform: bool = False,
        messages: Any = None,
    ) -> bool:
        """Write the nodes without touching their storage nodes, each by the writer that `fileFormat` names."""
        return all(
            (
                self._fits(slicer.mrmlScene.GetNodeByID(nodeID), str(path), properties.get("fileFormat"))
                and _exportNode(slicer.mrmlScene.GetNodeByID(nodeID), str(path), hardenTransform)
            )
            or _refuse(messages, f"could not write {path} as {properties.get('fileFormat')}")
            for nodeID, path in zip(nodeIDs, paths, strict=True)
        )

    def _fits(self, node: Any, path: str, fileFormat: str | None) -> bool:
        """Whether a format is one of the node's, for which Slicer has a writer, and that of the file."""
        end = self.extractKnownExtension(path, node)
        return fileFormat in self.fileWriterExtensions(node) and fileFormat.endswith(f"(*{end})")


def _refuse(messages: Any, sentence: str) -> bool:
    if messages is not None:
        messages.AddMessage(vtk.vtkCommand.ErrorEvent, sentence)
    return False


def _readScene(path: Path, *, clear: bool) -> bool:
    scene = slicer.mrmlScene
    if path.suffix.lower() == ".mrb":
        return bool(scene.ReadFromMRB(str(path), clear))
    scene.SetURL(str(path))
    return bool(scene.Connect() if clear else scene.Import())


def _writeScene(path: str) -> bool:
    if path.lower().endswith(".mrb"):
        return bool(slicer.mrmlScene.WriteToMRB(path))
    slicer.mrmlScene.SetRootDirectory(str(Path(path).parent))
    return bool(slicer.mrmlScene.Commit(path))


def _exportNode(node: Any, path: str, hardenTransform: bool) -> bool:
    apart = slicer.vtkMRMLScene()
    copy = apart.AddNode(node.CreateNodeInstance())
    copy.CopyContent(node)
    if hardenTransform and node.GetParentTransformNode():
        toWorld = vtk.vtkGeneralTransform()
        node.GetParentTransformNode().GetTransformToWorld(toWorld)
        copy.ApplyTransform(toWorld)
    copy.AddDefaultStorageNode(path)
    copy.GetStorageNode().SetFileName(path)
    return bool(copy.GetStorageNode().WriteData(copy))


def _readVolume(path: Path, properties: dict[str, Any]) -> Any:
    labelmap = bool(properties.get("labelmap"))
    return slicer.modules.volumes.logic().AddArchetypeVolume(str(path), _nodeName(path, properties), int(labelmap))


def _readSegmentation(path: Path, properties: dict[str, Any]) -> Any:
    logic = slicer.modules.segmentations.logic()
    return logic.LoadSegmentationFromFile(str(path), True, _nodeName(path, properties))


def _readInto(className: str) -> Callable[[Path, dict[str, Any]], Any]:
    def read(path: Path, properties: dict[str, Any]) -> Any:
        node = slicer.mrmlScene.AddNewNodeByClass(className, _nodeName(path, properties))
        node.AddDefaultStorageNode(str(path))
        if node.GetStorageNode().ReadData(node):
            return node
        slicer.mrmlScene.RemoveNode(node)
        return None

    return read


def _nodeName(path: Path, properties: dict[str, Any]) -> str:
    return properties.get("name") or path.name.split(".")[0]


_READERS: dict[str, Callable[[Path, dict[str, Any]], Any]] = {
    "VolumeFile": _readVolume,
    "SegmentationFile": _readSegmentation,
    "ModelFile": _readInto("vtkMRMLModelNode"),
    "TransformFile": _readInto("vtkMRMLLinearTransformNode"),
    "TableFile": _readInto("vtkMRMLTableNode"),
    "ColorTableFile": _readInto("vtkMRMLColorTableNode"),
    "MarkupsFile": _readInto("vtkMRMLMarkupsFiducialNode"),
}
