"""The conditions that every cohort offers, and how one is made of a case's labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vcm.anatomy.structures import BRAIN, LESION, SEMANTICS, VENTRICLES
from vcm.conditions.condition import ConditionSpec
from vcm.core.errors import Code, VcmError


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


def condition_array(spec: ConditionSpec, labels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """A mask or a label map from a case's labels: 0/1, or the values of the condition's classes.

    Its classes say of which labels they are made; where they do not, `CONDITION_SPECS` does by the condition's name.

    >>> spec = ConditionSpec.from_dict({"name": "semantics", **CONDITION_SPECS["semantics"]})
    >>> condition_array(spec, np.array([0, 4, 7, 9])).tolist()
    [0, 4, 7, 4]
    """
    classes = spec.classes
    if not any(structure.segmenter for structure in classes):
        classes = condition_spec(spec.name).classes
    array = np.zeros(labels.shape, np.uint8)
    for structure in classes:
        array[np.isin(labels, structure.segmenter)] = structure.value
    return array


def condition_spec(name: str) -> ConditionSpec:
    """What a cohort's condition of this name is; one that a cohort does not have is refused."""
    if name not in CONDITION_SPECS:
        raise VcmError(
            Code.BAD_REQUEST,
            f"The cases of a cohort have no condition {name}.",
            f"They have: {', '.join(CONDITION_SPECS)}.",
        )
    return ConditionSpec.from_dict({"name": name, **CONDITION_SPECS[name]})
