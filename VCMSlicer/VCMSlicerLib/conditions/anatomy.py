"""Which segment is which structure: by its terminology, which survives translation, and else by its name."""

from __future__ import annotations

from typing import Any

from vcm.anatomy.structures import STRUCTURES, is_named, structure_named
from vcm.conditions.condition import ClassSpec

from VCMSlicerLib.models.packInfo import ConditionInfo

SCHEME = "SCT"
CATEGORY = f"{SCHEME}^123037004^Anatomical Structure"
CONTEXT = "Segmentation category and type - 3D Slicer General Anatomy list"
DEFAULT_TYPE = "85756007"


def typeCode(segment: Any) -> str:
    """The SNOMED CT code of a segment's type; empty where it has none, or only Slicer's default, "Tissue"."""
    parts = str(segment.GetTerminology() or "").split("~")
    triple = parts[2].split("^") if len(parts) > 2 else []
    if len(triple) < 2 or triple[0] != SCHEME or triple[1] == DEFAULT_TYPE:
        return ""
    return triple[1]


def setStructure(segment: Any, name: str) -> None:
    """Write into a segment what it is, in the terminology of Slicer's general anatomy list, where a code is known."""
    known = structure_named(name)
    if known.codes and known.writes_code:
        kind = f"{SCHEME}^{known.codes[0]}^{name.capitalize()}"
        segment.SetTerminology(f"{CONTEXT}~{CATEGORY}~{kind}~^^~Anatomic codes - DICOM master list~^^~^^")


def isStructure(segment: Any, name: str) -> bool:
    """Whether a segment is that structure, or a part of it. A code counts more than the segment's name."""
    code = typeCode(segment)
    if any(code in known.codes for known in STRUCTURES.values()):
        return code in structure_named(name).codes
    return is_named(segment.GetName(), name)


def matchingSegments(segmentationNode: Any, condition: ConditionInfo) -> tuple[str, ...]:
    """The ids of the segments that a condition is most likely drawn in, in the order of the segmentation.

    A mask that is drawn as a whole is taken so; else it is put together from the structures that it consists of for the
    segmenter, where all of them are there.
    """
    segmentation = segmentationNode.GetSegmentation()
    segments = {id: segmentation.GetSegment(id) for id in segmentIds(segmentation)}
    if condition.kind == "labels":
        return tuple(id for id, segment in segments.items() if classOf(segment, condition) is not None)
    names = dict.fromkeys([*(entry.name for entry in condition.classes), condition.name])
    whole = tuple(id for id, segment in segments.items() if any(isStructure(segment, name) for name in names))
    parts = [part for entry in condition.classes for part in condition.parts(entry)]
    drawn = {part: [id for id, segment in segments.items() if isStructure(segment, part)] for part in parts}
    if whole or not all(drawn.values()):
        return whole
    return tuple(id for id in segments if any(id in ids for ids in drawn.values()))


def classOf(segment: Any, condition: ConditionInfo) -> ClassSpec | None:
    """The class of a label map that a segment is, or that it is a part of."""
    itself = (entry for entry in condition.classes if isStructure(segment, entry.name))
    part = (entry for entry in condition.classes if any(isStructure(segment, name) for name in condition.parts(entry)))
    return next(itself, None) or next(part, None)


def segmentIds(segmentation: Any) -> list[str]:
    """The ids of all segments of a vtkSegmentation, in their order."""
    return [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
