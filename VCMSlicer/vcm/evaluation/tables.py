"""The tables of an evaluation: every number (`cases.csv`), means (`summary.csv`, `summary.json`), and for people."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vcm.core.csv_tables import csv_text
from vcm.evaluation.measures.measurement import CONTROLLED, RECONSTRUCTION
from vcm.evaluation.result_store import CaseResult
from vcm.evaluation.summary import SummaryRow
from vcm.outputs.atomic_files import write_json, write_text

CASES, SUMMARY, SUMMARY_WORDS, SUMMARY_DATA = "cases.csv", "summary.csv", "summary.md", "summary.json"
CASE_COLUMNS = ("case", "images", "conditions", "structure", "measure", "value", "remark")


def write_cases(folder: Path, results: Iterable[CaseResult]) -> None:
    """A row a case, image and measure; numbers are written in full, and what was not measured is empty."""
    rows = [
        [r.case, m.images, m.conditions, m.structure, m.measure, "" if m.value is None else repr(m.value), m.remark]
        for r in results
        for m in r.measurements
    ]
    write_text(folder / CASES, csv_text([CASE_COLUMNS, *rows]))


def write_summary(folder: Path, cohort: str, rows: Sequence[SummaryRow]) -> None:
    """Mean, 95 % interval and number of values, a group of columns for each kind of image."""
    images = columns_of(rows)
    heading = ["cases", "conditions", "structure", "measure"]
    for name in images:
        heading += [name, f"{name}_low", f"{name}_high", f"{name}_n"]
    table = [[*heading, "controlled_over_reconstruction", "remark"]]
    for row in rows:
        cells = [cohort, row.conditions, row.structure, row.measure]
        for name in images:
            mean = row.columns.get(name)
            cells += [_number(mean.mean), _number(mean.low), _number(mean.high), str(mean.count)] if mean else [""] * 4
        table.append([*cells, _number(row.share_of_reconstruction), row.remark])
    write_text(folder / SUMMARY, csv_text(table))


def write_data(folder: Path, about: Mapping[str, Any], rows: Sequence[SummaryRow]) -> dict[str, Any]:
    """The summary for machines, and for `vcm evaluate compare`."""
    data = {
        **about,
        "rows": [
            {
                "conditions": row.conditions,
                "structure": row.structure,
                "measure": row.measure,
                "remark": row.remark,
                **{
                    name: {"mean": mean.mean, "low": mean.low, "high": mean.high, "n": mean.count}
                    for name, mean in row.columns.items()
                },
            }
            for row in rows
        ],
    }
    write_json(folder / SUMMARY_DATA, data)
    return data


def summary_words(title: str, facts: Sequence[str], rows: Sequence[SummaryRow], left_out: Mapping[str, str]) -> str:
    """The summary in Markdown: a table of what was given for each set of conditions, and why what is missing was not
    measured. What was not given stands in the other tables."""
    images = columns_of(rows)
    lines = [f"# {title}", "", *facts, "", "Mean and 95 % confidence interval over the cases.", ""]
    for conditions in dict.fromkeys(row.conditions for row in rows):
        if conditions:
            lines += [f"## Given: {conditions.replace('+', ', ')}", ""]
        share = CONTROLLED in images and RECONSTRUCTION in images
        heading = ["structure", "measure", *images, *(["controlled ÷ reconstruction"] if share else [])]
        lines += [_line(heading), _line(["---"] * len(heading))]
        for row in rows:
            if row.conditions == conditions and row.measured and row.given:
                cells = [_cell(row, name) for name in images]
                ratio = row.share_of_reconstruction
                cells += [f"{ratio:.2f}" if ratio is not None else ""] if share else []
                lines.append(_line([row.structure, row.kind.heading, *cells]))
        lines.append("")
    lines += _remarks(rows)
    if left_out:
        lines += ["## Left out", "", *(f"- {case}: {reason}" for case, reason in left_out.items()), ""]
    return "\n".join(lines)


def columns_of(rows: Sequence[SummaryRow]) -> list[str]:
    """The kinds of images, in the order they were given."""
    return list(dict.fromkeys(name for row in rows for name in row.columns))


def _remarks(rows: Sequence[SummaryRow]) -> list[str]:
    subjects: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.remark and row.given:
            subjects.setdefault(row.remark, {})[f"{row.structure}, {row.kind.title}"] = None
    listed = [f"- {'; '.join(names)}: {remark}." for remark, names in subjects.items()]
    return ["## Remarks", "", *listed, ""] if listed else []


def _cell(row: SummaryRow, name: str) -> str:
    mean = row.columns.get(name)
    if mean is None or not mean.count:
        return "–"
    if not math.isfinite(mean.low):
        return f"{mean.mean:.{row.kind.digits}f}"
    return mean.words(row.kind.digits)


def _line(cells: Iterable[str]) -> str:
    """A row of Markdown; a bar within a cell would begin another one."""
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def _number(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else repr(value)
