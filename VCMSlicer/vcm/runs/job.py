"""What a user asks for, by file and by name: the same for the command line and the worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vcm.core.errors import Code, VcmError
from vcm.core.records import out_of_bounds
from vcm.protocol.requests import GenerateOptions


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
class GenerateJob(GenerateOptions):
    """One `vcm generate`: results go into the folder `out`. `noise` is a file that stands in for the seeds' own.

    Where a layout completes the head and `control_may_give_way`, another control than the one named may show it.
    """

    out: Path
    conditions: tuple[ConditionFile, ...] = ()
    noise: Path | None = None
    montage: bool = True
    control_may_give_way: bool = False

    def __post_init__(self) -> None:
        if fault := out_of_bounds(self):
            raise VcmError(Code.BAD_REQUEST, f"The {fault}.")


@dataclass(frozen=True)
class RegisterJob:
    """One `vcm register`: a scan that lies anywhere, laid on the heads of a backbone pack, or on a `template` head
    in its space; results go into the folder `out`, in place of earlier ones only with `force`."""

    scan: Path
    out: Path
    pack: str | None = None
    template: Path | None = None
    force: bool = False
