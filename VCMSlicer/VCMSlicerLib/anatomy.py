"""Which segment is which structure: by its terminology, which survives translation, and else by its name."""

from __future__ import annotations

import re
from typing import Any

from VCMSlicerLib.packCatalogue import ClassInfo, ConditionInfo

# SNOMED CT codes of what the packs' classes are called; the first is the one we write.
CODES: dict[str, tuple[str, ...]] = {
    "ventricles": ("35764002", "66720007"),
    "lateral ventricles": ("66720007", "35764002"),
    "third and fourth ventricle": ("35918002", "49841001"),
    "white matter": ("389080008", "68523003"),
    "grey matter": ("389081007", "40146001"),
    "deep grey matter": ("389081007",),
    "hippocampus": ("5366008",),
    "amygdala": ("4958002",),
    "brain stem": ("15926001",),
    "extra-ventricular csf": ("280371009",),
    "skull": ("89546000",),
    "tumour": ("4147007",),
    "brain": ("12738006",),
}
SPELLINGS = {"gray": "grey", "ventricle": "ventricles", "tumor": "tumour", "brainstem": "brain stem"}
SIDES = {"left", "right", "l", "r", "bilateral"}
SCHEME = "SCT"
CATEGORY = f"{SCHEME}^123037004^Anatomical Structure"
CONTEXT = "Segmentation category and type - 3D Slicer General Anatomy list"


def typeCode(segment: Any) -> str:
    """The SNOMED CT code of a segment's type; empty where it has none, or only Slicer's default, "Tissue"."""
    parts = str(segment.GetTerminology() or "").split("~")
    triple = parts[2].split("^") if len(parts) > 2 else []
    if len(triple) < 2 or triple[0] != SCHEME or triple[1] == "85756007":
        return ""
    return triple[1]


def setStructure(segment: Any, name: str) -> None:
    """Write into a segment what it is, in the terminology of Slicer's general anatomy list, where a code is known."""
    codes = CODES.get(plainName(name))
    if codes:
        kind = f"{SCHEME}^{codes[0]}^{name.capitalize()}"
        segment.SetTerminology(f"{CONTEXT}~{CATEGORY}~{kind}~^^~Anatomic codes - DICOM master list~^^~^^")


def isStructure(segment: Any, wanted: ClassInfo | ConditionInfo) -> bool:
    """Whether a segment is that structure."""
    code = typeCode(segment)
    codes = CODES.get(plainName(wanted.name), ())
    if code and code in codes:
        return True
    if code and any(code in other for other in CODES.values()):
        return False
    return plainName(segment.GetName()) == plainName(wanted.name)


def matchingSegments(segmentationNode: Any, condition: ConditionInfo) -> tuple[str, ...]:
    """The ids of the segments that a condition is most likely drawn in, in the order of the segmentation."""
    segmentation = segmentationNode.GetSegmentation()
    wanted = condition.classes if condition.kind == "labels" else (*condition.classes, condition)
    ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    return tuple(id for id in ids if any(isStructure(segmentation.GetSegment(id), entry) for entry in wanted))


def classOf(segment: Any, condition: ConditionInfo) -> ClassInfo | None:
    """The class of a label map that a segment is."""
    return next((entry for entry in condition.classes if isStructure(segment, entry)), None)


def plainName(name: str) -> str:
    """A structure's name without case, side, punctuation and American spelling.

    >>> plainName("Left_Lateral-Ventricle"), plainName("Gray matter")
    ('lateral ventricles', 'grey matter')
    >>> plainName("third and fourth ventricle")
    'third and fourth ventricle'
    """
    words = [word for word in re.split(r"[\W_]+", name.lower()) if word and word not in SIDES]
    if "fourth" in words or "third" in words:
        return " ".join(words)
    plain = " ".join(SPELLINGS.get(word, word) for word in words)
    return "extra-ventricular csf" if plain == "extra ventricular csf" else plain
