"""Whether the heads of a cohort are what they should be: ventricles without tissue in them, attributes that hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vcm.anatomy.structures import EXTRAVENTRICULAR_CSF, INNER_VENTRICLES, LESION, VENTRICLES
from vcm.cohort.files import CaseEntry

CLOSING = 2
"""Over how many voxels ventricles are closed before one looks for tissue within them."""

HOLLOW = 0.05
"""A larger share of tissue within the closed ventricles is a fault."""


def hollow_share(labels: NDArray[np.generic]) -> float:
    """The share of the closed lateral ventricles that is tissue, from a map of the segmenter's classes.

    They are closed over `CLOSING` voxels, and holes are filled in every slice of each direction. Normal anatomy between
    the horns counts too, so the share is small, but not 0, where all is well.
    """
    from scipy import ndimage

    ventricles = labels == VENTRICLES
    if not ventricles.any():
        return 0.0
    (box,) = ndimage.find_objects(ventricles.astype(np.uint8))
    box = tuple(slice(max(0, part.start - CLOSING - 1), part.stop + CLOSING + 1) for part in box)
    part = labels[box]
    closed = ndimage.binary_closing(ventricles[box], iterations=CLOSING)
    for axis in range(3):
        for plane in np.moveaxis(closed, axis, 0):
            plane[:] = ndimage.binary_fill_holes(plane)
    tissue = closed & ~np.isin(part, (0, VENTRICLES, EXTRAVENTRICULAR_CSF, INNER_VENTRICLES))
    return float(tissue.sum() / closed.sum())


@dataclass(frozen=True)
class HeadFigures:
    """What was measured on the labels of one case."""

    name: str
    hollow: float
    inside_ml: float
    brain_ml: float
    ventricles_ml: float
    lesions_ml: float


def measure_head(entry: CaseEntry) -> HeadFigures:
    """Measure one case."""
    volume = entry.read("labels")
    labels = np.asarray(volume.array)
    counts = np.bincount(labels.ravel().astype(np.int64), minlength=LESION + 1) * volume.grid.voxel_ml
    inside = float(counts[1:].sum())
    return HeadFigures(
        name=entry.name,
        hollow=hollow_share(labels),
        inside_ml=inside,
        brain_ml=inside - float(counts[EXTRAVENTRICULAR_CSF]),
        ventricles_ml=float(counts[VENTRICLES]),
        lesions_ml=float(counts[LESION]),
    )


def hollow_heads(heads: Iterable[HeadFigures]) -> list[HeadFigures]:
    """Those with tissue in their ventricles."""
    return [head for head in heads if head.hollow > HOLLOW]


def summary(entries: Iterable[CaseEntry], heads: Iterable[HeadFigures]) -> Iterator[str]:
    """What a cohort's heads are like, in lines."""
    pairs = list(zip(entries, heads, strict=True))
    figures = [head for _, head in pairs]
    hollow = hollow_heads(figures)
    yield f"{len(figures)} heads; more than {HOLLOW:.0%} tissue in the closed ventricles: {len(hollow)}"
    if hollow:
        yield "  " + ", ".join(f"{head.name} {head.hollow:.0%}" for head in hollow[:12])
    known = [name for name in (pairs[0][0].attributes if pairs else ()) if all(name in e.attributes for e, _ in pairs)]
    column = {name: np.array([entry.attributes[name] for entry, _ in pairs]) for name in known}
    inside, brain, wide, lesions = (
        np.array([getattr(head, name) for head in figures])
        for name in ("inside_ml", "brain_ml", "ventricles_ml", "lesions_ml")
    )
    names = sorted({entry.head for entry, _ in pairs})
    label_map = np.array([names.index(entry.head) for entry, _ in pairs])
    if "sex" in column:
        men, women = inside[column["sex"] > 0.5], inside[column["sex"] <= 0.5]
        if len(men) and len(women):
            ratio = men.mean() / women.mean()
            yield f"inside the skull: men {men.mean():.0f} ml, women {women.mean():.0f} ml ({ratio:.3f})"
    if len(figures) > 2:
        by_age = (("brain's share", (brain - wide) / inside), ("ventricles, ml", wide)) if "age" in column else ()
        for name, values in by_age:
            slope, start = np.polyfit(column["age"], values, 1)
            yield f"{name}: {start:.3g} at age 0, {start + slope:.3g} at age 1"
        for name, values in (("ventricular_volume", wide), ("brain_volume", brain)):
            if name not in column:
                continue
            whole = (column[name] > 0) & (column[name] < 1)
            if whole.sum() > 2:
                slope, start = np.polyfit(values[whole], column[name][whole], 1)
                yield f"{name} against the volume: {slope * 1000:.3f} a litre, 0 at {-start / slope:.0f} ml"
        for name, values in column.items():
            yield f"{name}: {explained(values, label_map):.0%} of its variance goes with the label map"
    with_lesions = lesions[lesions > 1]
    typical = float(np.median(with_lesions)) if len(with_lesions) else 0.0
    yield f"lesions above 1 ml: {len(with_lesions)} heads, {typical:.1f} ml in the median"


def explained(values: NDArray[np.float64], group: NDArray[np.int64]) -> float:
    """The share of a variance that the means of groups explain, beyond what chance does (adjusted, at least 0)."""
    count, groups = len(values), len(np.unique(group))
    total = float(((values - values.mean()) ** 2).sum())
    if not total or count <= groups:
        return 0.0
    within = sum(float(((values[group == g] - values[group == g].mean()) ** 2).sum()) for g in np.unique(group))
    return max(0.0, 1 - (within / (count - groups)) / (total / (count - 1)))
