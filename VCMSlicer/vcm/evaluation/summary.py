"""From the numbers of all cases to one row a structure and measure: means with their intervals, side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vcm.evaluation.measures.feature_networks import WANTED, why_not
from vcm.evaluation.measures.frechet import frechet_distance
from vcm.evaluation.measures.measurement import (
    CONTROLLED,
    KINDS,
    RECONSTRUCTION,
    WHOLE_IMAGE,
    Made,
    MeasureKind,
    Measurement,
)
from vcm.evaluation.measures.statistics import Mean, correlation_of, mean_of
from vcm.evaluation.result_store import CaseResult

REFERENCE = "reference"
CORRELATION = "volume_correlation"
CORRELATION_KIND = MeasureKind("correlation of volume asked for and obtained", digits=2, better="↑")


@dataclass(frozen=True)
class SummaryRow:
    """One structure and measure under one set of conditions; `columns` holds a mean by what was measured.

    What depends on no condition (the uncontrolled twin, the reconstruction) stands in every set's rows.
    """

    conditions: str
    structure: str
    measure: str
    columns: Mapping[str, Mean]
    remark: str = ""
    kind: MeasureKind = field(init=False, compare=False)

    def __post_init__(self) -> None:
        kind = CORRELATION_KIND if self.measure == CORRELATION else KINDS[self.measure]
        object.__setattr__(self, "kind", kind)

    @property
    def given(self) -> bool:
        """Whether it concerns a condition that was given, or the whole image."""
        condition = self.structure.partition(": ")[0]
        return not self.conditions or self.structure == WHOLE_IMAGE or condition in self.conditions.split("+")

    @property
    def measured(self) -> bool:
        return any(mean.count for mean in self.columns.values())

    @property
    def share_of_reconstruction(self) -> float | None:
        """The controlled mean over the reconstruction's, where both were measured and the ratio is meaningful."""
        if not self.kind.better or self.measure == CORRELATION:
            return None
        ours, best = self.columns.get(CONTROLLED), self.columns.get(RECONSTRUCTION)
        if not (ours and best and ours.count and best.count) or not best.mean:
            return None
        return ours.mean / best.mean


def summarise(results: Sequence[CaseResult], every: Sequence[Made]) -> list[SummaryRow]:
    """The rows of all sets of conditions, in the order of `every`, the images that were made for each case."""
    values = _Values(results)
    shared = [made for made in every if not made.conditions]
    sets: list[Made | None] = [*(made for made in every if made.conditions)] or [None]
    rows = []
    for made in sets:
        columns = [*([made] if made else []), *shared]
        for structure, measure in values.subjects:
            rows.append(_row(values, columns, structure, measure))
            if measure == "obtained_ml":
                rows.append(_correlation(values, columns, structure))
        rows += [_distance(results, columns, measure) for measure in _set_measures()]
    return rows


class _Values:
    """What was measured, by image, structure and measure, in the order of the cases."""

    def __init__(self, results: Iterable[CaseResult]) -> None:
        self.rows: dict[tuple[Made, str, str], list[Measurement]] = {}
        for result in results:
            for row in result.measurements:
                key = Made(row.images, row.conditions), row.structure, row.measure
                self.rows.setdefault(key, []).append(row)

    @property
    def subjects(self) -> list[tuple[str, str]]:
        """Structures in the order they were measured, each with its measures."""
        return list(dict.fromkeys((structure, measure) for _, structure, measure in self.rows))

    def of(self, made: Made, structure: str, measure: str) -> list[float | None]:
        return [row.value for row in self.rows.get((made, structure, measure), [])]

    def remarks(self, made: Made, structure: str, measure: str) -> list[str]:
        return [row.remark for row in self.rows.get((made, structure, measure), []) if row.remark]


def _row(values: _Values, columns: Sequence[Made], structure: str, measure: str) -> SummaryRow:
    means = {made.images: mean_of(values.of(made, structure, measure)) for made in columns}
    remarks = []
    for made in columns:
        of_these = values.remarks(made, structure, measure)
        for remark in dict.fromkeys(of_these):
            count = of_these.count(remark)
            everywhere = count == len(values.of(made, structure, measure))
            remarks.append(remark if everywhere else f"{made.images}, {count} of the cases: {remark}")
    return SummaryRow(columns[0].conditions, structure, measure, means, "; ".join(dict.fromkeys(remarks)))


def _correlation(values: _Values, columns: Sequence[Made], structure: str) -> SummaryRow:
    found = {}
    for made in columns:
        asked, got = (values.of(made, structure, measure) for measure in ("requested_ml", "obtained_ml"))
        r = correlation_of(asked, got)
        found[made.images] = Mean(r.r, r.low, r.high, 0 if math.isnan(r.r) else r.count)
    known = any(mean.count for mean in found.values())
    return SummaryRow(
        columns[0].conditions, structure, CORRELATION, found, "" if known else "not measurable on so few volumes"
    )


def _distance(results: Sequence[CaseResult], columns: Sequence[Made], measure: str) -> SummaryRow:
    found, remarks = {}, []
    reference = _vectors(results, REFERENCE, measure)
    for made in columns:
        value, count, seen = math.nan, 0, _vectors(results, made.key, measure)
        if seen is not None and reference is not None:
            distance = frechet_distance(seen, reference)
            remarks.append(distance.remark)
            if distance.value is not None:
                value, count = distance.value, distance.counts[0]
        found[made.images] = Mean(value, math.nan, math.nan, count)
    missing = next((why_not(name) for name, (measures, _) in WANTED.items() if measure in measures), _NO_SEGMENTER)
    remark = "; ".join(dict.fromkeys(remarks)) if remarks else missing
    return SummaryRow(columns[0].conditions, WHOLE_IMAGE, measure, found, remark)


_NO_SEGMENTER = "not measured: the pack has no segmenter of its own"


def _vectors(results: Sequence[CaseResult], image: str, measure: str) -> Any:
    parts = [r.features[f"{image}/{measure}"] for r in results if f"{image}/{measure}" in r.features]
    return np.concatenate(parts) if parts else None


def _set_measures() -> list[str]:
    return [measure for measure in KINDS if measure.startswith(("fid_", "frechet_"))]
