"""The attributes of a real scan on the backbone's scales: as given in a table, volumes as measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vcm.anatomy.structures import BRAIN, VENTRICLES, joint_ml
from vcm.conditions.attributes import AttributeSpec
from vcm.conditions.doctor.notebook import Notebook
from vcm.core.errors import VcmError

VOLUMES = {"ventricular_volume": (VENTRICLES,), "brain_volume": BRAIN}
"""What is measured for attributes of these names of a backbone that does not say which structures they are of."""
WORDS = {"female": "F", "f": "F", "w": "F", "male": "M", "m": "M"}


def scan_attributes(
    specs: Sequence[AttributeSpec], given: Mapping[str, str], ml: Mapping[int, float], notes: Notebook
) -> dict[str, float]:
    """Raw attributes (0–1): as given in words, else as measured where `ml`, the millilitres of the segmenter's classes,
    allow it; what is not known gets the backbone's default, and a finding says so."""
    values: dict[str, str | float] = {}
    for spec in specs:
        structures = spec.structures or VOLUMES.get(spec.name, ())
        values[spec.name] = given.get(spec.name, "").strip() or (joint_ml(structures, ml) if structures else "")
    return {spec.name: _raw(spec, values[spec.name], notes) for spec in specs}


def _raw(spec: AttributeSpec, value: str | float, notes: Notebook) -> float:
    name, default = spec.name, spec.default
    if spec.choices:
        value = WORDS.get(str(value).lower(), value)
    if value == "":
        notes.note(
            "ATTRIBUTE_UNKNOWN",
            f"The {name} of {notes.who} is not given; the model's default was taken.",
            f"Give it in a table with the columns image, segmentation, {name}.",
        )
        return default
    if not spec.calibrated:
        notes.warning(
            "ATTRIBUTE_UNSCALED",
            f"The model has no scale for {name}, so the value of {notes.who} ({value}) cannot be used.",
            "Choose a backbone with a scale, or train without regard to it.",
        )
        return default
    if not spec.choices and spec.low is not None and spec.high is not None:
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if np.isfinite(number):
            if not spec.low <= number <= spec.high:
                notes.warning(
                    "ATTRIBUTE_BEYOND",
                    f"The {name} of {notes.who} is {number:.4g} {spec.unit}, beyond the model's scale of {spec.low:g} "
                    f"to {spec.high:g}; the end of the scale was taken.",
                    "Nothing needs to be done, but cases beyond the scale look alike to the model.",
                )
            return spec.to_raw(float(np.clip(number, spec.low, spec.high)))
    try:
        return spec.to_raw(value)
    except VcmError as error:
        notes.error("ATTRIBUTE_WRONG", f"{notes.who}: {error.sentence}", error.remedy or "Correct it in the table.")
        return default
