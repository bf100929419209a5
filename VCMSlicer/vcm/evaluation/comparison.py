"""`vcm evaluate compare`: several evaluations in one plot, such as Dice over the number of training cases."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vcm.core.errors import MALFORMED, Code, VcmError
from vcm.core.reading import missing_as, read_json
from vcm.evaluation.measures.measurement import CONTROLLED, KINDS, RECONSTRUCTION, UNCONTROLLED
from vcm.evaluation.tables import SUMMARY_DATA
from vcm.outputs.claims import claim_file
from vcm.reporting.charts import COLOURS, Curve, Estimate, curve_chart, interval_chart
from vcm.reporting.montage import save_picture
from vcm.reporting.montage_columns import STRUCTURE_COLOURS


@dataclass(frozen=True)
class Compared:
    """One evaluation: its series, its place on the curve (None where its name is no number), its summary's content
    and file."""

    series: str
    place: float | None
    data: Mapping[str, Any]
    file: Path


def read_compared(text: str) -> Compared:
    """`NAME=FOLDER`. A name that is a number is the place on the curve; `SERIES:NUMBER` names its line too."""
    name, separator, folder = text.partition("=")
    if not separator or not name or not folder:
        raise VcmError(
            Code.BAD_REQUEST,
            f"Evaluations are compared as NAME=FOLDER; {text!r} was given.",
            "For example: vcm evaluate compare 10=ten 50=fifty 500=all --out curve.png",
        )
    path = Path(folder) / SUMMARY_DATA
    with missing_as(f"There is no {SUMMARY_DATA} in {folder}.", "Give the folder of a finished evaluation."):
        data = read_json(path)
    try:
        data["rows"][0]["structure"]
    except MALFORMED as error:
        raise VcmError(Code.FILE_UNREADABLE, f"{path} is not the summary of an evaluation.") from error
    series, colon, number = name.rpartition(":")
    place = _number(number)
    return Compared(series if colon and place is not None else "" if place is not None else name, place, data, path)


def compare(
    every: Sequence[Compared], out: Path, measure: str = "dice", structure: str | None = None
) -> dict[str, Any]:
    """Draw the comparison and give its numbers; without `structure`, the first that all of them measured."""
    if measure not in KINDS:
        raise VcmError(Code.BAD_REQUEST, f"There is no measure {measure}.", f"There are: {', '.join(KINDS)}.")
    chosen = structure or _common_structure(every, measure)
    rows = [_row(one, measure, chosen) for one in every]
    title = f"{KINDS[measure].title} of {chosen}"
    cohorts = {str(one.data.get("cohort", "")): one.data.get("cases", "?") for one in every}
    subtitle = "; ".join(f"{count} cases of {name}" for name, count in cohorts.items())
    if len(cohorts) > 1:
        subtitle += " (different cases: compare with care)"
    if all(one.place is not None for one in every):
        curves = _curves(every, rows)
        unit = KINDS[measure].unit
        picture = curve_chart(
            curves,
            title=title,
            subtitle=subtitle,
            across="training cases",
            up=f"{KINDS[measure].title}{f', {unit}' if unit else ''}",
        )
    else:
        named = {_name(one): _estimates(row) for one, row in zip(every, rows, strict=True)}
        picture = interval_chart(named, title=title, subtitle=subtitle, unit=KINDS[measure].unit)
    with claim_file(out, inputs=[one.file for one in every]):
        save_picture(out, picture)
    found = [
        {"name": _name(one), **{k: v for k, v in row.items() if isinstance(v, dict)}}
        for one, row in zip(every, rows, strict=True)
    ]
    return {"measure": measure, "structure": chosen, "evaluations": found}


def _curves(every: Sequence[Compared], rows: Sequence[Mapping[str, Any]]) -> list[Curve]:
    lines: dict[str, list[tuple[float, Estimate]]] = {}
    levels: dict[str, list[tuple[float, Estimate]]] = {UNCONTROLLED: [], RECONSTRUCTION: []}
    for one, row in zip(every, rows, strict=True):
        assert one.place is not None
        found = _estimates(row)
        name = one.series or CONTROLLED
        if CONTROLLED in found:
            lines.setdefault(name, []).append((one.place, found[CONTROLLED]))
        for level, points in levels.items():
            if level in found:
                points.append((one.place, Estimate(found[level].mean)))
    curves = [
        Curve(name, STRUCTURE_COLOURS[n % len(STRUCTURE_COLOURS)], points)
        for n, (name, points) in enumerate(lines.items())
    ]
    return curves + [Curve(name, COLOURS[name], points, dashed=True) for name, points in levels.items() if points]


def _common_structure(every: Sequence[Compared], measure: str) -> str:
    names = [[row["structure"] for row in one.data["rows"] if _is_known(row, measure)] for one in every]
    common = next((name for name in names[0] if all(name in others for others in names)), None) if names else None
    if common is None:
        raise VcmError(Code.BAD_REQUEST, f"No structure has the measure {measure} in all of these evaluations.")
    return common


def _row(one: Compared, measure: str, structure: str) -> Mapping[str, Any]:
    for row in one.data["rows"]:
        if row["structure"] == structure and _is_known(row, measure):
            return row
    raise VcmError(Code.BAD_REQUEST, f"The evaluation {_name(one)} has no {measure} of {structure}.")


def _is_known(row: Mapping[str, Any], measure: str) -> bool:
    return row["measure"] == measure and any(isinstance(v, dict) and v.get("n") for v in row.values())


def _estimates(row: Mapping[str, Any]) -> dict[str, Estimate]:
    return {
        name: Estimate(cell["mean"], *(math.nan if cell[end] is None else cell[end] for end in ("low", "high")))
        for name, cell in row.items()
        if isinstance(cell, dict) and cell.get("n")
    }


def _name(one: Compared) -> str:
    number = "" if one.place is None else f"{one.place:g}"
    return " ".join(part for part in (one.series, number) if part)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None
