"""How conditions and attributes are written on the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from vcm.core.errors import Code, VcmError
from vcm.runs.condition_text import Acting, read_window, split_label
from vcm.runs.job import ConditionFile

T = TypeVar("T")


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


def parse_numbers(option: str, entries: Iterable[str]) -> dict[str, float]:
    """`NAME=NUMBER` entries of an option.

    >>> parse_numbers("--attribute", ["age=0.84"])
    {'age': 0.84}
    """
    return _by_name(option, entries, _number)


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
        raise VcmError(Code.BAD_REQUEST, f"{option} is written NAME=VALUE; {text!r} was given.")
    return name.strip(), value


def _number(text: str) -> float:
    return float(text)
