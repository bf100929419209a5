"""How conditions and attributes are written on the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vcm.core.errors import Code, VcmError
from vcm.runs.condition_text import Acting, number_or_word, read_window, split_label
from vcm.runs.job import ConditionFile

if TYPE_CHECKING:
    from vcm.conditions.attributes import AttributeSpec

T = TypeVar("T")
RAW = ".raw"


def parse_conditions(
    conditions: Iterable[str],
    strengths: Iterable[str] = (),
    windows: Iterable[str] = (),
    regions: Iterable[str] = (),
) -> tuple[ConditionFile, ...]:
    """`NAME=FILE[:LABEL]` and, by the same names, strengths, time windows and region maps.

    >>> parse_conditions(["ventricles=mask.nii.gz:4"], ["ventricles=0.8"], ["ventricles=0:0.9"])[0].label
    4
    """
    strength = _by_name("--strength", strengths, _number)
    window = _by_name("--window", windows, read_window)
    region = _by_name("--region", regions, Path)
    files = []
    for text in conditions:
        name, path = _split("--condition", text)
        file, label = split_label(path)
        start, end = window.get(name, (0.0, 1.0))
        files.append(ConditionFile(name, file, label, strength.get(name, 1.0), start, end, region.get(name)))
    given = {file.name for file in files}
    for option, names in (("--strength", strength), ("--window", window), ("--region", region)):
        for name in names:
            if name not in given:
                raise VcmError(
                    Code.BAD_REQUEST,
                    f"{option} speaks of {name}, but no such condition was given.",
                    f"Add --condition {name}=FILE.",
                )
    return tuple(files)


def parse_acting(strengths: Iterable[str], windows: Iterable[str], regions: Iterable[str]) -> dict[str, Acting]:
    """How conditions act that a table of cases gives later, by their names.

    >>> parse_acting(["ventricles=0.8"], ["skull=0:0.5"], [])["skull"].window
    (0.0, 0.5)
    """
    strength = _by_name("--strength", strengths, _number)
    window = _by_name("--window", windows, read_window)
    region = _by_name("--region", regions, Path)
    names = dict.fromkeys([*strength, *window, *region])
    return {name: Acting(strength.get(name), window.get(name), region.get(name)) for name in names}


def parse_attributes(
    entries: Iterable[str], specs: Sequence[AttributeSpec]
) -> tuple[dict[str, float | str], dict[str, float]]:
    """Attributes in human units, from `NAME=VALUE`; and the network's own numbers, from `NAME.raw=NUMBER`, or from
    `NAME=NUMBER` where no scale is known of an attribute, or its values are words.

    >>> from vcm.conditions.attributes import AttributeSpec
    >>> specs = [AttributeSpec("age", "Age", "years", low=44, high=82), AttributeSpec("dose", "Dose")]
    >>> parse_attributes(["age=72", "dose=0.5"], specs), parse_attributes(["age.raw=0.84"], specs)
    (({'age': 72.0}, {'dose': 0.5}), ({}, {'age': 0.84}))
    """
    from vcm.conditions.attributes import canonical_name

    known = {spec.name: spec for spec in specs}
    human: dict[str, float | str] = {}
    raw: dict[str, float] = {}
    for text, value in _by_name("--attribute", entries, number_or_word).items():
        name = canonical_name(text.removesuffix(RAW), known)
        spec = known.get(name)
        if isinstance(value, str) and (text.endswith(RAW) or (spec is not None and not spec.choices)):
            raise VcmError(Code.BAD_REQUEST, f"--attribute {text}={value} holds no number where one is expected.")
        if name in human or name in raw:
            raise VcmError(Code.BAD_REQUEST, f"--attribute was given twice for {name}.")
        if isinstance(value, float) and (text.endswith(RAW) or (spec is not None and spec.takes_raw(value))):
            raw[name] = value
        else:
            human[name] = value
    return human, raw


def _by_name(option: str, entries: Iterable[str], read: Callable[[str], T]) -> dict[str, T]:
    result: dict[str, T] = {}
    for text in entries:
        name, value = _split(option, text)
        if name in result:
            raise VcmError(Code.BAD_REQUEST, f"{option} was given twice for {name}.")
        try:
            result[name] = read(value)
        except ValueError:
            raise VcmError(Code.BAD_REQUEST, f"{option} {text} holds no number where one is expected.") from None
    return result


def _split(option: str, text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name.strip() or not value.strip():
        form, example = ("NAME=FILE", "ventricles=mask.nii.gz") if option == "--condition" else ("NAME=VALUE", "age=70")
        raise VcmError(
            Code.BAD_REQUEST, f"{option} is written {form}; {text!r} was given.", f"For example: {option} {example}"
        )
    return name.strip(), value


def _number(text: str) -> float:
    return float(text)
