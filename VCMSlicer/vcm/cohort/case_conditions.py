"""The conditions that a case of a cohort holds, derived in one place from its labels and its skull image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vcm.cohort.making.label_maps import BRAIN, LESION, VENTRICLES, WHITE_MATTER
from vcm.conditions.condition import ConditionSpec, Kind
from vcm.core.errors import Code, VcmError
from vcm.judging.synthseg import STRUCTURES

INNER_VENTRICLES = 9
"""The segmenter's third and fourth ventricle: part of the semantics' ventricles, not of the ventricle mask."""

_JOINED = {WHITE_MATTER: (WHITE_MATTER, LESION), VENTRICLES: (VENTRICLES, INNER_VENTRICLES)}
SEMANTICS: dict[int, tuple[str, tuple[int, ...]]] = {
    value: ("ventricles" if value == VENTRICLES else name, _JOINED.get(value, (value,)))
    for value, (name, _) in STRUCTURES.items()
    if value != INNER_VENTRICLES
}
"""The eight classes of the semantics: name and segmenter's labels. A lesion counts as white matter."""


def _entry(kind: str, description: str, classes: Iterable[tuple[int, str, tuple[int, ...]]] = ()) -> dict[str, Any]:
    rows = [{"value": value, "name": name, "segmenter": list(labels)} for value, name, labels in classes]
    return {"kind": kind, "description": description, **({"classes": rows} if rows else {})}


CONDITION_SPECS: dict[str, dict[str, Any]] = {
    "ventricles": _entry("mask", "Lateral ventricles", [(1, "ventricles", (VENTRICLES,))]),
    "brain": _entry("mask", "Brain", [(1, "brain", BRAIN)]),
    "skull": _entry("image", "Head without what lies inside the skull"),
    "semantics": _entry(
        "labels", "Eight structures of the head", [(value, name, labels) for value, (name, labels) in SEMANTICS.items()]
    ),
    "lesions": _entry("mask", "Lesions", [(1, "lesions", (LESION,))]),
}
"""What a control's manifest says of each condition, without its name and the volumes seen in training."""


def condition_arrays(
    labels: NDArray[np.generic], skull: NDArray[np.generic] | None, names: Iterable[str]
) -> dict[str, NDArray[Any]]:
    """The named conditions of a case: masks as uint8 0/1, label maps as uint8 class values, images as float32 0–1.

    `labels` holds the segmenter's classes; `skull` may be None where no image is asked for.

    >>> condition_arrays(np.array([0, 4, 7, 9]), None, ["ventricles", "semantics"])["semantics"].tolist()
    [0, 4, 7, 4]
    """
    return {name: _array(name, labels, skull) for name in names}


def condition_array(
    spec: ConditionSpec, labels: NDArray[np.generic], skull: NDArray[np.generic] | None
) -> NDArray[Any]:
    """What a control's own condition is on a case: its classes by their segmenter's labels, so in the control's order.

    A class that names no such labels is taken by the condition's name; the only image a case holds is the skull's.
    """
    if spec.kind is Kind.IMAGE or not any(structure.segmenter for structure in spec.classes):
        return _array(spec.name, labels, skull)
    array = np.zeros(labels.shape, np.uint8)
    for structure in spec.classes:
        array[np.isin(labels, structure.segmenter)] = structure.value
    return array


def _array(name: str, labels: NDArray[np.generic], skull: NDArray[np.generic] | None) -> NDArray[Any]:
    spec = CONDITION_SPECS.get(name)
    if spec is None:
        raise VcmError(
            Code.BAD_REQUEST,
            f"The cases of a cohort hold no condition {name!r}; they hold {', '.join(CONDITION_SPECS)}.",
        )
    if spec["kind"] == "image":
        if skull is None:
            raise VcmError(Code.BAD_REQUEST, f"The condition {name} needs the case's skull image.")
        return np.clip(skull, 0, 1).astype(np.float32)
    array = np.zeros(labels.shape, np.uint8)
    for structure in spec["classes"]:
        array[np.isin(labels, structure["segmenter"])] = structure["value"]
    return array
