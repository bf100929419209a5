"""What a script or the panel gives for a job, checked and as the worker takes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _
from vcm.errors import Code, VcmError
from vcm.protocol import ConditionInput

from VCMSlicerLib.anatomy import matchingSegments, plainName
from VCMSlicerLib.packCatalogue import DEFAULT_PACK, READY, ConditionInfo, PackInfo, findPack
from VCMSlicerLib.scene import ConditionChoice, check, exportCondition

Source = Any
"""A (segmentation node, segment name or id, or several of them), a segmentation node alone, or a volume node."""
Conditions = Mapping[str, Source] | Iterable[ConditionChoice]


def readyPack(name: str | None) -> PackInfo:
    """A model that can be used, by default the embedded one; VcmError says why there is none."""
    info = findPack(name or DEFAULT_PACK)
    if info is None:
        words = _("There is no model {name}.").format(name=name or DEFAULT_PACK)
        raise VcmError(Code.PACK_MISSING, words, _("Choose another model."))
    if info.state != READY:
        words = _("The model {title} cannot be used. {words}").format(title=info.title, words=info.words)
        raise VcmError(Code.PACK_MISSING, words, _("Choose another model."))
    return info


def usableChoices(conditions: Conditions, pack: PackInfo) -> list[ConditionChoice]:
    """What was given, as choices that were checked; VcmError says what is wrong with the first that cannot be used."""
    if isinstance(conditions, Mapping):
        choices = [choiceOf(name, source, pack) for name, source in conditions.items()]
    else:
        choices = [choice for choice in conditions if choice.enabled]
    assert pack.grid is not None
    for choice in choices:
        found = check(choice, conditionOf(choice.name, pack), pack.grid)
        if not found.usable:
            raise VcmError(Code.CONDITION, f"{choice.name}: {found.words}")
    names = [choice.name for choice in choices]
    if names and pack.controlFor(names) is None:
        words = _("{title} has no control that takes {names} together.")
        sentence = words.format(title=pack.title, names=", ".join(names))
        raise VcmError(Code.CONDITION, sentence, _("Switch one of the conditions off."))
    return choices


def choiceOf(name: str, source: Source, pack: PackInfo) -> ConditionChoice:
    """A condition's source as a script gives it, as a choice."""
    condition = conditionOf(name, pack)
    node, wanted = source if isinstance(source, (tuple, list)) else (source, None)
    if node is None:
        raise VcmError(Code.CONDITION, _("{name}: no node was given.").format(name=name))
    if not node.IsA("vtkMRMLSegmentationNode"):
        return ConditionChoice(name, kind=condition.kind, volumeNode=node)
    if wanted is None:
        ids = matchingSegments(node, condition) or _onlySegment(node)
        return ConditionChoice(name, kind=condition.kind, segmentationNode=node, segmentIds=ids)
    names: Sequence[str] = [wanted] if isinstance(wanted, str) else wanted
    return ConditionChoice(
        name, kind=condition.kind, segmentationNode=node, segmentIds=tuple(_segmentId(node, entry) for entry in names)
    )


def conditionOf(name: str, pack: PackInfo) -> ConditionInfo:
    """A model's condition of that name; VcmError names those there are."""
    condition = pack.condition(name)
    if condition is None:
        have = ", ".join(entry.name for entry in pack.conditions) or _("none")
        words = _("{title} has no condition {name}; it has: {have}.").format(title=pack.title, name=name, have=have)
        raise VcmError(Code.CONDITION, words)
    return condition


def exportChoices(choices: Iterable[ConditionChoice], pack: PackInfo, folder: Path) -> tuple[ConditionInput, ...]:
    """The conditions as files."""
    return tuple(
        ConditionInput(c.name, str(exportCondition(c, conditionOf(c.name, pack), folder)), strength=c.strength)
        for c in choices
    )


def splitAttributes(
    given: Mapping[str, float | str], pack: PackInfo
) -> tuple[dict[str, float | str], dict[str, float]]:
    """Attributes with a human scale, and those that the model takes only as a number between 0 and 1."""
    plain = {entry.name for entry in pack.attributes if not entry.choices and (entry.low is None or entry.high is None)}
    human = {name: value for name, value in given.items() if name not in plain}
    return human, {name: float(value) for name, value in given.items() if name in plain}


def _segmentId(node: Any, wanted: str) -> str:
    segmentation = node.GetSegmentation()
    if segmentation.GetSegment(wanted) is not None:
        return wanted
    ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    for same in (str, plainName):
        found = [id for id in ids if same(segmentation.GetSegment(id).GetName()) == same(wanted)]
        if found:
            return str(found[0])
    have = ", ".join(segmentation.GetSegment(id).GetName() for id in ids) or _("none")
    words = _("{node} has no segment {wanted}; it has: {have}.").format(node=node.GetName(), wanted=wanted, have=have)
    raise VcmError(Code.CONDITION, words)


def _onlySegment(node: Any) -> tuple[str, ...]:
    segmentation = node.GetSegmentation()
    return (segmentation.GetNthSegmentID(0),) if segmentation.GetNumberOfSegments() == 1 else ()
