"""What a user asks for, by file and by name: the same for the command line and the worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class ConditionFile:
    """A condition by file. `label` is a number or a segment's name where the file holds several structures."""

    name: str
    path: Path
    label: int | str | None = None
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    region: Path | None = None


@dataclass(frozen=True)
class GenerateJob:
    """One `vcm generate`: results go into the folder `out`; None stands for the program's own choice.

    `attributes` are in human units, `raw_attributes` the network's own 0–1 inputs.
    """

    out: Path
    conditions: tuple[ConditionFile, ...] = ()
    pack: str | None = None
    control: str | None = None
    attributes: Mapping[str, float | str] = field(default_factory=dict)
    raw_attributes: Mapping[str, float] = field(default_factory=dict)
    seed: int | None = None
    samples: int = 1
    batch: int = 1
    sampler: str = "dpm++"
    steps: int | None = None
    noise: Path | None = None
    uncontrolled: bool = False
    preview_every: int = 0
    device: str = "auto"
    precision: str = "auto"
    memory: str = "auto"
    segmenter: str = "auto"
    force: bool = False
    montage: bool = True


@dataclass(frozen=True)
class RegisterJob:
    """One `vcm register`: a T1w scan that lies anywhere, laid on the heads of a backbone pack, or on a `template` head
    in its space; results go into the folder `out`, in place of earlier ones only with `force`."""

    scan: Path
    out: Path
    pack: str | None = None
    template: Path | None = None
    force: bool = False
