"""The scalars of a real scan: sex and age as given, volumes as measured, on the backbone's scales."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vcm.cohort.files import ATTRIBUTES
from vcm.conditions.attributes import AttributeSpec
from vcm.conditions.doctor.notebook import Notebook
from vcm.core.errors import VcmError

WORDS = {"female": "F", "f": "F", "w": "F", "male": "M", "m": "M"}


def scan_attributes(
    specs: Sequence[AttributeSpec], sex: str, age: str, ventricles_ml: float, brain_ml: float, notes: Notebook
) -> dict[str, float]:
    """Raw scalars (0–1); what is not known gets the backbone's default, and a finding says so."""
    by_name = {spec.name: spec for spec in specs}
    given: dict[str, str | float] = {
        "sex": WORDS.get(sex.lower(), sex),
        "age": age,
        "ventricular_volume": ventricles_ml,
        "brain_volume": brain_ml,
    }
    return {name: _raw(name, by_name.get(name), given[name], notes) for name in ATTRIBUTES}


def _raw(name: str, spec: AttributeSpec | None, value: str | float, notes: Notebook) -> float:
    default = 0.5 if spec is None else spec.default
    if value == "":
        notes.note(
            "ATTRIBUTE_UNKNOWN",
            f"The {name} of {notes.who} is not given; the model's default was taken.",
            f"Give it in a table with the columns image, segmentation, {name}.",
        )
        return default
    if spec is None or not spec.calibrated:
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
