"""What a manifest or a request names, found by its name: built in, or offered by an installed Python package."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Generic, TypeVar

from vcm.core.errors import Code, VcmError

T = TypeVar("T")


class Registry(Generic[T]):
    """Objects by name. Each is imported when it is asked for, so that names cost nothing.

    Other packages add theirs by an entry point of the group `vcm.<group>` in their own pyproject.toml.

    >>> Registry[type]("examples", "kind of example", {"fraction": "fractions:Fraction"})["fraction"](1, 2)
    Fraction(1, 2)
    """

    def __init__(self, group: str, noun: str, builtin: dict[str, str]) -> None:
        self.group, self.noun = f"vcm.{group}", noun
        self.built_in = builtin
        self._found: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        """What goes by this name, or a VcmError that lists the names there are or says why it cannot be loaded."""
        if name not in self._found:
            self._found[name] = self._load(name)
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        """The names, those of other packages last."""
        yield from self.built_in
        yield from (name for name in self._offered() if name not in self.built_in)

    def __contains__(self, name: object) -> bool:
        return name in self.built_in or name in self._offered()

    def _load(self, name: str) -> T:
        built_in = self.built_in.get(name)
        place = built_in or self._offered().get(name)
        if place is None:
            raise VcmError(
                Code.PACK_INVALID,
                f"This version of VCMSlicer knows no {self.noun} {name!r}; it knows {', '.join(self)}.",
                "Update VCMSlicer, or install the Python package that adds it.",
            )
        module, _, attribute = place.partition(":")
        try:
            found: T = getattr(importlib.import_module(module), attribute)
        except Exception as error:
            if built_in:
                raise
            said = str(error).strip().split("\n")[0]
            raise VcmError(
                Code.PACK_INVALID,
                f"The {self.noun} {name!r}, which a Python package adds, cannot be loaded from {place}: "
                f"{type(error).__name__}{': ' + said if said else ''}.",
                "Correct that package, or install what it needs.",
            ) from error
        return found

    def _offered(self) -> dict[str, str]:
        from importlib.metadata import entry_points

        return {entry.name: entry.value for entry in entry_points(group=self.group)}
