"""What a script or the panel gives for a job, checked and as the worker takes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _
from vcm.anatomy.structures import plain_name
from vcm.core.errors import Code, VcmError
from vcm.protocol import ConditionInput

from VCMSlicerLib.conditions.anatomy import matchingSegments, segmentIds
from VCMSlicerLib.conditions.conditionCheck import check
from VCMSlicerLib.conditions.conditionSource import ConditionChoice, conditionImage, exportCondition
from VCMSlicerLib.models.packCatalogue import DEFAULT_PACK, findPack
from VCMSlicerLib.models.packInfo import READY, ConditionInfo, ControlInfo, PackInfo
from VCMSlicerLib.scene.niftiFile import WorldImage

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


def controlOf(name: str | None, conditions: Conditions, pack: PackInfo) -> ControlInfo | None:
    """The control of that name, else the simplest that takes these conditions together; VcmError where there is none.

    Without conditions none is needed.
    """
    if name is not None:
        control = pack.control(name)
        if control is None:
            have = ", ".join(entry.name for entry in pack.controls) or _("none")
            words = _("{title} cannot be made to follow {name}; it has: {have}.").format(
                title=pack.title, name=name, have=have
            )
            raise VcmError(Code.PACK_MISSING, words)
        return control
    names = list(conditions) if isinstance(conditions, Mapping) else [c.name for c in conditions if c.enabled]
    for each in names:
        conditionOf(each, pack)
    if names and pack.controlFor(names) is None:
        words = _("{title} cannot be made to follow {names} together.")
        sentence = words.format(title=pack.title, names=", ".join(names))
        raise VcmError(Code.CONDITION, sentence, _("Switch one of the conditions off."))
    return pack.controlFor(names) if names else None


def usableChoices(
    conditions: Conditions, pack: PackInfo, control: ControlInfo | None
) -> list[tuple[ConditionChoice, WorldImage]]:
    """What was given, as choices that were checked, each with its voxels in the world.

    VcmError says what is wrong with the first that cannot be used.
    """
    if isinstance(conditions, Mapping):
        choices = [choiceOf(name, source, pack, control) for name, source in conditions.items()]
    else:
        choices = [choice for choice in conditions if choice.enabled]
    assert pack.grid is not None
    usable = []
    for choice in choices:
        condition = conditionOf(choice.name, pack, control)
        try:
            image = conditionImage(choice, condition)
        except VcmError as error:
            raise VcmError(Code.CONDITION, f"{choice.name}: {error}") from error
        found = check(choice, condition, pack.grid, image)
        if not found.usable:
            raise VcmError(Code.CONDITION, f"{choice.name}: {found.words}")
        usable.append((choice, image))
    if choices and control is not None and not control.takes([choice.name for choice in choices]):
        raise VcmError(Code.CONDITION, notTaken(control, [choice.name for choice in choices]))
    return usable


def notTaken(control: ControlInfo, names: Sequence[str]) -> str:
    """Why a control cannot be steered by these conditions alone or together."""
    own = [condition.name for condition in control.conditions]
    strange = [name for name in names if name not in own]
    if strange:
        words = _("{title} does not take {names}. {takes}")
        return words.format(title=control.title, names=", ".join(strange), takes=control.inWords())
    missing = ", ".join(name for name in own if name not in names)
    return _("{title} needs all of its conditions: {names} is not switched on.").format(
        title=control.title, names=missing
    )


def choiceOf(name: str, source: Source, pack: PackInfo, control: ControlInfo | None = None) -> ConditionChoice:
    """A condition's source as a script gives it, as a choice."""
    condition = conditionOf(name, pack, control)
    node, wanted = source if isinstance(source, (tuple, list)) else (source, None)
    if node is None:
        raise VcmError(Code.CONDITION, _("{name}: no node was given.").format(name=name))
    if not node.IsA("vtkMRMLSegmentationNode"):
        return ConditionChoice(name, kind=condition.kind, volumeNode=node)
    if wanted is None:
        every = tuple(segmentIds(node.GetSegmentation()))
        ids = matchingSegments(node, condition) or (every if len(every) == 1 else ())
        return ConditionChoice(name, kind=condition.kind, segmentationNode=node, segmentIds=ids)
    names: Sequence[str] = [wanted] if isinstance(wanted, str) else wanted
    return ConditionChoice(
        name, kind=condition.kind, segmentationNode=node, segmentIds=tuple(_segmentId(node, entry) for entry in names)
    )


def conditionOf(name: str, pack: PackInfo, control: ControlInfo | None = None) -> ConditionInfo:
    """The condition of that name, as the control has it or any control of the model; VcmError names those there are."""
    own = control.conditions if control is not None else ()
    condition = next((entry for entry in own if entry.name == name), None) or pack.condition(name)
    if condition is None:
        have = ", ".join(entry.name for entry in pack.conditions) or _("none")
        words = _("{title} has no condition {name}; it has: {have}.").format(title=pack.title, name=name, have=have)
        raise VcmError(Code.CONDITION, words)
    return condition


def exportChoices(
    usable: Iterable[tuple[ConditionChoice, WorldImage]], pack: PackInfo, control: ControlInfo | None, folder: Path
) -> tuple[ConditionInput, ...]:
    """The conditions as files."""
    inputs = []
    for choice, image in usable:
        path = exportCondition(choice, conditionOf(choice.name, pack, control), folder, image)
        inputs.append(ConditionInput(choice.name, str(path), strength=choice.strength))
    return tuple(inputs)


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
    ids = segmentIds(segmentation)
    for same in (str, plain_name):
        found = [id for id in ids if same(segmentation.GetSegment(id).GetName()) == same(wanted)]
        if found:
            return str(found[0])
    have = ", ".join(segmentation.GetSegment(id).GetName() for id in ids) or _("none")
    words = _("{node} has no segment {wanted}; it has: {have}.").format(node=node.GetName(), wanted=wanted, have=have)
    raise VcmError(Code.CONDITION, words)
