"""Whole-head label maps and what is known about their labels: names, contrast classes, intensity priors.

A folder holds `labels.json` and, beside it or in `labelmaps/`, one file a head. The labels are FreeSurfer's, with
numbers above 500 for the tissue outside the brain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vcm.anatomy.structures import SEGMENTER_CLASSES, VENTRICLES
from vcm.core.errors import MALFORMED, Code, VcmError
from vcm.core.grid import Grid
from vcm.core.reading import missing_as, read_json
from vcm.volumes.image_refusals import READABLE

CHOROID_PLEXUS = (136, 137, 163, 164)
"""Labels of the maps without a name that lie within the lateral ventricles, as bright as choroid plexus."""


def segmenter_class(label: int) -> int:
    """The segmenter's class of one label of the maps.

    >>> segmenter_class(43), segmenter_class(136), segmenter_class(14), segmenter_class(507)
    (4, 4, 9, 0)
    """
    if label in CHOROID_PLEXUS:
        return VENTRICLES
    return next((value for value, (_, labels) in SEGMENTER_CLASSES.items() if label in labels), 0)


@dataclass(frozen=True, eq=False)
class IntensityPrior:
    """Mean and spread of each contrast class on a 0–255 scale, over subjects; arrays of one number a class."""

    mean: NDArray[np.float64]
    mean_sd: NDArray[np.float64]
    texture: NDArray[np.float64]

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> IntensityPrior:
        return cls(
            mean=np.asarray(entry["mean_of_class_mean"], dtype=np.float64),
            mean_sd=np.asarray(entry["sd_of_class_mean"], dtype=np.float64),
            texture=np.asarray(entry["mean_of_class_sd"], dtype=np.float64),
        )


@dataclass(frozen=True, eq=False)
class LabelTable:
    """What each label means; position n of every array belongs to label `labels[n]`."""

    labels: NDArray[np.int64]
    contrast: NDArray[np.int64]
    segmenter: NDArray[np.int64]
    prior: IntensityPrior
    further_priors: Mapping[str, IntensityPrior] = field(default_factory=dict)

    @property
    def priors(self) -> dict[str, IntensityPrior]:
        """The priors of each contrast that the folder has some for; `t1` is always there."""
        return {"t1": self.prior, **self.further_priors}

    @property
    def outside(self) -> NDArray[np.bool_]:
        """Which labels lie outside the brain and its CSF: air, skull, scalp, eyes."""
        return (self.labels == 0) | (self.labels > 500)

    @classmethod
    def read(cls, path: Path) -> LabelTable:
        """Read `labels.json`."""
        with missing_as(
            f"There is no {path.name} in {path.parent}.", "Give the folder that holds labels.json and the label maps."
        ):
            entry = read_json(path)
        try:
            rows = sorted((int(row["label"]), int(row["contrast_class"])) for row in entry["labels"])
            prior = IntensityPrior.from_dict(entry["t1_prior"])
            further = {
                name: IntensityPrior.from_dict(entry[f"{name}_prior"])
                for name in ("t2", "flair")
                if f"{name}_prior" in entry
            }
        except MALFORMED as error:
            raise VcmError(
                Code.FILE_UNREADABLE,
                f"{path} does not describe labels and their priors: {what_is_wrong(error)}.",
                "See docs/cohort.md for its contents.",
            ) from error
        labels, contrast = np.array(rows).T
        classes = min(len(one.mean) for one in (prior, *further.values()))
        if contrast.max() >= classes:
            raise VcmError(
                Code.FILE_UNREADABLE,
                f"{path} has contrast class {contrast.max()}, but intensity priors for {classes} classes only.",
            )
        return cls(labels, contrast, np.array([segmenter_class(int(n)) for n in labels]), prior, further)

    def positions(self, array: NDArray[np.integer], source: str) -> NDArray[np.uint8]:
        """A label map in which each label is replaced by its position in this table."""
        position = np.searchsorted(self.labels, array).clip(max=len(self.labels) - 1)
        unknown = np.unique(array[self.labels[position] != array])
        if unknown.size:
            raise VcmError(
                Code.CONDITION,
                f"{source} has labels that labels.json does not know: {', '.join(map(str, unknown[:8]))}.",
                "Add them to labels.json with their contrast class.",
            )
        return position.astype(np.uint8)


@dataclass(frozen=True)
class LabelMaps:
    """A folder of heads that share one table of labels."""

    table: LabelTable
    files: tuple[Path, ...]

    @classmethod
    def open(cls, folder: Path, heads: Sequence[int] | None = None) -> LabelMaps:
        """Find the heads of a folder; `heads` chooses some of them by their place in the sorted list, from 1."""
        folder = Path(folder)
        table = LabelTable.read(folder / "labels.json")
        inside = folder / "labelmaps" if (folder / "labelmaps").is_dir() else folder
        files = sorted(p for p in inside.iterdir() if p.name.endswith(READABLE))
        if not files:
            raise VcmError(Code.FILE_MISSING, f"{inside} holds no label maps ({', '.join(READABLE)}).")
        chosen = range(1, len(files) + 1) if heads is None else heads
        outside = [n for n in chosen if not 1 <= n <= len(files)]
        if outside or not chosen:
            raise VcmError(
                Code.BAD_REQUEST,
                f"{inside} holds heads 1 to {len(files)}; {', '.join(map(str, outside)) or 'none'} was asked for.",
            )
        return cls(table, tuple(files[n - 1] for n in chosen))

    def read(self, number: int) -> tuple[NDArray[np.uint8], Grid]:
        """Label positions of one head, as `[i, j, k]`, and the Grid they lie on."""
        from vcm.volumes.volume_files import read_volume

        path = self.files[number]
        volume = read_volume(path)
        return self.table.positions(np.rint(volume.array).astype(np.int64), path.name), volume.grid


def what_is_wrong(error: Exception) -> str:
    """What a file lacks or holds, from the error that reading it ended in.

    >>> what_is_wrong(KeyError("labels"))
    'it has no labels'
    """
    return f"it has no {error.args[0]}" if isinstance(error, KeyError) else str(error)
