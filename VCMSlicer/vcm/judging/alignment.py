"""Alignment of a Sample with its Conditions: overlap, surface distance and volume per class, error for images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vcm.anatomy.structures import INNER_VENTRICLES, LESION, VENTRICLES, cohort_labels
from vcm.conditions.condition import ClassSpec, Condition, Kind
from vcm.core.errors import Code, VcmError
from vcm.core.volume import Volume
from vcm.judging.intensity import fluid_by_intensity, local_contrast
from vcm.judging.surface_distances import surface_distances

UNRECOGNISED = 0.1
"""By how much the overlap by intensity is better where the segmenter is said not to recognise a structure."""


@dataclass(frozen=True)
class ClassAlignment:
    """One class of a mask or label map, as asked for and as found in the Sample.

    `requested_ml` is the volume of what was drawn, `resampled_ml` that of what the model was given, which overlap and
    distances are measured against. `dice` lies in 0–1, distances are millimetres, volumes millilitres. Of fluid,
    `intensity_ml` and `intensity_dice` are what `fluid_by_intensity` finds; a lesion has a `local_contrast`. What could
    not be measured is None, and `remark` says why.
    """

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

    @property
    def structure(self) -> str:
        """The structure's name in tables.

        >>> ClassAlignment("ventricles", "ventricles", 1).structure, ClassAlignment("semantics", "white", 1).structure
        ('ventricles', 'semantics: white')
        """
        return self.name if self.name == self.condition else f"{self.condition}: {self.name}"

    def as_dict(self) -> dict[str, Any]:
        return _rounded(asdict(self))

    def summary(self) -> str:
        """What was measured, in one line."""
        subject = self.name if self.name == self.condition else f"{self.condition}, {self.name}"
        measured = []
        if self.dice is not None:
            measured.append(f"Dice {self.dice:.2f}")
        if self.hd95_mm is not None:
            measured.append(f"HD95 {self.hd95_mm:.1f} mm")
        measured.append(f"{self.requested_ml:.1f} ml asked for")
        if self.obtained_ml is not None:
            measured.append(f"{self.obtained_ml:.1f} ml obtained")
        if self.local_contrast is not None:
            measured.append(f"contrast with the tissue around {self.local_contrast:+.2f}")
        return f"{subject}: {', '.join(measured)}" + (f" ({self.remark})" if self.remark else "")


@dataclass(frozen=True)
class ImageAlignment:
    """An image condition against the Sample, where the condition is above 0; intensities of both in 0–1."""

    condition: str
    support_ml: float
    mse: float | None = None
    mae: float | None = None
    remark: str = ""

    def as_dict(self) -> dict[str, Any]:
        return _rounded(asdict(self))

    def summary(self) -> str:
        """What was measured, in one line."""
        if self.mse is None or self.mae is None:
            return f"{self.condition}: {self.remark}"
        return f"{self.condition}: mean squared error {self.mse:.4f}, mean absolute error {self.mae:.3f}"


@dataclass(frozen=True)
class Alignment:
    """Alignment of one Sample with its Conditions; `judge` says what segmented it."""

    classes: tuple[ClassAlignment, ...]
    images: tuple[ImageAlignment, ...]
    judge: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {
            "judge": self.judge,
            "summary": self.summary(),
            "classes": [entry.as_dict() for entry in self.classes],
            "images": [entry.as_dict() for entry in self.images],
        }

    def summary(self) -> str:
        """One sentence; a label map with more than three classes is summarised by its mean and its worst class.

        >>> found = ClassAlignment("ventricles", "ventricles", 41.8, 40.9, dice=0.861, hd95_mm=3.2, assd_mm=0.9)
        >>> Alignment((found,), ()).summary()
        'ventricles: Dice 0.86, HD95 3.2 mm, 41.8 ml asked for, 40.9 ml obtained'
        """
        parts = []
        for condition in dict.fromkeys(entry.condition for entry in self.classes):
            group = [entry for entry in self.classes if entry.condition == condition]
            parts += [_group_summary(group)] if len(group) > 3 else [entry.summary() for entry in group]
        parts += [entry.summary() for entry in self.images]
        return "; ".join(parts) or "nothing to compare: no condition was given"


def align(
    sample: Volume,
    conditions: Sequence[Condition],
    segmentation: Volume | None,
    judge: str = "",
    *,
    known: Iterable[int] = (),
    distances: bool = True,
) -> Alignment:
    """Compare a Sample, and a segmentation of it, with the Conditions that were given.

    All volumes lie on one Grid; `segmentation` holds the labels that `ClassSpec.segmenter` speaks of, or is None where
    there is no segmenter; `known` are all the labels that this knows, where not every structure is among them. The same
    call judges the uncontrolled twin. Surface distances and the measure by intensity
    take the most time, and are left out without `distances`.
    """
    _require_one_grid(sample, conditions, segmentation)
    if not np.isfinite(sample.array).all():
        raise VcmError(
            Code.INTERNAL,
            "The generated image holds values that are not numbers, so it cannot be compared with its conditions.",
            "Generate again with --precision fp32.",
        )
    classes: list[ClassAlignment] = []
    images: list[ImageAlignment] = []
    for condition in conditions:
        if condition.spec.kind is Kind.IMAGE:
            images.append(_align_image(sample, condition))
        else:
            classes.extend(_align_classes(sample, condition, segmentation, set(known), distances))
    return Alignment(tuple(classes), tuple(images), judge)


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float | None:
    """Twice the overlap over the sum of both sizes; None where both are empty.

    >>> dice(np.array([True, True, False]), np.array([False, True, False]))
    0.6666666666666666
    """
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else None


def _align_classes(
    sample: Volume, condition: Condition, segmentation: Volume | None, known: set[int], distances: bool
) -> Iterator[ClassAlignment]:
    for spec in condition.spec.classes:
        requested = condition.structure(spec.name)
        resampled_ml = int(requested.sum()) * condition.volume.grid.voxel_ml
        drawn_ml = condition.drawn_ml.get(spec.name, resampled_ml)
        asked = ClassAlignment(condition.spec.name, spec.name, requested_ml=drawn_ml, resampled_ml=resampled_ml)
        if segmentation is None:
            yield _unmeasured(asked, "not measured: no segmenter is at hand")
            continue
        if distances and _is_lesion(spec):
            asked = replace(asked, local_contrast=local_contrast(sample, requested, segmentation))
        if not spec.segmenter or (known and not known & set(spec.segmenter)):
            yield _unmeasured(asked, "not measurable with this segmenter")
        else:
            measured = _compare(asked, spec, requested, segmentation, distances)
            # The fluid around the brain borders on bone that is dark, too, and is not told from it by intensity.
            fluid = distances and set(spec.segmenter) <= {VENTRICLES, INNER_VENTRICLES}
            yield _by_intensity(measured, sample, requested, segmentation) if fluid else measured


def _is_lesion(spec: ClassSpec) -> bool:
    return (*spec.segmenter,) == (LESION,) or cohort_labels(spec.name) == (LESION,)


def _compare(
    asked: ClassAlignment, spec: ClassSpec, requested: NDArray[np.bool_], segmentation: Volume, distances: bool
) -> ClassAlignment:
    obtained = np.isin(segmentation.array, spec.segmenter)
    apart = surface_distances(requested, obtained, segmentation.grid) if distances else None
    return replace(
        asked,
        obtained_ml=int(obtained.sum()) * segmentation.grid.voxel_ml,
        dice=dice(requested, obtained),
        hd95_mm=apart.hd95 if apart else None,
        assd_mm=apart.assd if apart else None,
        remark=_why_no_distance(bool(requested.any()), bool(obtained.any())),
    )


def _by_intensity(
    entry: ClassAlignment, sample: Volume, requested: NDArray[np.bool_], segmentation: Volume
) -> ClassAlignment:
    """The entry with the measure by intensity, and a remark where it finds the structure better than the segmenter."""
    found = fluid_by_intensity(sample, requested, segmentation)
    if found is None:
        return entry
    overlap = dice(requested, found.found)
    entry = replace(entry, intensity_ml=found.ml, intensity_dice=overlap)
    if overlap is None or overlap < (entry.dice or 0) + UNRECOGNISED:
        return entry
    remark = f"the segmenter does not recognise it all: {found.ml:.1f} ml by intensity, Dice {overlap:.2f}"
    return replace(entry, remark="; ".join(filter(None, (entry.remark, remark))))


def _align_image(sample: Volume, condition: Condition) -> ImageAlignment:
    wanted = condition.volume.array.astype(np.float64)
    support = wanted > 0
    ml = int(support.sum()) * condition.volume.grid.voxel_ml
    if not support.any():
        return ImageAlignment(condition.spec.name, ml, remark="not measurable: the condition is zero everywhere")
    error = sample.array.astype(np.float64)[support] - wanted[support]
    return ImageAlignment(condition.spec.name, ml, mse=float(np.square(error).mean()), mae=float(np.abs(error).mean()))


def _why_no_distance(asked: bool, found: bool) -> str:
    if asked and found:
        return ""
    if asked:
        return "no distance: the structure was not found in the image"
    return "no distance: none was asked for" + (", but some was found" if found else " and none was found")


def _unmeasured(asked: ClassAlignment, remark: str) -> ClassAlignment:
    return replace(asked, remark=remark)


def _group_summary(group: Sequence[ClassAlignment]) -> str:
    title = f"{group[0].condition} ({len(group)} classes)"
    scored = [(entry.dice, entry.name) for entry in group if entry.dice is not None]
    if not scored:
        return f"{title}: {group[0].remark}"
    worst, name = min(scored)
    mean = sum(score for score, _ in scored) / len(scored)
    missing = f", {len(group) - len(scored)} not measured" if len(scored) < len(group) else ""
    return f"{title}: mean Dice {mean:.2f}, lowest {worst:.2f} ({name}){missing}"


def _rounded(entry: dict[str, Any]) -> dict[str, Any]:
    """Numbers to six decimals: far below the resolution of a voxel."""
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in entry.items()}


def _require_one_grid(sample: Volume, conditions: Sequence[Condition], segmentation: Volume | None) -> None:
    others = {f"the condition {condition.spec.name}": condition.volume for condition in conditions}
    if segmentation is not None:
        others["the segmentation"] = segmentation
    for name, volume in others.items():
        if not volume.grid.same_as(sample.grid):
            raise VcmError(
                Code.GEOMETRY,
                f"The sample and {name} lie on different grids: {sample.grid.shape} {sample.grid.orientation} "
                f"and {volume.grid.shape} {volume.grid.orientation}.",
                "Bring both onto the model's grid before they are compared.",
            )
