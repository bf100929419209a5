"""What an evaluation on cases leaves beside the cases themselves: tables, plots, a sheet of the first cases."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vcm.evaluation.control_evaluation import ControlEvaluation, Evaluation
from vcm.evaluation.measures.measurement import CONTROLLED, RECONSTRUCTION, UNCONTROLLED, Made
from vcm.evaluation.summary import CORRELATION, SummaryRow
from vcm.evaluation.tables import SUMMARY_WORDS, summary_words, write_cases, write_data, write_summary
from vcm.outputs.atomic_files import write_text
from vcm.reporting.case_sheet import SheetRow, case_sheet
from vcm.reporting.charts import Estimate, Scatter, interval_chart, scatter_chart
from vcm.reporting.montage import save_picture

DICE_PICTURE, VOLUMES_PICTURE, CASES_PICTURE = "dice.png", "volumes.png", "cases.png"


def write_outcome(evaluation: Evaluation, run: ControlEvaluation, cohort: Path) -> dict[str, Any]:
    """Write everything and give the summary as data."""
    folder, settings = evaluation.store.folder, evaluation.settings
    name = cohort.resolve().name
    count = len(evaluation.results)
    title = f"{settings['control']} on {count} cases of {name}"
    write_cases(folder, evaluation.results)
    write_summary(folder, name, evaluation.rows)
    _write_pictures(evaluation, run, cohort, title)
    facts = [
        f"Backbone {settings['backbone']}, {settings['steps']} steps, {settings['precision']} on {settings['device']}; "
        f"case n starts from the noise of seed {settings['seed']} + n, and its uncontrolled twin from the same noise "
        f"with the same attributes. Measured by {settings['segmenter']}. Everything here is synthetic: research only."
    ]
    if "layout" in settings:
        facts.append(f"What was given was completed to whole heads by the layout {settings['layout']}.")
    write_text(folder / SUMMARY_WORDS, summary_words(title, facts, evaluation.rows, evaluation.left_out))
    about = {**settings, "cohort": name, "cases": count, "left_out": dict(evaluation.left_out)}
    return write_data(folder, about, evaluation.rows)


def _write_pictures(evaluation: Evaluation, run: ControlEvaluation, cohort: Path, title: str) -> None:
    folder = evaluation.store.folder
    full = evaluation.every[0]
    rows = [row for row in evaluation.rows if row.conditions == full.conditions]
    subtitle = f"given: {full.conditions.replace('+', ', ')}"
    if dice := dice_rows(rows):
        save_picture(folder / DICE_PICTURE, interval_chart(dice, title=f"Dice: {title}", subtitle=subtitle))
    if panels := _scatters(evaluation, rows):
        chart = scatter_chart(panels, title=f"Volumes: {title}", across="ml asked for", up="ml obtained")
        save_picture(folder / VOLUMES_PICTURE, chart)
    if sheet := _sheet_rows(evaluation, run, cohort):
        save_picture(folder / CASES_PICTURE, case_sheet(sheet, title=title, subtitle=subtitle))


def dice_rows(rows: Sequence[SummaryRow]) -> dict[str, dict[str, Estimate]]:
    """The Dice of each structure by what was measured, where it was."""
    found = {}
    for row in rows:
        if row.measure == "dice" and row.measured:
            known = {name: mean for name, mean in row.columns.items() if mean.count}
            found[_short(row.structure, rows)] = {name: Estimate(m.mean, m.low, m.high) for name, m in known.items()}
    return found


def _scatters(evaluation: Evaluation, rows: Sequence[SummaryRow]) -> list[Scatter]:
    panels = []
    for row in rows:
        if row.measure != CORRELATION:
            continue
        pairs: dict[str, list[tuple[float, float]]] = {}
        for result in evaluation.results:
            by_image: dict[str, dict[str, float]] = {}
            for m in result.measurements:
                if m.structure == row.structure and m.conditions in ("", row.conditions) and m.value is not None:
                    by_image.setdefault(m.images, {})[m.measure] = m.value
            for images, values in by_image.items():
                if images != RECONSTRUCTION and {"requested_ml", "obtained_ml"} <= set(values):
                    pairs.setdefault(images, []).append((values["requested_ml"], values["obtained_ml"]))
        if pairs:
            panels.append(Scatter(_short(row.structure, rows), _correlations(row), pairs))
    return panels


def _correlations(row: SummaryRow) -> str:
    parts = []
    for images, words in ((CONTROLLED, "r ="), (UNCONTROLLED, "uncontrolled")):
        mean = row.columns.get(images)
        if mean is not None and mean.count:
            shown = math.isfinite(mean.low) and images == CONTROLLED
            parts.append(f"{words} {mean.mean:.2f}" + (f" ({mean.low:.2f}–{mean.high:.2f})" if shown else ""))
    return ", ".join(parts)


def _short(structure: str, rows: Sequence[SummaryRow]) -> str:
    """Without the name of its label map, where there is no other condition it could be of."""
    others = {row.structure.split(": ")[0] for row in rows if row.measure == "dice"}
    return structure.rsplit(": ", maxsplit=1)[-1] if len(others) == 1 else structure


def _sheet_rows(evaluation: Evaluation, run: ControlEvaluation, cohort: Path) -> list[SheetRow]:
    shown = {
        "Controlled": evaluation.every[0],
        "Uncontrolled": Made(UNCONTROLLED),
        "Reconstruction": Made(RECONSTRUCTION),
    }
    results = {result.case: result for result in evaluation.results}
    rows = []
    for entry in run.options.cases(cohort)[: run.options.pictured]:
        if entry.name not in results or not evaluation.store.has_images(entry.name, list(shown.values())):
            continue
        case = run.read(entry)
        images = {name: evaluation.store.image(entry.name, made) for name, made in shown.items()}
        caption = f"case {entry.name}, {entry.head}" + _dice_words(
            results[entry.name].measurements, evaluation.every[0]
        )
        rows.append(SheetRow(caption, {"Case": case.image, **images}, case.conditions))
    return rows


def _dice_words(measurements: Sequence[Any], made: Made) -> str:
    found: Mapping[str, float] = {
        m.structure: m.value
        for m in measurements
        if m.measure == "dice" and m.value is not None and Made(m.images, m.conditions) == made
    }
    chosen = {name: value for name, value in found.items() if ":" not in name or name.endswith(": mean")}
    return "".join(f" · Dice of {name} {value:.2f}" for name, value in chosen.items())
