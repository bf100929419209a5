"""What the worker says to its client.

A request is answered by `Accepted`, then by any number of `Progress`, `Preview`, `Said` and `Found`, and ended by
exactly one of `ENDINGS`. All of them carry its `id`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from vcm.core.errors import Code
from vcm.core.findings import Finding
from vcm.core.records import Record
from vcm.protocol.message import Message


@dataclass(frozen=True, eq=False, repr=False)
class Hello(Message):
    """The first line of every worker: who it is."""

    type: ClassVar[str] = "hello"
    engine: str
    python: str
    pid: int


@dataclass(frozen=True, eq=False, repr=False)
class Ready(Message):
    """The engine is loaded; `device` says in words where it will compute. Requests may be sent before."""

    type: ClassVar[str] = "ready"
    device: str


@dataclass(frozen=True, eq=False, repr=False)
class Accepted(Message):
    """The request is in the queue behind `ahead` others."""

    type: ClassVar[str] = "accepted"
    id: str
    ahead: int


@dataclass(frozen=True, eq=False, repr=False)
class Progress(Message):
    """How far a request is: `step` of `total` within `stage`, and the `fraction` of the whole that is done.

    `seconds_left` is None until it is known.
    """

    type: ClassVar[str] = "progress"
    id: str
    stage: str
    step: int = 0
    total: int = 0
    fraction: float = 0.0
    seconds_left: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Preview(Message):
    """The forming image of a Sample after `step`, in a file that is the client's to remove."""

    type: ClassVar[str] = "preview"
    id: str
    path: str
    sample: int
    step: int


@dataclass(frozen=True, eq=False, repr=False)
class Transfer(Message):
    """How a download stands: the `file` that is coming, and the bytes here and in all over all files of the pack.

    What is not known yet is None.
    """

    type: ClassVar[str] = "transfer"
    id: str
    file: str
    done_bytes: int
    total_bytes: int | None = None
    bytes_per_second: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Said(Message):
    """A sentence about the work for people: where it runs, how the memory will do, what is untrained."""

    type: ClassVar[str] = "said"
    id: str
    words: str


@dataclass(frozen=True, eq=False, repr=False)
class Found(Message):
    """What the input doctor found."""

    type: ClassVar[str] = "found"
    id: str
    finding: Finding


@dataclass(frozen=True, eq=False, repr=False)
class Ending(Message):
    """The last word on the request `id`."""

    id: str


@dataclass(frozen=True, eq=False, repr=False)
class Failed(Ending):
    """It went wrong. An empty `id` means that the fault belongs to no request that is still open."""

    type: ClassVar[str] = "failed"
    code: Code
    sentence: str
    remedy: str = ""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, repr=False)
class Cancelled(Ending):
    """It was ended early, as asked."""

    type: ClassVar[str] = "cancelled"


@dataclass(frozen=True, eq=False, repr=False)
class ClassScore(Record):
    """One structure as asked for and as found; None is what could not be measured, and `remark` says why."""

    condition: str
    name: str
    requested_ml: float
    obtained_ml: float | None = None
    dice: float | None = None
    hd95_mm: float | None = None
    assd_mm: float | None = None
    remark: str = ""
    resampled_ml: float | None = None
    intensity_ml: float | None = None
    intensity_dice: float | None = None
    local_contrast: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class ImageScore(Record):
    """An image condition against the Sample, both in 0–1."""

    condition: str
    support_ml: float
    mse: float | None = None
    mae: float | None = None
    remark: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class AlignmentSummary(Record):
    """Alignment of one image with its conditions; `judge` says what segmented it."""

    judge: str
    summary: str
    classes: tuple[ClassScore, ...] = ()
    images: tuple[ImageScore, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class Label(Record):
    """A value of a label map. In a condition, `segmenter` are the labels of the segmentation it is compared with."""

    value: int
    name: str
    segmenter: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class GeneratedSample(Record):
    """The files of one Sample, and of its twin without control from the same noise.

    `segmentation_path` is the label map by which the Sample was measured, `labels` what its values mean. `contrast` is
    what it shows, empty where that is not known. Where a layout completed the head, `layout_path` is its label map,
    `layout_labels` what its values mean, and `layout_alignment` how well the Sample follows all of it.
    """

    path: str
    seed: int | None = None
    alignment: AlignmentSummary | None = None
    uncontrolled_path: str | None = None
    uncontrolled_alignment: AlignmentSummary | None = None
    segmentation_path: str | None = None
    labels: tuple[Label, ...] = ()
    contrast: str = ""
    layout_path: str | None = None
    layout_alignment: AlignmentSummary | None = None
    layout_labels: tuple[Label, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class GivenCondition(Record):
    """A mask or label map as the model was given it, on the backbone's Grid."""

    name: str
    path: str
    labels: tuple[Label, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class Generated(Ending):
    """The Samples are in their folder; `conditions` are the masks and label maps that they were asked with."""

    type: ClassVar[str] = "generated"
    out: str
    samples: tuple[GeneratedSample, ...]
    report_path: str
    montage_path: str | None = None
    conditions: tuple[GivenCondition, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class PreparedCondition(Record):
    """A condition as the model sees it, on the backbone's Grid."""

    name: str
    path: str


@dataclass(frozen=True, eq=False, repr=False)
class Examined(Ending):
    """What the doctor found, and the volumes it looked at."""

    type: ClassVar[str] = "examined"
    findings: tuple[Finding, ...]
    prepared: tuple[PreparedCondition, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class Structure(Record):
    """One class of a label map and the volume it fills."""

    value: int
    name: str
    ml: float


@dataclass(frozen=True, eq=False, repr=False)
class Segmented(Ending):
    """The label map is at `path`."""

    type: ClassVar[str] = "segmented"
    path: str
    structures: tuple[Structure, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Registered(Ending):
    """Where the scan lies. `verdict` is `good`, `doubtful` or `failed`, and `words` say it to people with its figures.

    `scan_to_model` is the 4×4 matrix from the scan's RAS millimetres to the model's, row by row; empty where it failed.
    `transform_path` holds the same for ITK and Slicer, null where it failed.
    """

    type: ClassVar[str] = "registered"
    verdict: str
    words: str
    similarity: float
    coverage: float
    degrees: float
    shift_mm: float
    scan_to_model: tuple[float, ...]
    overlay_path: str
    transform_path: str | None = None


@dataclass(frozen=True, eq=False, repr=False)
class PackEntry(Record):
    """A pack and its `state`: `ready`, `broken`, or `available` from elsewhere; `words` say the rest to people.

    `manifest` is the pack's manifest.json as it stands, empty where there is none; `size` is in bytes.
    """

    name: str
    state: str
    words: str
    kind: str = ""
    title: str = ""
    folder: str = ""
    size: int = 0
    manifest: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, repr=False)
class Packs(Ending):
    """The packs that are here and those that could be; `folder` is where new ones go."""

    type: ClassVar[str] = "packs"
    folder: str
    packs: tuple[PackEntry, ...]


@dataclass(frozen=True, eq=False, repr=False)
class PackObtained(Ending):
    """The packs of these names are installed."""

    type: ClassVar[str] = "pack-obtained"
    packs: tuple[str, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Device(Record):
    """A place to compute, its name for `Generate.device`, and its memory in bytes where that is known."""

    name: str
    words: str
    total_bytes: int | None = None
    free_bytes: int | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Machine(Ending):
    """What the machine offers. The first device is what `auto` would take."""

    type: ClassVar[str] = "machine"
    devices: tuple[Device, ...]
    versions: dict[str, str]
    memory_bytes: int
    free_memory_bytes: int
    free_disk_bytes: int | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Warmed(Ending):
    """The weights are loaded, in `words` where."""

    type: ClassVar[str] = "warmed"
    words: str


ENDINGS = (Failed, Cancelled, Generated, Examined, Segmented, Registered, Packs, PackObtained, Machine, Warmed)
FROM_WORKER = (Hello, Ready, Accepted, Progress, Preview, Transfer, Said, Found, *ENDINGS)
