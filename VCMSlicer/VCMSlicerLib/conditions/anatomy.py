"""Which segment is which structure: by its terminology, which survives translation, and else by its name."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any

from vcm.conditions.condition import ClassSpec

from VCMSlicerLib.models.packInfo import ConditionInfo


@dataclass(frozen=True)
class Structure:
    """How a structure is recognised: SNOMED CT codes, the first of which we write ourselves, and further names, as
    `plainName` makes them. A part of it, such as the putamen of the deep grey matter, counts as well."""

    codes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    writesCode: bool = True


STRUCTURES: dict[str, Structure] = {
    "ventricles": Structure(("35764002", "66720007"), ("lateral ventricles", "inf lat vent")),
    "lateral ventricles": Structure(("66720007", "35764002"), ("ventricles", "inf lat vent")),
    "third and fourth ventricle": Structure(
        ("35918002", "49841001"), ("third ventricle", "fourth ventricle", "3rd ventricles", "4th ventricles")
    ),
    "white matter": Structure(
        ("389080008", "68523003", "33060004"),
        ("cerebral white matter", "cerebellar white matter", "cerebellum white matter"),
    ),
    "grey matter": Structure(
        ("389081007", "40146001"), ("cortex", "cerebral cortex", "cerebellar cortex", "cerebellum cortex")
    ),
    # There is no code for all of it: caudate, putamen, pallidum and thalamus have one each.
    "deep grey matter": Structure(
        ("11000004", "89278009", "14738005", "119406000"),
        (
            "thalamus", "thalamus proper", "caudate", "caudate nucleus", "putamen", "pallidum", "globus pallidus",
            "accumbens", "accumbens area", "ventraldc", "ventral dc", "basal ganglia",
        ),
        writesCode=False,
    ),
    "hippocampus": Structure(("5366008",)),
    "amygdala": Structure(("4958002",)),
    "brain stem": Structure(("15926001", "61962009"), ("midbrain", "pons", "medulla")),
    "extra-ventricular csf": Structure(("280371009",), ("csf", "cerebrospinal fluid")),
    "skull": Structure(("89546000",)),
    "tumour": Structure(("4147007",)),
    "brain": Structure(("12738006",), ("brain mask",)),
}  # fmt: skip
SPELLINGS = {"gray": "grey", "ventricle": "ventricles", "tumor": "tumour", "brainstem": "brain stem"}
SIDES = {"left", "right", "l", "r", "bilateral"}
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
    known = STRUCTURES.get(plainName(name))
    if known is not None and known.writesCode:
        kind = f"{SCHEME}^{known.codes[0]}^{name.capitalize()}"
        segment.SetTerminology(f"{CONTEXT}~{CATEGORY}~{kind}~^^~Anatomic codes - DICOM master list~^^~^^")


def isStructure(segment: Any, name: str) -> bool:
    """Whether a segment is that structure, or a part of it. A code counts more than the segment's name."""
    code, plain, wanted = typeCode(segment), plainName(segment.GetName()), plainName(name)
    known = STRUCTURES.get(wanted, Structure())
    if any(code in other.codes for other in STRUCTURES.values()):
        return code in known.codes
    return isNamed(plain, wanted)


def isNamed(name: str, structure: str) -> bool:
    """Whether a name stands for a structure.

    >>> isNamed("Left-Putamen", "deep gray matter"), isNamed("Putamen", "grey matter")
    (True, False)
    """
    plain, wanted = plainName(name), plainName(structure)
    return plain == wanted or plain in STRUCTURES.get(wanted, Structure()).names


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


@functools.lru_cache(maxsize=1024)
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
