"""How a network is trained: data checked on load, saved with the run and with the pack it makes.

Each kind of training adds its own settings to these in `<kind>_settings.py`; `kinds.py` lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from vcm.core.errors import Code, VcmError
from vcm.core.reading import read_toml
from vcm.core.records import Bounds, OneOf, out_of_bounds
from vcm.core.typed_json import FieldError, Words, as_json, read_fields
from vcm.outputs.sealed_json import read_sealed
from vcm.packs.store import default_backbone

Settings = TypeVar("Settings", bound="TrainingSettings")

MOST_SETTINGS = 1_000_000
"""Bytes of a file of settings."""

WORDS = Words("setting", "a table")
AtLeastOne = Annotated[int, Bounds(1)]
NotNegative = Annotated[int, Bounds(0)]
NotNegativeNumber = Annotated[float, Bounds(0)]
Positive = Annotated[float, Bounds(above=0)]
Decay = Annotated[float, Bounds(0, below=1)]
Share = Annotated[float, Bounds(0, 1)]

MAY_CHANGE = {"steps", "micro_batch", "recompute", "log_every", "save_every", "validate_every", "patience"}
"""What may change when a training is resumed: how long and how often, but not what is learned."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What every kind of training has.

    `batch` is the number of items of one step over all processes; `micro_batch` how many of them a process computes at
    once (0: all of its own), which changes the memory needed and nothing else. `steps` fixes the learning rate's
    course: it rises over `warmup` steps and falls to `final_rate` of its height. `ema` is the decay of the averaged
    weights, the ones that are kept. `optimiser` is adamw or muon. `contrasts` makes a case of each contrast of
    a head, such as `{image = "T1w", t2 = "T2w"}`: by a part of the cohort's cases, the backbone's name for what it
    shows.
    `validate_every` counts steps (0: only at the end); after `patience` validations that brought nothing better the
    training ends (0: never).
    """

    kind: ClassVar[str] = ""

    backbone: str = field(default_factory=default_backbone)
    steps: AtLeastOne = 3000
    batch: AtLeastOne = 16
    micro_batch: NotNegative = 0
    learning_rate: Positive = 1e-3
    optimiser: Annotated[str, OneOf(("adamw", "muon"))] = "adamw"
    course: Annotated[str, OneOf(("cosine", "linear", "constant"))] = "cosine"
    warmup: NotNegative = 100
    final_rate: NotNegativeNumber = 0.02
    weight_decay: NotNegativeNumber = 0.01
    beta2: Decay = 0.99
    clip: Positive = 1.0
    ema: Decay = 0.998
    precision: Annotated[str, OneOf(("auto", "fp32", "bf16"))] = "auto"
    seed: NotNegative = 1
    contrasts: Mapping[str, str] = field(default_factory=dict)
    log_every: AtLeastOne = 20
    save_every: AtLeastOne = 100
    validate_every: NotNegative = 0
    patience: NotNegative = 0

    def __post_init__(self) -> None:
        if fault := out_of_bounds(self):
            raise VcmError(Code.BAD_REQUEST, f"The setting {fault}.")

    def require(self, fits: bool, name: str, wanted: str) -> None:
        """Refuse a value in a sentence."""
        if not fits:
            found = as_json(getattr(self, name))
            raise VcmError(Code.BAD_REQUEST, f"The setting {name} must be {wanted}, not {found}.")

    @property
    def first_phase(self) -> int:
        """Steps at the start after which the learning-rate schedule starts again."""
        return 0

    @classmethod
    def from_dict(cls: type[Settings], entry: Mapping[str, Any], source: str = "The training's settings") -> Settings:
        """Read settings; a name that is none of them is refused, and so is a value of another kind."""
        if entry.get("kind", cls.kind) != cls.kind:
            raise VcmError(
                Code.BAD_REQUEST, f"{source} is for training a {entry['kind']}; settings for a {cls.kind} are needed."
            )
        try:
            return read_fields(cls, {name: value for name, value in entry.items() if name != "kind"}, WORDS)
        except FieldError as error:
            sentence = f"{source} does not fit the training of a {cls.kind}: {error}."
            raise VcmError(Code.BAD_REQUEST, sentence, error.remedy) from error

    @classmethod
    def read(cls: type[Settings], path: Path) -> Settings:
        """Read settings from TOML, or from the JSON that a run keeps."""
        return cls.from_dict(read_entries(path), str(path))

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold, with the kind."""
        return {"kind": self.kind, **as_json(self)}

    def differences(self, other: TrainingSettings) -> list[str]:
        """The names of the settings in which two trainings differ and must not, if one is to go on as the other."""
        mine, theirs = self.as_dict(), other.as_dict()
        return [name for name in mine if name not in MAY_CHANGE and mine[name] != theirs.get(name)]


def read_entries(path: Path) -> dict[str, Any]:
    """The content of a file of settings, unchecked."""
    return read_sealed(path) if path.suffix == ".json" else read_toml(path, MOST_SETTINGS)
