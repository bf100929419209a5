"""What can be said of a Generate beside its files: one list for panel, command line, table of cases and worker.

Names, defaults and bounds stand here alone. None is the pack's or the engine's own choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any

from vcm.core.typed_json import Bounds
from vcm.protocol.message import Record

LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SamplingOptions(Record):
    """How Samples are made: `batch` of them at a time; sample n uses `seed` + n.

    With `uncontrolled` each has a twin from the same noise without control. A preview is made after every
    `preview_every` steps; 0 means none.
    """

    seed: Annotated[int | None, Bounds(0, LARGEST_SEED)] = None
    samples: Annotated[int, Bounds(1, 10_000, title="number of samples")] = 1
    batch: Annotated[int, Bounds(1, 1024)] = 1
    sampler: str = "dpm++"
    steps: Annotated[int | None, Bounds(1, 1000, title="number of steps")] = None
    uncontrolled: bool = False
    preview_every: Annotated[int, Bounds(0, 1000, title="interval of previews")] = 0


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class GenerateOptions(SamplingOptions):
    """With which packs, for whom, and on what: `attributes` in human units, `raw_attributes` as the network's 0–1."""

    pack: str | None = None
    control: str | None = None
    attributes: Mapping[str, float | str] = field(default_factory=dict)
    raw_attributes: Mapping[str, float] = field(default_factory=dict)
    device: str = "auto"
    precision: str = "auto"
    memory: str = "auto"
    segmenter: str = "auto"
    force: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """Those alone, by name, without what a message or a job has beside them."""
        return {entry.name: getattr(self, entry.name) for entry in fields(GenerateOptions)}
