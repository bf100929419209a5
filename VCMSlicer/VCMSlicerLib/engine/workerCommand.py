"""How the worker's process is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class WorkerCommand:
    """A program with its arguments; `environment` replaces Slicer's own where it is given."""

    program: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] | None = None
