"""The Samples in the scene: volume nodes that say what they are, in a folder a run, found again when a scene opens."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _
from vcm.core.errors import VcmError
from vcm.core.reading import read_json
from vcm.core.typed_json import read_fields
from vcm.protocol import AlignmentSummary, Generate, Generated, GeneratedSample

from VCMSlicerLib.results.measuredSegmentation import (
    ASKED_REFERENCE,
    ASKED_ROLE,
    LAYOUT_REFERENCE,
    LAYOUT_ROLE,
    MEASURED_REFERENCE,
    MEASURED_ROLE,
    addAsked,
    addMeasured,
)
from VCMSlicerLib.scene.scene import importVolume

SYNTHETIC = "VCMSlicer.Synthetic"
ROLE = "VCMSlicer.Role"
RUN = "VCMSlicer.Run"
SEED = "VCMSlicer.Seed"
ALIGNMENT, LAYOUT_ALIGNMENT = "VCMSlicer.Alignment", "VCMSlicer.LayoutAlignment"
PROVENANCE = "VCMSlicer.Provenance"
CONTRAST = "VCMSlicer.Contrast"
BODY_PART = "VCMSlicer.BodyPart"
SAMPLE_ROLE, TWIN_ROLE, DIFFERENCE_ROLE, SLIDER_ROLE = "sample", "uncontrolled", "difference", "slider"
TWIN_REFERENCE = "VCMSlicer.uncontrolled"
DIFFERENCE_REFERENCE = "VCMSlicer.difference"
CONDITION_REFERENCE = "VCMSlicer.condition"
VOLUME_ENDINGS = (".nii.gz", ".nii", ".nrrd")


@dataclass(frozen=True)
class ResultRow:
    """One Sample: its node, its seed, and its adherence.

    `alignment` holds all that was measured, `alignmentWithout` the same of its twin. Where the head was completed,
    `alignmentWithLayout` says how well the Sample follows all of it.
    """

    node: Any
    seed: int | None
    alignment: AlignmentSummary | None = None
    alignmentWithout: AlignmentSummary | None = None
    alignmentWithLayout: AlignmentSummary | None = None

    @property
    def summary(self) -> str:
        """What was measured, in a sentence; empty where nothing was."""
        return self.alignment.summary if self.alignment else ""

    @property
    def dice(self) -> dict[str, float | None]:
        """Of each structure."""
        return {score.name: score.dice for score in self.alignment.classes} if self.alignment else {}

    @property
    def hd95(self) -> dict[str, float | None]:
        """Of each structure, in millimetres."""
        return {score.name: score.hd95_mm for score in self.alignment.classes} if self.alignment else {}

    @property
    def diceWithout(self) -> dict[str, float | None]:
        """Of each structure in the twin."""
        return {score.name: score.dice for score in self.alignmentWithout.classes} if self.alignmentWithout else {}

    @property
    def twin(self) -> Any:
        """The volume from the same noise without control, or None."""
        return self.node.GetNodeReference(TWIN_REFERENCE)


class Results:
    """All Samples of the scene. Nothing is kept here that is not in the scene, so a reopened scene has them all."""

    def add(self, run: Generated, request: Generate, conditions: Iterable[Any] = ()) -> list[Any]:
        """Load the files of a finished run; returns the node of each Sample.

        `conditions` are the ConditionChoices the run was asked with: their nodes are remembered for the outline.
        """
        # Several conditions may be drawn in one segmentation.
        sources = {node.GetID(): node for choice in conditions if (node := choice.node) is not None}.values()
        report = _reportOf(run)
        common = {
            SYNTHETIC: "true",
            RUN: f"{run.id}-{secrets.token_hex(4)}",  # request ids begin anew in each session
            PROVENANCE: _provenance(report, request),
            CONTRAST: _saidOfBackbone(report, "contrast"),
            BODY_PART: _saidOfBackbone(report, "body_part"),
        }
        folder = self._folder(run)
        asked, layouts = self._addAsked(run, common), dict[str, Any]()
        nodes = []
        for number, sample in enumerate(run.samples, start=1):
            own = {**common, CONTRAST: sample.contrast or common[CONTRAST]}
            node = self._addSample(sample, own, _title(sample, number, own[CONTRAST]))
            for source in sources:
                node.AddNodeReferenceID(CONDITION_REFERENCE, source.GetID())
            if asked is not None:
                node.SetNodeReferenceID(ASKED_REFERENCE, asked.GetID())
            if (layout := self._layoutOf(sample, common, layouts)) is not None:
                node.SetNodeReferenceID(LAYOUT_REFERENCE, layout.GetID())
            nodes.append(node)
            for placed in (node, *filter(None, map(node.GetNodeReference, (TWIN_REFERENCE, MEASURED_REFERENCE)))):
                _place(folder, placed)
        for shared in (asked, *layouts.values()):
            if shared is not None:
                _place(folder, shared)
        if len(nodes) > 1:
            self._addSequence(folder, nodes, common)
        return nodes

    def rows(self) -> list[ResultRow]:
        """A row a Sample, oldest first."""
        return [row(node) for node in nodesWithRole(SAMPLE_ROLE)]

    def rename(self, node: Any, name: str) -> None:
        """Give a result a name of the user's; it goes on saying that it is synthetic."""
        node.SetName(name if "synthetic" in name.lower() else _("{name} (synthetic)").format(name=name))

    def exportVolume(self, node: Any, path: str | Path) -> Path:
        """Write NIfTI or NRRD by the ending of `path`, and beside it a JSON file that says how it was made; returns the
        path of the JSON file. Without a known ending `.nii.gz` is appended."""
        path = Path(path)
        if not path.name.lower().endswith(VOLUME_ENDINGS):
            path = path.with_name(path.name + VOLUME_ENDINGS[0])
        # Not without `properties`: Slicer keeps the format of the first export in its default for all later ones.
        if not slicer.util.exportNode(node, str(path), properties={}):
            raise OSError(_("The volume could not be written to {path}.").format(path=path))
        sidecar = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii").removesuffix(".nrrd") + ".json")
        partial = sidecar.with_name(sidecar.name + ".part")
        partial.write_text(json.dumps(sidecarOf(node), indent=1, ensure_ascii=False), "utf-8")
        partial.replace(sidecar)
        return sidecar

    def _addSample(self, sample: GeneratedSample, common: Mapping[str, str], title: str) -> Any:
        node = importVolume(sample.path, title, _attributes(sample, common, SAMPLE_ROLE, sample.alignment))
        _display(node)
        if sample.layout_alignment is not None:
            node.SetAttribute(LAYOUT_ALIGNMENT, json.dumps(asdict(sample.layout_alignment), allow_nan=False))
        if sample.uncontrolled_path is not None:
            name = _("{title}, without conditions").format(title=title)
            attributes = _attributes(sample, common, TWIN_ROLE, sample.uncontrolled_alignment)
            twin = importVolume(sample.uncontrolled_path, name, attributes)
            _display(twin)
            node.SetNodeReferenceID(TWIN_REFERENCE, twin.GetID())
        if sample.segmentation_path is not None:
            name = _("{title}, segmented").format(title=title)
            attributes = _attributes(sample, common, MEASURED_ROLE, None)
            measured = addMeasured(sample.segmentation_path, sample.labels, name, attributes)
            node.SetNodeReferenceID(MEASURED_REFERENCE, measured.GetID())
        return node

    def _layoutOf(self, sample: GeneratedSample, common: Mapping[str, str], layouts: dict[str, Any]) -> Any:
        """The whole head that was completed for a Sample, which those of other contrasts share; None without one."""
        path = sample.layout_path
        if path is None:
            return None
        if path not in layouts:
            name = _("Completed synthetic head, seed {seed}").format(seed=sample.seed)
            attributes = _attributes(sample, common, LAYOUT_ROLE, None)
            layouts[path] = addMeasured(path, sample.layout_labels, name, attributes)
        return layouts[path]

    def _addAsked(self, run: Generated, common: Mapping[str, str]) -> Any:
        """What the run was asked for, as the model was given it; None where that is no mask and no label map."""
        if not run.conditions:
            return None
        name = _("Asked of the synthetic run, {words}").format(words=_runWords(run))
        return addAsked(run.conditions, name, {**common, ROLE: ASKED_ROLE})

    def _folder(self, run: Generated) -> int:
        hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
        name = _("Synthetic run, {words}").format(words=_runWords(run))
        return hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), name)

    def _addSequence(self, folder: int, nodes: Sequence[Any], common: Mapping[str, str]) -> None:
        """The Samples once more as a sequence, which shares their voxels, so that a slider walks through them."""
        title = slicer.mrmlScene.GenerateUniqueName(
            _("{synthetic}, samples").format(synthetic=synthetic(common[CONTRAST]))
        )
        sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", title)
        sequence.SetIndexName("sample")
        sequence.SetIndexUnit("")
        sequence.SetIndexType(slicer.vtkMRMLSequenceNode.NumericIndex)
        for number, node in enumerate(nodes, start=1):
            sequence.SetDataNodeAtValue(node, str(number))
            copy = sequence.GetDataNodeAtValue(str(number))
            copy.SetAndObserveImageData(node.GetImageData())
            copy.SetAttribute(ROLE, SLIDER_ROLE)
        browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{title} browser")
        browser.AddSynchronizedSequenceNode(sequence)
        browser.SetSelectedItemNumber(0)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        proxy = browser.GetProxyNode(sequence)
        if proxy is not None:
            proxy.SetName(_("{title} (slider)").format(title=title))
            _place(folder, proxy)
        for node in (sequence, browser):
            node.SetAttribute(SYNTHETIC, "true")
            node.SetAttribute(RUN, common[RUN])


def row(node: Any) -> ResultRow:
    """What a Sample's node says about itself."""
    seed, twin = node.GetAttribute(SEED), node.GetNodeReference(TWIN_REFERENCE)
    without = alignmentOf(twin) if twin is not None else None
    whole = alignmentOf(node, LAYOUT_ALIGNMENT)
    return ResultRow(node, int(seed) if seed else None, alignmentOf(node), without, whole)


def alignmentOf(node: Any, attribute: str = ALIGNMENT) -> AlignmentSummary | None:
    """The measured adherence of a result; None where it was not."""
    text = node.GetAttribute(attribute)
    try:
        summary: AlignmentSummary | None = read_fields(AlignmentSummary, json.loads(text)) if text else None
        return summary
    except ValueError:
        return None


def sidecarOf(node: Any) -> dict[str, Any]:
    """What a reader of an exported file should know: that it is synthetic, and all it was made from."""
    provenance = json.loads(node.GetAttribute(PROVENANCE) or "{}")
    alignment = alignmentOf(node)
    seed = node.GetAttribute(SEED)
    return {
        "synthetic": True,
        "notice": "SYNTHETIC: made by VCMSlicer, not an image of a person. For research only.",
        "role": node.GetAttribute(ROLE),
        "name": node.GetName(),
        "seed": int(seed) if seed else None,
        "contrast": node.GetAttribute(CONTRAST) or None,
        "alignment": asdict(alignment) if alignment else None,
        "provenance": provenance,
    }


def nodesWithRole(role: str) -> Iterator[Any]:
    """The volumes of the scene that play this part."""
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        if node.GetAttribute(ROLE) == role:
            yield node


def contrastsOf(node: Any) -> list[Any]:
    """The results of the same run and noise, where they show several contrasts, in the order they were made in."""
    same = [
        other
        for other in nodesWithRole(SAMPLE_ROLE)
        if all(other.GetAttribute(key) == node.GetAttribute(key) for key in (RUN, SEED, PROVENANCE))
    ]
    return same if len({other.GetAttribute(CONTRAST) for other in same}) > 1 else []


def conditionNodes(node: Any) -> list[Any]:
    """The segmentations and volumes a result was asked with, as far as they are still in the scene."""
    found = (
        node.GetNthNodeReference(CONDITION_REFERENCE, i)
        for i in range(node.GetNumberOfNodeReferences(CONDITION_REFERENCE))
    )
    return [source for source in found if source is not None]


def _runWords(run: Generated) -> str:
    seeds = [sample.seed for sample in run.samples if sample.seed is not None]
    return _("seed {seed}").format(seed=seeds[0]) if seeds else run.id


def synthetic(contrast: str) -> str:
    """What an image of that contrast is called."""
    return _("Synthetic {contrast}").format(contrast=contrast or _("image"))


def _title(sample: GeneratedSample, number: int, contrast: str) -> str:
    words = _("seed {seed}").format(seed=sample.seed) if sample.seed is not None else _("sample {n}").format(n=number)
    return slicer.mrmlScene.GenerateUniqueName(f"{synthetic(contrast)}, {words}")


def _attributes(
    sample: GeneratedSample, common: Mapping[str, str], role: str, alignment: AlignmentSummary | None
) -> dict[str, str]:
    attributes = {**common, ROLE: role}
    if sample.seed is not None:
        attributes[SEED] = str(sample.seed)
    if alignment is not None:
        attributes[ALIGNMENT] = json.dumps(asdict(alignment), allow_nan=False)
    return attributes


def _reportOf(run: Generated) -> dict[str, Any]:
    """The run's report; empty where it cannot be read."""
    try:
        return read_json(Path(run.report_path))
    except VcmError:
        return {}


def _saidOfBackbone(report: dict[str, Any], name: str) -> str:
    try:
        return str(report["packs"]["backbone"][name])
    except (KeyError, TypeError):
        return ""


def _provenance(report: dict[str, Any], request: Generate) -> str:
    """The report of the run and what was asked for."""
    asked = {name: value for name, value in asdict(request).items() if name not in {"out", "preview_dir", "conditions"}}
    asked["conditions"] = [
        {name: value for name, value in asdict(entry).items() if not name.endswith("path")}
        for entry in request.conditions
    ]
    return json.dumps({"request": asked, "report": report}, ensure_ascii=False)


def _display(node: Any) -> None:
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    low, high = displayRange(node)
    display.SetWindowLevelMinMax(low, high)


def displayRange(node: Any) -> tuple[float, float]:
    """From black to a little above the brightest tissue, so that twins are shown alike."""
    low, high = node.GetImageData().GetScalarRange()
    return (0.0, 1.0) if low >= -0.5 and high <= 1.5 else (low, high)


def keepWith(node: Any, made: Any, reference: str, role: str) -> None:
    """Have a node that was made of a result say so, belong to it, and lie in its folder."""
    for key in (SYNTHETIC, RUN, SEED, PROVENANCE, CONTRAST, BODY_PART):
        made.SetAttribute(key, node.GetAttribute(key))
    made.SetAttribute(ROLE, role)
    node.AddNodeReferenceID(reference, made.GetID())
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    _place(hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)), made)


def _place(folder: int, node: Any) -> None:
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    if item := hierarchy.GetItemByDataNode(node):
        hierarchy.SetItemParent(item, folder)
