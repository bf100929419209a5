"""Everything that is measured on one image of a case: adherence to its conditions, similarity to the real image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vcm.anatomy.structures import GREY_MATTER, VENTRICLES, WHITE_MATTER
from vcm.conditions.condition import Condition, Kind
from vcm.core.errors import Code, VcmError
from vcm.core.volume import Volume
from vcm.evaluation.evaluated_case import EvaluatedCase
from vcm.evaluation.measures.feature_networks import FeatureNetworks, why_not
from vcm.evaluation.measures.images import image_measures
from vcm.evaluation.measures.measurement import WHOLE_IMAGE, Made, Measurement
from vcm.evaluation.measures.segmenter_features import WatchedSegmenter
from vcm.judging.alignment import ClassAlignment, align
from vcm.judging.intensity import local_contrast, tissue_order
from vcm.judging.segmentation import Segmenter, known_labels

Features = dict[str, NDArray[np.float32]]
"""`[n, d]` by the measure they are for."""


@dataclass(frozen=True, eq=False)
class Measured:
    """The numbers and the features of one image."""

    measurements: tuple[Measurement, ...]
    features: Features = field(default_factory=dict)


class CaseMeasurer:
    """Measures images against their case. An image is segmented once, whatever is measured on its labels."""

    def __init__(self, segmenter: Segmenter | None, networks: FeatureNetworks) -> None:
        self.segmenter, self.networks = segmenter, networks

    def reference_features(self, case: EvaluatedCase) -> Features:
        """The features of the real image, which sets are compared with."""
        return self._seen(case.image)[1]

    def measure(self, image: Volume, case: EvaluatedCase, made: Made) -> Measured:
        """Every measure of an image that was made for a case."""
        if not np.isfinite(image.array).all():
            raise VcmError(
                Code.INTERNAL,
                f"The {made.images} image of case {case.name} holds values that are not numbers.",
                "Evaluate again with --precision fp32.",
            )
        labels, features = self._seen(image)
        rows = [
            Measurement(made.images, made.conditions, structure, measure, value, remark)
            for structure, measure, value, remark in (
                *self._structures(image, case, labels),
                *_given_images(image, case, labels),
                *self._similarity(image, case),
            )
        ]
        return Measured(tuple(rows), features)

    def _seen(self, image: Volume) -> tuple[Volume | None, Features]:
        features = self.networks.features(image) if self.networks.sees_sets else {}
        if isinstance(self.segmenter, WatchedSegmenter):
            labels, features["frechet_segmenter"] = self.segmenter.segment_with_features(image)
            return labels, features
        return (self.segmenter.segment(image) if self.segmenter else None), features

    def _structures(self, image: Volume, case: EvaluatedCase, labels: Volume | None) -> Iterator[Any]:
        wanted = [c for c in case.conditions if c.spec.kind is not Kind.IMAGE]
        alignment = align(image, wanted, labels, known=known_labels(self.segmenter))
        for condition in wanted:
            found = [entry for entry in alignment.classes if entry.condition == condition.spec.name]
            for entry in found:
                for measure, value in _values(entry).items():
                    yield entry.structure, measure, value, entry.remark if value is None else ""
                if entry.local_contrast is not None:
                    yield entry.structure, "local_contrast", entry.local_contrast, ""
                if entry.local_contrast is not None and case.labels is not None:
                    real = local_contrast(case.image, condition.structure(entry.name), case.labels)
                    yield entry.structure, "real_contrast", real, ""
            if len(found) > 1:
                yield from _means(condition.spec.name, found)
            if tissues := _tissues(condition):
                order = tissue_order(image, case.image, tissues)
                yield condition.spec.name, "tissue_order", order, "" if order is not None else "too few voxels"

    def _similarity(self, image: Volume, case: EvaluatedCase) -> Iterator[Any]:
        for measure, (value, remark) in image_measures(image.array, case.image.array).items():
            yield WHOLE_IMAGE, measure, value, remark
        lpips = self.networks.lpips(image, case.image)
        yield WHOLE_IMAGE, "lpips", lpips, why_not("lpips") if lpips is None else ""


def _tissues(condition: Condition) -> list[NDArray[np.bool_]]:
    """Where a label map asks for white matter, grey matter and the ventricles' fluid; nothing if it lacks one."""
    names = {value: c.name for c in condition.spec.classes for value in c.segmenter}
    tissues = (WHITE_MATTER, GREY_MATTER, VENTRICLES)
    wanted = [names[tissue] for tissue in tissues if tissue in names]
    return [condition.structure(name) for name in wanted] if len(set(wanted)) == len(tissues) else []


def _values(entry: ClassAlignment) -> dict[str, float | None]:
    return {
        "dice": entry.dice,
        "hd95": entry.hd95_mm,
        "assd": entry.assd_mm,
        "requested_ml": entry.requested_ml,
        "obtained_ml": entry.obtained_ml,
        "volume_error": abs(entry.obtained_ml - entry.requested_ml) if entry.obtained_ml is not None else None,
    }


def _means(condition: str, entries: list[ClassAlignment]) -> Iterator[Any]:
    """The mean over the classes of a label map; classes that could not be measured are left out and counted."""
    for measure in ("dice", "hd95", "assd"):
        values = [v for v in (_values(entry)[measure] for entry in entries) if v is not None]
        missing = len(entries) - len(values)
        remark = f"{missing} of {len(entries)} classes could not be measured" if missing else ""
        yield f"{condition}: mean", measure, float(np.mean(values)) if values else None, remark


def _given_images(image: Volume, case: EvaluatedCase, labels: Volume | None) -> Iterator[Any]:
    """`given_mse` as every report has it, where the given image is above 0; `given_distance` over the whole volume.

    For the distance, what the image's own segmentation finds is set to 0, as it is in an image of a skull.
    """
    for name, given in case.images.items():
        if given is None:
            for measure in ("given_mse", "given_distance"):
                yield name, measure, None, f"not measured: the case has no {name} image"
            continue
        (found,) = align(image, [given], None).images
        yield name, "given_mse", found.mse, found.remark
        if labels is None:
            yield name, "given_distance", None, "not measured: no segmenter is at hand"
            continue
        emptied = np.where(labels.array != 0, 0, image.array).astype(np.float64)
        error = emptied - given.volume.array.astype(np.float64)
        yield name, "given_distance", float(np.square(error).mean()), ""
