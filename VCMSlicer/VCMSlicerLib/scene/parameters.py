"""What the scene remembers of the panel, so that a saved scene brings all of it back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import slicer
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from VCMSlicerLib.conditions.anatomy import matchingSegments
from VCMSlicerLib.conditions.conditionSource import ConditionChoice
from VCMSlicerLib.models.packInfo import ConditionInfo, PackInfo

CONDITION_NODE = "VCMSlicer.condition."
MAX_SEED = 2**31 - 1


class Quality(Enum):
    """How much time a Sample is given."""

    PREVIEW = "preview"
    STANDARD = "standard"
    REFERENCE = "reference"

    def sampling(self, pack: PackInfo) -> tuple[str, int]:
        """The sampler of a model and its number of steps: the usual ones, half as many, or the paper's."""
        sampler, steps = pack.sampling
        return {
            "preview": (sampler, max(1, steps // 2)),
            "standard": (sampler, steps),
            "reference": ("ddim", 200),
        }[self.value]


class ResultSpace(Enum):
    """Whose millimetres the results of a registered scan get: the scan's own, or the model's."""

    SCAN = "scan"
    MODEL = "model"


@dataclass
class ConditionSetting:
    """A condition's row: whether it is on, which node and segment it comes from, how strong it acts.

    An empty `segmentId` stands for all segments of the node, recognised by their terminology. Of a label map volume
    it is the value that is meant, or empty for its only one.
    """

    enabled: bool = False
    strength: float = 1.0
    segmentId: str = ""
    node: Any = None


@dataclass
class AttributeSetting:
    """A scalar of the subject: its value, and whether it is given or left to follow the masks."""

    value: float | str | None = None
    given: bool = False


if TYPE_CHECKING:
    _Wrapped: Any  # the wrapper adds `parameterNode`, `getValue` and the like
else:
    _Wrapped = object


@parameterNodeWrapper
class VCMParameters(_Wrapped):
    """The parameters of the module in the scene. Conditions and attributes depend on the model: they go by name."""

    packName: str = ""
    controlName: str = ""
    conditionSettings: str = "{}"
    attributeSettings: str = "{}"
    quality: Quality = Quality.STANDARD
    seed: Annotated[int, WithinRange(0, MAX_SEED)] = 1
    newSeedEachTime: bool = False
    sampleCount: Annotated[int, WithinRange(1, 50)] = 1
    uncontrolled: bool = True
    livePreview: bool = True
    completeHead: bool = True
    resultSpace: ResultSpace = ResultSpace.SCAN

    def condition(self, name: str) -> ConditionSetting:
        """The setting of a condition; that of a fresh row where there is none."""
        stored = self._read("conditionSettings").get(name, {})
        return ConditionSetting(**stored, node=self.parameterNode.GetNodeReference(CONDITION_NODE + name))

    def setCondition(self, name: str, setting: ConditionSetting) -> None:
        """Remember the setting of a condition."""
        with slicer.util.NodeModify(self.parameterNode):
            identity = setting.node.GetID() if setting.node is not None else None
            self.parameterNode.SetNodeReferenceID(CONDITION_NODE + name, identity)
            content = {"enabled": setting.enabled, "strength": setting.strength, "segmentId": setting.segmentId}
            self._write("conditionSettings", name, content)

    def choice(self, condition: ConditionInfo) -> ConditionChoice:
        """What is chosen for a condition of the model, as it goes to the worker.

        Of a segmentation without a chosen segment, those are taken that are the condition's structures; where they
        overlap, the one that stands higher in the Segment Editor's list wins.
        """
        setting = self.condition(condition.name)
        node = setting.node
        segmented = node is not None and node.IsA("vtkMRMLSegmentationNode")
        ids = (setting.segmentId,) if setting.segmentId else matchingSegments(node, condition) if segmented else ()
        return ConditionChoice(
            name=condition.name,
            enabled=setting.enabled,
            kind=condition.kind,
            segmentationNode=node if segmented else None,
            segmentIds=ids if segmented else (),
            volumeNode=None if segmented else node,
            strength=setting.strength,
            volumeLabels=(int(setting.segmentId),) if setting.segmentId.isdecimal() and not segmented else (),
        )

    def attribute(self, name: str) -> AttributeSetting:
        """The setting of an attribute; empty where there is none."""
        return AttributeSetting(**self._read("attributeSettings").get(name, {}))

    def setAttribute(self, name: str, setting: AttributeSetting) -> None:
        """Remember the setting of an attribute."""
        self._write("attributeSettings", name, {"value": setting.value, "given": setting.given})

    def _read(self, parameter: str) -> dict[str, dict[str, Any]]:
        try:
            content = json.loads(self.getValue(parameter) or "{}")
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}

    def _write(self, parameter: str, name: str, content: dict[str, Any]) -> None:
        whole = self._read(parameter)
        whole[name] = content
        text = json.dumps(whole, sort_keys=True)
        if text != self.getValue(parameter):
            self.setValue(parameter, text)


PREFERENCES_GROUP = "VCMSlicer/"


def preference(name: str, default: str = "") -> str:
    """A preference of the user, from Slicer's settings."""
    return str(slicer.util.settingsValue(PREFERENCES_GROUP + name, default) or default)


def setPreference(name: str, value: str) -> None:
    """Remember a preference of the user."""
    import qt

    qt.QSettings().setValue(PREFERENCES_GROUP + name, value)
