"""Whether the fields of a dataclass hold what they are declared to hold, which Python does not look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints


def first_misfit(instance: Any) -> str | None:
    """The first place where a dataclass instance departs from its declared types; whole numbers pass for floats.

    >>> from vcm.conditions.condition import ClassSpec
    >>> first_misfit(ClassSpec(1, "ventricles", (4, 43))), first_misfit(ClassSpec(1, "ventricles", (4, "43")))
    (None, 'segmenter[1]')
    """
    return next(_misfits(instance, type(instance), ""), None)


def _misfits(value: Any, hint: Any, where: str) -> Iterator[str]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        if not any(next(_misfits(value, each, where), None) is None for each in arguments):
            yield where
    elif not _is_a(value, origin or hint):
        yield where
    elif origin is tuple:
        hints = (arguments[0],) * len(value) if arguments[-1] is ... else arguments
        if len(hints) != len(value):
            yield where
        for index, (item, each) in enumerate(zip(value, hints, strict=False)):
            yield from _misfits(item, each, f"{where}[{index}]")
    elif origin in (dict, Mapping):
        for key, item in value.items():
            yield from _misfits(key, arguments[0], where)
            yield from _misfits(item, arguments[1], f"{where}.{key}")
    elif isinstance(hint, type) and is_dataclass(hint):
        for entry in fields(value):
            yield from _misfits(
                getattr(value, entry.name), _hints(hint)[entry.name], f"{where}.{entry.name}".strip(".")
            )


def _is_a(value: Any, kind: Any) -> bool:
    if kind is Any or isinstance(value, bool):
        return kind in (Any, bool)
    return isinstance(value, (int, float) if kind is float else kind)


@cache
def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {entry.name: hints[entry.name] for entry in fields(cls)}  # type: ignore[arg-type]
