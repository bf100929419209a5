"""What a batch came to: a table of its Samples, one of what was refused, and the means with their intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vcm.conditions.attributes import ALL
from vcm.core.csv_tables import csv_of_records
from vcm.judging.mean_interval import mean_with_interval
from vcm.outputs.atomic_files import write_json, write_text
from vcm.reporting.report import NOTICE
from vcm.runs.batches.folder import REFUSED, RESULTS, SUMMARY, BatchFolder

CLASS_MEASURES = ("dice", "hd95_mm", "assd_mm", "requested_ml", "obtained_ml")
IMAGE_MEASURES = ("mse", "mae")

FEWEST = 5
"""Of fewer cases an interval is no more than their range."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Measure:
    """The mean over cases of one measure (a case of several Samples counts once) and its 95 % interval."""

    name: str
    cases: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """How many cases of a table are made, refused (with their names) and still open, and their alignment."""

    made: int
    refused: tuple[str, ...]
    missing: tuple[str, ...]
    samples: int
    measures: tuple[Measure, ...]

    @property
    def words(self) -> str:
        """In one sentence, with the overlaps.

        >>> Summary(9, ("a",), (), 9, (Measure("ventricles.dice", 9, 0.7, 0.65, 0.75),)).words
        '9 cases made, 1 refused; ventricles Dice 0.70 (95 % interval 0.65–0.75)'
        """
        parts = [f"{self.made:,} cases made", f"{len(self.refused):,} refused"]
        parts += [f"{len(self.missing):,} not made yet"] if self.missing else []
        dice = [
            f"{m.name.removesuffix('.dice')} Dice {m.mean:.2f}"
            + (f" ({_span(m)} {m.low:.2f}–{m.high:.2f})" if m.cases > 1 else "")
            for m in self.measures
            if m.name.endswith(".dice")
        ]
        return "; ".join([", ".join(parts), *dice])

    def as_dict(self) -> dict[str, Any]:
        return {
            "format": 1,
            "synthetic": True,
            "notice": NOTICE,
            "cases": {"made": self.made, "refused": len(self.refused), "missing": len(self.missing)},
            "samples": self.samples,
            "measures": {
                m.name: {
                    "cases": m.cases,
                    "mean": m.mean,
                    "interval_95": [m.low, m.high] if m.cases >= FEWEST else None,
                }
                for m in self.measures
            },
        }


def _span(measure: Measure) -> str:
    return "95 % interval" if measure.cases >= FEWEST else "range"


def settled(folder: BatchFolder, names: Sequence[str]) -> bool:
    """Whether every case is either made or refused."""
    return all(folder.report(name) is not None or folder.refusal(name) is not None for name in names)


def summarise(folder: BatchFolder, names: Sequence[str]) -> Summary:
    """Write `results.csv`, `refused.csv` and `summary.json` for the cases of a table, in its order.

    Each file is put in place whole. Where another process changes a case meanwhile they are written again, so that of
    several processes which do this at the end, whoever is last leaves the truth.
    """
    while True:
        before = [folder.traces(name) for name in names]
        summary = _write(folder, names)
        if [folder.traces(name) for name in names] == before:
            return summary


def _write(folder: BatchFolder, names: Sequence[str]) -> Summary:
    rows: list[Row] = []
    refused: list[Row] = []
    missing = []
    for name in names:
        report, refusal = folder.report(name), folder.refusal(name)
        if refusal is not None:
            refused.append(
                {"case": name, "code": refusal.code.value, "why": refusal.sentence, "remedy": refusal.remedy}
            )
        elif report is not None:
            rows += _sample_rows(name, report)
        else:
            missing.append(name)
    measures = tuple(_measures(rows))
    made = len({row["case"] for row in rows})
    summary = Summary(made, tuple(row["case"] for row in refused), tuple(missing), len(rows), measures)
    _write_table(folder.path / RESULTS, rows, ("case", "file", "seed"))
    _write_table(folder.path / REFUSED, refused, ("case", "code", "why", "remedy"))
    write_json(folder.path / SUMMARY, summary.as_dict())
    return summary


def _value_of(attribute: Mapping[str, Any]) -> Row:
    if attribute["value"] is None:
        return {f"{attribute['name']}.raw": attribute["raw"]}
    return {attribute["name"]: attribute["value"]}


def _sample_rows(name: str, report: Mapping[str, Any]) -> Iterator[Row]:
    several = [a["name"] for a in report["attributes"] if a["value"] == ALL and a["raw"] is None]
    for sample in report["samples"]:
        row: Row = {"case": name, "file": f"cases/{name}/{sample['file']}", "seed": sample["seed"]}
        # What was measured on a completed head is that Sample's own.
        for attribute in (*report["attributes"], *(sample.get("layout") or {}).get("attributes", ())):
            row |= _value_of(attribute)
        row |= dict.fromkeys(several, sample.get("contrast"))
        row |= _measured(sample["alignment"], "")
        twin = sample["uncontrolled"]
        if twin is not None:
            row["uncontrolled"] = f"cases/{name}/{twin['file']}"
            row |= _measured(twin["alignment"], "uncontrolled ")
        yield row


def _measured(alignment: Mapping[str, Any] | None, prefix: str) -> Row:
    if alignment is None:
        return {}
    row: Row = {}
    for entry in alignment["classes"]:
        subject = entry["name"] if entry["name"] == entry["condition"] else f"{entry['condition']} {entry['name']}"
        row |= {f"{prefix}{subject}.{measure}": entry[measure] for measure in CLASS_MEASURES}
    for entry in alignment["images"]:
        row |= {f"{prefix}{entry['condition']}.{measure}": entry[measure] for measure in IMAGE_MEASURES}
    return row


def _measures(rows: Sequence[Row]) -> Iterator[Measure]:
    measured = [c for c in _columns(rows, ()) if c.rpartition(".")[2] in (*CLASS_MEASURES, *IMAGE_MEASURES)]
    for name in measured:
        of_case: dict[str, list[float]] = {}
        for row in rows:
            if row.get(name) is not None:
                of_case.setdefault(row["case"], []).append(row[name])
        if of_case:
            means = [sum(values) / len(values) for values in of_case.values()]
            yield Measure(name, len(means), *(round(x, 6) for x in mean_with_interval(means)))


def _write_table(path: Path, rows: Sequence[Row], first: tuple[str, ...]) -> None:
    write_text(path, csv_of_records(_columns(rows, first), rows))


def _columns(rows: Sequence[Row], first: tuple[str, ...]) -> list[str]:
    return list(dict.fromkeys([*first, *(column for row in rows for column in row)]))
