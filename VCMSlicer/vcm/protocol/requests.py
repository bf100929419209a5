"""What the client says to the worker. Volumes travel by file path, never inside a message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import Annotated, Any, ClassVar

from vcm.core.records import Bounds, Record
from vcm.protocol.message import Message


@dataclass(frozen=True, eq=False, repr=False)
class Request(Message):
    """Something the client wants; the client chooses the `id`, unique among the requests that have not ended."""

    id: str


@dataclass(frozen=True, eq=False, repr=False)
class ConditionInput(Record):
    """A condition by file: `label` picks a structure by value or by name, `region_path` is a weight map in 0–1.

    `strength`, `start` and `end` mean what they mean in `vcm.conditions.condition.Condition`.
    """

    name: str
    path: str
    label: int | str | None = None
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    region_path: str | None = None


LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True, eq=False, repr=False, init=False)
class GenerateOptions(Record):
    """What can be said of a Generate beside its files: names, defaults and bounds for the panel, the command line, a
    table of cases and the worker. None is the pack's or the engine's own choice.

    `attributes` are in human units, `raw_attributes` the network's 0–1 inputs; `all` for the attribute that names the
    contrast asks for each of its choices from the same noise. Sample n uses `seed` + n; `batch` of them are made at a
    time. With `uncontrolled` each has a twin from the same noise without control. A preview is made after every
    `preview_every` steps; 0 means none. `size` and `spacing`, texts such as `192x224x192` and `1`, choose another grid
    than the pack's own where it has a rule for them. `layout` completes drawn
    structures to a whole head: `auto` where a layout pack for the backbone is here, `off`, or the name of such a pack.
    """

    pack: str | None = None
    control: str | None = None
    attributes: Mapping[str, float | str] = field(default_factory=dict)
    raw_attributes: Mapping[str, float] = field(default_factory=dict)
    size: str | None = None
    spacing: str | None = None
    seed: Annotated[int | None, Bounds(0, LARGEST_SEED)] = None
    samples: Annotated[int, Bounds(1, 10_000, title="number of samples")] = 1
    batch: Annotated[int, Bounds(1, 1024)] = 1
    sampler: str | None = None
    steps: Annotated[int | None, Bounds(1, 1000, title="number of steps")] = None
    uncontrolled: bool = False
    preview_every: Annotated[int, Bounds(0, 1000, title="interval of previews")] = 0
    device: str = "auto"
    precision: str = "auto"
    memory: str = "auto"
    segmenter: str = "auto"
    layout: str = "auto"
    force: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """Those alone, by name, without what a message or a job has beside them."""
        return {entry.name: getattr(self, entry.name) for entry in fields(GenerateOptions)}


@dataclass(frozen=True, eq=False, repr=False)
class Generate(GenerateOptions, Request):
    """Make Samples into the folder `out`, previews into `preview_dir`. `noise_path` stands in for the seeds' noise.

    Where a layout completes the head and `control_may_give_way`, another control than the one named may show it.
    """

    type: ClassVar[str] = "generate"
    out: str
    conditions: tuple[ConditionInput, ...] = ()
    _: KW_ONLY
    noise_path: str | None = None
    preview_dir: str | None = None
    control_may_give_way: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class Examine(Request):
    """Ask the input doctor, and have what the model sees written into `prepared_dir` where that is given."""

    type: ClassVar[str] = "examine"
    conditions: tuple[ConditionInput, ...]
    pack: str | None = None
    control: str | None = None
    prepared_dir: str | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Segment(Request):
    """Segment an image of a head and write the label map to `out`: on the backbone's Grid, or with `own_grid` on the
    image's own voxels."""

    type: ClassVar[str] = "segment"
    image: str
    out: str
    pack: str | None = None
    device: str = "auto"
    own_grid: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class Register(Request):
    """Lay a scan, however it lies, on the heads of a backbone pack; files go into the folder `out`.

    `template` is a head in the model's space, for a pack that knows no mean head of its own.
    """

    type: ClassVar[str] = "register"
    image: str
    out: str
    pack: str | None = None
    template: str | None = None


@dataclass(frozen=True, eq=False, repr=False)
class ListPacks(Request):
    """Which packs are there, and in which state."""

    type: ClassVar[str] = "list-packs"


@dataclass(frozen=True, eq=False, repr=False)
class GetPack(Request):
    """Install the pack `name` of the catalogue: from `source`, a file or folder here, or else downloaded.

    `accepted_licence` names the licence that the user has read and accepted, `accept_unverified` says that they trust
    a file whose hash nobody knows. A download that was broken off goes on where it was. `force` replaces a pack.
    """

    type: ClassVar[str] = "get-pack"
    name: str
    accepted_licence: str = ""
    source: str | None = None
    accept_unverified: bool = False
    proxy: str | None = None
    force: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class Preflight(Request):
    """What the machine offers; `out` is a folder, there or not yet, whose disk is looked at."""

    type: ClassVar[str] = "preflight"
    out: str | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Warm(Request):
    """Load the weights now, so that the next Generate need not."""

    type: ClassVar[str] = "warm"
    pack: str | None = None
    control: str | None = None
    device: str = "auto"
    precision: str = "auto"


@dataclass(frozen=True, eq=False, repr=False)
class Cancel(Message):
    """End the request `id` early. One that has ended already, or never was, is passed over in silence."""

    type: ClassVar[str] = "cancel"
    id: str


@dataclass(frozen=True, eq=False, repr=False)
class Shutdown(Message):
    """Cancel everything and end the process."""

    type: ClassVar[str] = "shutdown"


REQUESTS = (Generate, Examine, Segment, Register, ListPacks, GetPack, Preflight, Warm)
FROM_CLIENT = (*REQUESTS, Cancel, Shutdown)
