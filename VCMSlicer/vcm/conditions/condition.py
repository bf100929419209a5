"""What a control accepts, and what was given to it on the backbone's Grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vcm.core.errors import Code, VcmError
from vcm.core.volume import Volume


class Kind(str, Enum):
    """`MASK` is one structure, `LABELS` a map of several, `IMAGE` intensities in 0–1."""

    MASK = "mask"
    LABELS = "labels"
    IMAGE = "image"


@dataclass(frozen=True)
class ClassSpec:
    """One structure of a mask or label map.

    `segmenter` holds the labels of the pack's segmenter that together make this structure;
    `typical_ml` the volumes seen in training, smallest and largest; `centroid_mm` where its middle lies (RAS).
    """

    value: int
    name: str
    segmenter: tuple[int, ...] = ()
    typical_ml: tuple[float, float] | None = None
    centroid_mm: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class ConditionSpec:
    """One spatial input of a control, as its manifest describes it.

    >>> spec = ConditionSpec.from_dict({"name": "ventricles", "kind": "mask"})
    >>> spec.channels, spec.classes[0].value
    (1, 1)
    """

    name: str
    kind: Kind
    classes: tuple[ClassSpec, ...] = ()
    description: str = ""
    preparer: str = ""
    """How it becomes what the control sees (`models/preparers`); empty for the control's usual way."""

    @property
    def channels(self) -> int:
        """How many channels the control's encoder sees: one a class, or one for an image."""
        return len(self.classes) if self.kind is Kind.LABELS else 1

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> ConditionSpec:
        """Read a manifest's entry; classes may be names alone, which then count from 1."""
        kind = Kind(entry["kind"])
        raw: Sequence[Any] = entry.get("classes") or ([entry["name"]] if kind is Kind.MASK else [])
        classes = []
        for index, item in enumerate(raw, start=1):
            fields: Mapping[str, Any] = {"name": item} if isinstance(item, str) else item
            typical, centroid = fields.get("typical_ml"), fields.get("centroid_mm")
            classes.append(
                ClassSpec(
                    value=int(fields.get("value", index)),
                    name=fields["name"],
                    segmenter=tuple(fields.get("segmenter", ())),
                    typical_ml=(float(typical[0]), float(typical[1])) if typical else None,
                    centroid_mm=(float(centroid[0]), float(centroid[1]), float(centroid[2])) if centroid else None,
                )
            )
        return cls(entry["name"], kind, tuple(classes), entry.get("description", ""), entry.get("preparer", ""))


@dataclass(frozen=True, eq=False)
class Condition:
    """A spatial input on the backbone's Grid, ready for a control.

    The volume holds 0/1 for a mask, class values for labels, 0–1 for an image. `strength` scales what the condition
    changes; it acts from the fraction `start` of the sampling (0 is pure noise) to the fraction `end` (1 is the
    finished image) and, where a `region` is given, by that weight at each place. `source` and `region_source` are what
    the findings call the files that both came from.
    """

    spec: ConditionSpec
    volume: Volume
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    region: Volume | None = None
    source: str = ""
    region_source: str = ""
    drawn_ml: Mapping[str, float] = field(default_factory=dict)
    """The volume of each class in the file it came from, before it was brought onto the Grid."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.start < self.end <= 1.0:
            raise VcmError(
                Code.BAD_REQUEST,
                f"The time window of {self.spec.name} must rise within 0 to 1, not {self.start:g} to {self.end:g}.",
                "Give, for example, 0 to 0.8.",
            )
        if not (np.isfinite(self.strength) and 0.0 <= self.strength <= 4.0):
            raise VcmError(
                Code.BAD_REQUEST,
                f"The strength of {self.spec.name} must lie within 0 and 4, not {self.strength:g}.",
                "1 is the strength the control was trained for.",
            )

    def as_channels(self) -> NDArray[np.float32]:
        """The array a control's encoder sees: `[channels, i, j, k]`, one 0/1 channel a class or the image itself."""
        array = self.volume.array
        if self.spec.kind is Kind.LABELS:
            return np.stack([array == c.value for c in self.spec.classes]).astype(np.float32)
        return array[None].astype(np.float32)

    def structure(self, name: str) -> NDArray[np.bool_]:
        """The 0/1 mask of one of the condition's classes."""
        if self.spec.kind is Kind.MASK:
            return np.asarray(self.volume.array != 0)
        value = next(c.value for c in self.spec.classes if c.name == name)
        return np.asarray(self.volume.array == value)
