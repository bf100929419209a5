"""The structures that are known by name: what our segmenters, FreeSurfer, SNOMED CT and people call them."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Structure:
    """One structure.

    `label` is its number for our segmenters and `freesurfer` are FreeSurfer's numbers for it. `codes` are SNOMED CT
    codes, the first of which is the one to write where `writes_code`; `others` are further names, as `plain_name` makes
    them. A part, such as the putamen of the deep grey matter, counts as the structure.
    """

    name: str
    label: int | None = None
    freesurfer: tuple[int, ...] = ()
    codes: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    writes_code: bool = True


_ALL = (
    Structure(
        "white matter", 1, (2, 41, 7, 46), ("389080008", "68523003", "33060004"),
        ("cerebral white matter", "cerebellar white matter", "cerebellum white matter"),
    ),
    Structure(
        "grey matter", 2, (3, 42, 8, 47), ("389081007", "40146001"),
        ("cortex", "cerebral cortex", "cerebellar cortex", "cerebellum cortex"),
    ),
    # There is no code for all of it: caudate, putamen, pallidum and thalamus have one each.
    Structure(
        "deep grey matter", 3, (10, 11, 12, 13, 49, 50, 51, 52, 26, 58, 28, 60),
        ("11000004", "89278009", "14738005", "119406000"),
        (
            "thalamus", "thalamus proper", "caudate", "caudate nucleus", "putamen", "pallidum", "globus pallidus",
            "accumbens", "accumbens area", "ventraldc", "ventral dc", "basal ganglia",
        ),
        writes_code=False,
    ),
    Structure(
        "lateral ventricles", 4, (4, 43, 5, 44), ("66720007", "35764002"), ("ventricles", "inf lat vent")
    ),
    Structure("hippocampus", 5, (17, 53), ("5366008",)),
    Structure("amygdala", 6, (18, 54), ("4958002",)),
    Structure("extra-ventricular CSF", 7, (24,), ("280371009",), ("csf", "cerebrospinal fluid")),
    Structure("brain stem", 8, (16,), ("15926001", "61962009"), ("midbrain", "pons", "medulla")),
    Structure(
        "third and fourth ventricle", 9, (14, 15), ("35918002", "49841001"),
        ("third ventricle", "fourth ventricle", "3rd ventricles", "4th ventricles"),
    ),
    Structure("ventricles", codes=("35764002", "66720007"), others=("lateral ventricles", "inf lat vent")),
    Structure("skull", codes=("89546000",)),
    Structure("tumour", codes=("4147007",)),
    Structure("brain", codes=("12738006",), others=("brain mask",)),
)  # fmt: skip

_SPELLINGS = {"gray": "grey", "ventricle": "ventricles", "tumor": "tumour", "brainstem": "brain stem"}
_SIDES = {"left", "right", "l", "r", "bilateral"}


@functools.lru_cache(maxsize=1024)
def plain_name(name: str) -> str:
    """A structure's name without case, side, punctuation and American spelling.

    >>> plain_name("Left_Lateral-Ventricle"), plain_name("Gray matter"), plain_name("Extra-ventricular CSF")
    ('lateral ventricles', 'grey matter', 'extra ventricular csf')
    >>> plain_name("third and fourth ventricle")
    'third and fourth ventricle'
    """
    words = [word for word in re.split(r"[\W_]+", name.lower()) if word and word not in _SIDES]
    if "fourth" in words or "third" in words:
        return " ".join(words)
    return " ".join(_SPELLINGS.get(word, word) for word in words)


STRUCTURES = {plain_name(entry.name): entry for entry in _ALL}
SEGMENTED = {
    structure.label: (structure.name, structure.freesurfer) for structure in _ALL if structure.label is not None
}
"""What the labels of our segmenters mean, and FreeSurfer's numbers for it."""

WHITE_MATTER, GREY_MATTER, DEEP_GREY_MATTER, VENTRICLES = 1, 2, 3, 4
EXTRAVENTRICULAR_CSF, INNER_VENTRICLES = 7, 9
FLUIDS = (VENTRICLES, EXTRAVENTRICULAR_CSF, INNER_VENTRICLES)
LESION, OPTIC_CHIASM = 10, 85
"""A label of cohorts that FreeSurfer's mri_synthseg does not give, and a number of FreeSurfer's that no T1w image
separates from white matter."""

SEGMENTER_CLASSES: dict[int, tuple[str, tuple[int, ...]]] = {
    **SEGMENTED,
    WHITE_MATTER: (SEGMENTED[WHITE_MATTER][0], (*SEGMENTED[WHITE_MATTER][1], OPTIC_CHIASM)),
    LESION: ("lesion", (25, 57)),
}
"""The labels of a cohort's cases, in their order, with FreeSurfer's numbers. Background (0) is all else."""

BRAIN = tuple(value for value in SEGMENTER_CLASSES if value != EXTRAVENTRICULAR_CSF)
"""What of them is brain: all but the CSF around it."""

BEYOND_ASEG = {
    WHITE_MATTER: (
        77, 78, 79, 192, *range(250, 256), *range(3000, 5000), 5001, 5002, *range(13100, 13176), *range(14100, 14176)
    ),
    GREY_MATTER: (*range(1000, 3000), *range(11100, 11176), *range(12100, 12176)),
    DEEP_GREY_MATTER: (30, 62, 80, 81, 82),
    VENTRICLES: (31, 63),
    EXTRAVENTRICULAR_CSF: (257,),
    INNER_VENTRICLES: (72,),
}  # fmt: skip
"""FreeSurfer's parcels of cortex and white matter, its callosum and hypointensities, vessels of the deep grey matter,
choroid plexus, outer CSF and fifth ventricle, by the label of a cohort; the numbers that its label maps have stand in
`SEGMENTER_CLASSES`."""

LEFT = (
    2, 3, 4, 5, 7, 8, 10, 11, 12, 13, 17, 18, 25, 26, 28, 30, 31, 78, 81, *range(1000, 2000), *range(3000, 4000),
    *range(11100, 11176), *range(13100, 13176),
)  # fmt: skip
RIGHT = (
    41, 42, 43, 44, 46, 47, 49, 50, 51, 52, 53, 54, 57, 58, 60, 62, 63, 79, 82, *range(2000, 3000), *range(4000, 5000),
    *range(12100, 12176), *range(14100, 14176),
)  # fmt: skip
"""FreeSurfer's numbers of one side of the patient."""

CORTEX, CEREBELLAR_CORTEX = (3, 42), (8, 47)
"""FreeSurfer's numbers, left and right."""

SEMANTICS: dict[int, tuple[str, tuple[int, ...]]] = {
    value: ("ventricles" if value == VENTRICLES else name, (value,))
    for value, (name, _) in SEGMENTED.items()
    if value != INNER_VENTRICLES
}
SEMANTICS[WHITE_MATTER] = (SEMANTICS[WHITE_MATTER][0], (WHITE_MATTER, LESION))
SEMANTICS[VENTRICLES] = (SEMANTICS[VENTRICLES][0], (VENTRICLES, INNER_VENTRICLES))
"""The eight classes of the released VCM's condition: name, and the labels of a cohort that each is made of."""


def joint_ml(labels: Iterable[int], ml: Mapping[int, float]) -> float:
    """The volume of a cohort's labels together, from the millilitres of each. A backbone's segmenter that knows no
    lesions takes them for the white matter that they lie in, and so they are counted.

    >>> joint_ml([1, 4], {1: 500.0, 4: 20.0, 10: 3.0}), joint_ml([4], {1: 500.0, 4: 20.0, 10: 3.0})
    (523.0, 20.0)
    """
    wanted = dict.fromkeys(labels)
    if WHITE_MATTER in wanted:
        wanted[LESION] = None
    return sum(ml.get(value, 0.0) for value in wanted)


_LABELS_OF = {
    **{plain_name(name): (label,) for label, (name, _) in SEGMENTER_CLASSES.items()},
    **{plain_name(name): labels for name, labels in SEMANTICS.values()},
    "brain": BRAIN,
    "lesions": (LESION,),
}


def cohort_labels(name: str, segmenter: Iterable[int] = ()) -> tuple[int, ...]:
    """A cohort's labels that a class of a condition is made of: those of its `segmenter`, else by its name; none where
    it is no structure of a cohort.

    >>> cohort_labels("Ventricles"), cohort_labels("ventricles", [4]), cohort_labels("tumour")
    ((4, 9), (4,), ())
    """
    return tuple(segmenter) or _LABELS_OF.get(plain_name(name), ())


def show(classes: Iterable[tuple[int, ...]], wanted: Iterable[int]) -> bool:
    """Whether structures of a cohort can be seen in a label map with these classes: those that have their name from one
    of them hold all of them, though a class may hold others too.

    >>> show([(1, 10), (4, 9)], [4]), show([(1, 10), (4, 9)], [1, 4]), show([(1, 10), (4, 9)], [10])
    (True, True, False)
    """
    wanted = set(wanted)
    return wanted <= {label for labels in classes if labels and labels[0] in wanted for label in labels}


def structure_named(name: str) -> Structure:
    """The structure of that name, however it is written; one of which nothing more is known where there is none."""
    return STRUCTURES.get(plain_name(name), Structure(name))


def is_named(name: str, structure: str) -> bool:
    """Whether a name stands for a structure or a part of it.

    >>> is_named("Left-Putamen", "deep gray matter"), is_named("Putamen", "grey matter")
    (True, False)
    """
    return plain_name(name) in (plain_name(structure), *structure_named(structure).others)
