"""What the numbers of a given segmentation mean: FreeSurfer's, the segmenter's own, or those of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vcm.anatomy.structures import BEYOND_ASEG, LEFT, RIGHT, SEGMENTER_CLASSES
from vcm.cohort.making.label_maps import what_is_wrong
from vcm.conditions.doctor.labels import listed
from vcm.conditions.doctor.notebook import Notebook
from vcm.core.csv_tables import read_records
from vcm.core.errors import MALFORMED, Code, VcmError
from vcm.core.reading import missing_as, open_text
from vcm.volumes.label_values import label_counts, replaced

FEW = 0.02
"""The share of labelled voxels of an unknown number that is only noted."""


@dataclass(frozen=True)
class LabelReading:
    """The segmenter's class of each number, and the numbers that lie on one side of the patient."""

    name: str
    classes: Mapping[int, int]
    left: frozenset[int] = field(default=frozenset())
    right: frozenset[int] = field(default=frozenset())

    @classmethod
    def named(cls, name: str) -> LabelReading:
        """`freesurfer`, `segmenter`, or the path of a table with the columns label and class."""
        if name == "freesurfer":
            classes = {n: value for value, (_, numbers) in SEGMENTER_CLASSES.items() for n in numbers}
            classes |= {n: value for value, numbers in BEYOND_ASEG.items() for n in numbers}
            return cls(name, classes, frozenset(LEFT), frozenset(RIGHT))
        if name == "segmenter":
            return cls(name, {value: value for value in SEGMENTER_CLASSES})
        return cls._read(Path(name))

    @classmethod
    def _read(cls, path: Path) -> LabelReading:
        names = {title: value for value, (title, _) in SEGMENTER_CLASSES.items()} | {"background": 0}
        classes, sides = {}, {"left": set[int](), "right": set[int]()}
        with missing_as(
            f"There is no table of labels {path}.",
            "Give freesurfer, segmenter, or a CSV file with the columns label, class and, where known, side.",
        ):
            stream = open_text(path)
        try:
            for row in read_records(stream)[1]:
                label, text = int(row["label"]), row["class"].strip().lower()
                classes[label] = names[text] if text in names else int(text)
                if side := (row.get("side") or "").strip().lower():
                    sides[side].add(label)
        except MALFORMED as error:
            raise VcmError(
                Code.FILE_UNREADABLE,
                f"{path} is no table of labels: {what_is_wrong(error)}.",
                "It needs the columns label (a number) and class (a number or name of the segmenter's); a column side "
                "may say left or right.",
            ) from error
        if wrong := sorted(set(classes.values()) - {0, *SEGMENTER_CLASSES}):
            raise VcmError(Code.FILE_UNREADABLE, f"{path} names classes that there are not: {wrong}.")
        return cls(path.name, classes, frozenset(sides["left"]), frozenset(sides["right"]))

    def translate(self, labels: NDArray[np.integer], names: Mapping[int, str], notes: Notebook) -> NDArray[np.uint8]:
        """The segmenter's classes; numbers that mean none become 0 and are reported, as is an impossible reading."""
        counts = label_counts(labels)
        result = np.zeros(labels.shape, np.uint8)
        if not counts:
            notes.error("EMPTY", f"{notes.who} is empty: no voxel is set.", "Segment the scan first.")
            return result
        unknown = {value: n for value, n in counts.items() if value not in self.classes}
        share = sum(unknown.values()) / sum(counts.values())
        self._doubt(counts, unknown, share, notes)
        if notes.failed:
            return result
        if unknown:
            report = notes.note if share < FEW else notes.warning
            report(
                "UNKNOWN_LABELS",
                f"{notes.who} holds labels that mean none of the segmenter's classes and count as background: "
                f"{listed(unknown, names)}.",
                "If they belong to the brain, give them a class with a table: --labels FILE.",
            )
        present = np.array(sorted(counts))
        return replaced(labels, present, np.array([self.classes.get(int(n), 0) for n in present], np.uint8))

    def _doubt(self, counts: Mapping[int, int], unknown: Mapping[int, int], share: float, notes: Notebook) -> None:
        if share > 0.5:
            notes.error(
                "NO_KNOWN_LABEL",
                f"{notes.who}: {share:.0%} of what is labelled has numbers that {self.name} labels do not have: "
                f"{listed(unknown, {})}.",
                "Say how it is numbered: --labels freesurfer, segmenter, or a table.",
            )
        elif self.left and self.right:
            left, right = (sum(n for v, n in counts.items() if v in side) for side in (self.left, self.right))
            if not min(left, right) and max(left, right):
                notes.error(
                    "ONE_SIDE",
                    f"{notes.who}, read as {self.name} labels, has a {'left' if left else 'right'} side only.",
                    "If it is numbered as the segmenter numbers: --labels segmenter.",
                )
