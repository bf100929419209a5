"""How a network is trained: data checked on load, saved with the run and with the pack it makes.

Each kind of training adds its own settings to these in `<kind>_settings.py`; `kinds.py` lists them.
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from vcm.core.errors import MALFORMED, Code, VcmError
from vcm.core.reading import read_text
from vcm.outputs.sealed_json import read_sealed

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Settings = TypeVar("Settings", bound="TrainingSettings")

MOST_SETTINGS = 1_000_000
"""Bytes of a file of settings."""

PRECISIONS = ("fp32", "bf16")
COURSES = ("cosine", "linear", "constant")

MAY_CHANGE = {"steps", "micro_batch", "recompute", "log_every", "save_every", "validate_every", "patience"}
"""What may be given anew when a training goes on: how long and how often, but not what is learned."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What every kind of training has.

    `batch` is the number of items of one step over all processes; `micro_batch` how many of them a process computes at
    once (0: all of its own), which changes the memory needed and nothing else. `steps` fixes the learning rate's
    course: it rises over `warmup` steps and falls to `final_rate` of its height. `ema` is the decay of the averaged
    weights, the ones that are kept. `validate_every` counts steps (0: only at the end); after `patience` validations
    that brought nothing better the training ends (0: never).
    """

    kind: ClassVar[str] = ""

    backbone: str = "brainldm-mini"
    steps: int = 3000
    batch: int = 16
    micro_batch: int = 0
    learning_rate: float = 1e-3
    course: str = "cosine"
    warmup: int = 100
    final_rate: float = 0.02
    weight_decay: float = 0.01
    beta2: float = 0.99
    clip: float = 1.0
    ema: float = 0.998
    precision: str = "bf16"
    seed: int = 1
    log_every: int = 20
    save_every: int = 100
    validate_every: int = 0
    patience: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "log_every", "save_every"):
            self.require(getattr(self, name) >= 1, name, "at least 1")
        for name in ("micro_batch", "warmup", "weight_decay", "final_rate", "validate_every", "patience", "seed"):
            self.require(getattr(self, name) >= 0, name, "0 or more")
        for name in ("learning_rate", "clip"):
            self.require(getattr(self, name) > 0, name, "above 0")
        for name in ("ema", "beta2"):
            self.require(0 <= getattr(self, name) < 1, name, "0 or more and below 1")
        self.one_of("precision", PRECISIONS)
        self.one_of("course", COURSES)

    def require(self, fits: bool, name: str, wanted: str) -> None:
        """Refuse a value in a sentence."""
        if not fits:
            found = getattr(self, name)
            found = list(found) if isinstance(found, tuple) else found
            raise VcmError(Code.BAD_REQUEST, f"The setting {name} must be {wanted}; {found} was given.")

    def one_of(self, name: str, choices: typing.Iterable[str]) -> None:
        """Refuse what is none of the choices."""
        self.require(getattr(self, name) in choices, name, f"one of {', '.join(choices)}")

    @property
    def first_phase(self) -> int:
        """Steps at the start after which the learning rate's course begins anew."""
        return 0

    @classmethod
    def from_dict(cls: type[Settings], entry: Mapping[str, Any], source: str = "The training's settings") -> Settings:
        """Read settings; a name that is none of them is refused, and so is a value of another kind."""
        given = {name: value for name, value in entry.items() if name != "kind"}
        if entry.get("kind", cls.kind) != cls.kind:
            raise VcmError(
                Code.BAD_REQUEST, f"{source} is for training a {entry['kind']}; settings for a {cls.kind} are needed."
            )
        hints = typing.get_type_hints(cls)
        known = {field.name for field in fields(cls)}
        unknown = [name for name in given if name not in known]
        if unknown:
            raise VcmError(
                Code.BAD_REQUEST,
                f"{source} names {', '.join(unknown)}, which is no setting of a training of a {cls.kind}.",
                f"The settings are: {', '.join(sorted(known))}.",
            )
        for name, value in given.items():
            if not _fits(value, hints[name]):
                raise VcmError(
                    Code.BAD_REQUEST,
                    f"{source} has a {name} of the wrong kind: {value!r}.",
                    f"It takes {_kind_in_words(hints[name])}.",
                )
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
        return cls(**values)

    @classmethod
    def read(cls: type[Settings], path: Path) -> Settings:
        """Read settings from TOML, or from the JSON that a run keeps."""
        return cls.from_dict(read_entries(path), str(path))

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold, with the kind."""
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {"kind": self.kind, **plain}

    def differences(self, other: TrainingSettings) -> list[str]:
        """The names of the settings in which two trainings differ and must not, if one is to go on as the other."""
        mine, theirs = self.as_dict(), other.as_dict()
        return [name for name in mine if name not in MAY_CHANGE and mine[name] != theirs.get(name)]


def read_entries(path: Path) -> dict[str, Any]:
    """The content of a file of settings, unchecked."""
    if path.suffix == ".json":
        return read_sealed(path)
    text = read_text(path, MOST_SETTINGS)
    try:
        return tomllib.loads(text)
    except MALFORMED as error:
        raise VcmError(
            Code.FILE_UNREADABLE, f"{path} cannot be read as settings: {error}.", "Correct that place."
        ) from error


def _kind_in_words(hint: Any) -> str:
    """What a setting of this type takes.

    >>> _kind_in_words(float | dict[str, float]), _kind_in_words(tuple[str, ...])
    ('a number or a table', 'a list')
    """
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_kind_in_words(one) for one in typing.get_args(hint))
    if origin is not None:
        return "a list" if origin is tuple else "a table"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}.get(hint, "nothing")


def _fits(value: Any, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in typing.get_args(hint))
    if origin is tuple:
        return isinstance(value, (list, tuple)) and all(_fits(one, typing.get_args(hint)[0]) for one in value)
    if origin is not None:
        return isinstance(value, dict)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
