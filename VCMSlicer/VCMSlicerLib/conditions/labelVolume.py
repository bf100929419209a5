"""Label map volumes: which values one holds, what they are called, and which structure of a model each is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from slicer.i18n import tr as _
from vcm.anatomy.structures import is_named
from vcm.conditions.condition import ClassSpec
from vcm.conditions.label_readings import best_reading
from vcm.volumes.label_values import label_counts, replaced

from VCMSlicerLib.models.packInfo import ConditionInfo
from VCMSlicerLib.scene.worldImages import voxels


@dataclass(frozen=True)
class LabelReading:
    """`table` leads from a volume's values to the classes' values; `unknown` are its values that are no class."""

    table: Mapping[int, int] = field(default_factory=dict)
    unknown: tuple[int, ...] = ()

    def applied(self, array: np.ndarray) -> np.ndarray:
        """The class values of an array of the volume's values; what is unknown becomes 0."""
        old, new = zip(*sorted(self.table.items()), strict=True)
        return replaced(array, np.array(old), np.array(new, np.int16))


def readLabels(condition: ConditionInfo, array: np.ndarray, names: Mapping[int, str]) -> LabelReading:
    """How a label map is to be understood: by numbers of the classes, the model's segmenter or FreeSurfer, or by names.

    That reading is taken which explains the most voxels.
    """
    counts = label_counts(array)
    byName = {
        value: entry.value
        for value, name in names.items()
        if value in counts and (entry := _classNamed(name, condition))
    }
    byNumber = best_reading(condition, counts)
    named = sum(counts[value] for value in byName)
    table = byName if named > byNumber.explained(counts) else byNumber.table
    return LabelReading(table, tuple(value for value in counts if value not in table))


def labelNames(node: Any) -> dict[int, str]:
    """What a volume's colour table calls its values."""
    display = node.GetDisplayNode()
    colors = display.GetColorNode() if display is not None else None
    if colors is None:
        return {}
    return {
        index: name
        for index in range(1, colors.GetNumberOfColors())
        if (name := str(colors.GetColorName(index) or "")) and name != "(none)"
    }


def labelsIn(node: Any) -> list[int]:
    """The values of a label map volume, without 0; each volume is looked through once until it changes."""
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        return []
    stamp = (node.GetID(), image.GetMTime())
    if _lookedThrough.get("stamp") != stamp:
        _lookedThrough.update(stamp=stamp, values=list(label_counts(voxels(image))))
    return list(_lookedThrough["values"])


_lookedThrough: dict[str, Any] = {}


def labelWords(value: int, names: Mapping[int, str]) -> str:
    """A value as the panel writes it.

    >>> labelWords(4, {4: "Left-Lateral-Ventricle"}), labelWords(5, {})
    ('4 Left-Lateral-Ventricle', 'Label 5')
    """
    return f"{value} {names[value]}" if value in names else _("Label {value}").format(value=value)


def _classNamed(name: str, condition: ConditionInfo) -> ClassSpec | None:
    itself = (entry for entry in condition.classes if is_named(name, entry.name))
    part = (entry for entry in condition.classes if any(is_named(name, p) for p in condition.parts(entry)))
    return next(itself, None) or next(part, None)
