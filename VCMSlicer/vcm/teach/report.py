"""The one page that shows how well samples follow what a control was taught: HTML that needs no other file."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from vcm import __version__
from vcm.core.findings import Level
from vcm.core.reading import read_json
from vcm.reporting.charts import CEILING, TAUGHT, WITHOUT, Points, learning_curve
from vcm.teach.case_check import CheckedCases
from vcm.teach.pace import duration
from vcm.teach.record import TeachRecord
from vcm.teach.results import WAYS, HeldOutResult, MeasureRow, in_words
from vcm.training.control.run import ControlRun

if TYPE_CHECKING:
    from vcm.teach.request import TeachRequest

REPORT = "report.html"
SHOWN = 4
WORDS = {"controlled": "with the control", "uncontrolled": "same noise, without it", "reconstructed": "reconstruction"}

STYLE = """
:root { --ink: #161a22; --soft: #485062; --line: #dee2e8; --good: #007a5c; }
* { box-sizing: border-box; }
body { font: 14px/1.45 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; color: var(--ink); margin: 0 auto;
  max-width: 900px; padding: 22px 26px; background: #fff; }
h1 { font-size: 24px; margin: 0; line-height: 1.2; } h2 { font-size: 15px; margin: 20px 0 6px; }
p { margin: 4px 0; } .soft { color: var(--soft); }
.notice { background: #fff3dc; border-left: 4px solid #c46e00; padding: 6px 10px; margin: 12px 0; }
.verdict { font-size: 17px; margin: 12px 0 4px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 4px 10px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; color: var(--soft); } td.first { font-weight: 600; color: var(--good); }
.curves { display: flex; gap: 14px; } .curves figure { flex: 1; }
figure { margin: 0; } img { width: 100%; display: block; }
.cases { display: grid; grid-template-columns: repeat(3, 1fr); gap: 4px 8px; } .cases .row { grid-column: 1 / -1; }
.head { font-size: 12px; color: var(--soft); } .row { margin-top: 6px; font-size: 13px; }
ul { margin: 4px 0; padding-left: 18px; } code { font-size: 12px; overflow-wrap: anywhere; }
footer { margin-top: 18px; border-top: 1px solid var(--line); padding-top: 6px; font-size: 12px; color: var(--soft); }
@page { size: A4; margin: 12mm; }
@media print { body { max-width: none; padding: 0; zoom: 0.72; print-color-adjust: exact;
  -webkit-print-color-adjust: exact; } h2 { margin-top: 10px; } figure, .row, tr { break-inside: avoid; } }
"""


@dataclass(frozen=True, eq=False)
class TeachReport:
    """The content of the page."""

    request: TeachRequest
    run: ControlRun
    record: TeachRecord
    checked: CheckedCases
    results: tuple[HeldOutResult, ...]
    rows: tuple[MeasureRow, ...]
    how: str
    step: int
    hardware: str


def report_page(report: TeachReport) -> str:
    """The page."""
    taught = ", ".join(spec.description or spec.name for spec in report.run.task.cache.specs)
    split = report.record.split
    body = [
        f"<h1>Teaching {_text(report.run.pack.name)}: {_text(taught)}</h1>",
        f"<p class='soft'>The pack <b>{_text(report.request.name)}</b>, taught with {len(split.learned)} cases and "
        f"tried on {len(split.held_out)} cases of {len(split.heads)} heads it never saw.</p>",
        "<p class='notice'><b>Synthetic, research only.</b> Every image the pack makes is synthetic. It is no "
        "diagnostic, and no image of it shows a patient.</p>",
        f"<p class='verdict'>{_text(verdict(report.rows[0], report.results))}</p>",
        _measures(report),
        "<h2>While it learned</h2>",
        _curves(report),
        "<h2>Held-out cases</h2>",
        _pictures(report.results),
        _cases_table(report.results),
        "<h2>How it was taught</h2>",
        _list([*report.record.reasons, _course(report)]),
        f"<p><code>{_text(report.request.command)}</code></p>",
        "<h2>The cases</h2>",
        _cases(report.checked),
        f"<footer>VCMSlicer {__version__} · backbone {_text(report.run.pack.name)}, denoiser "
        f"{report.run.pack.backbone.files['denoiser'].sha256[:12]} · synthetic, research only</footer>",
    ]
    title = f"{report.request.name}: teaching report (synthetic, research only)"
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{_text(title)}</title><style>{STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


REASONS = {
    "NO_CONDITION": "nothing of the condition is labelled there",
    "ATTRIBUTE": "an attribute that the backbone needs is missing",
    "EMPTY": "the image is the same everywhere",
    "INTENSITIES": "intensities outside 0 to 1",
    "TWICE": "the image of another case, voxel by voxel",
    "FILE_MISSING": "a file is missing",
    "FILE_UNREADABLE": "a file cannot be read",
    "GEOMETRY": "it does not lie on the backbone's grid",
}

LEAST_GAIN, CLEAR_GAIN = 0.05, 0.25
"""Parts of what could be gained: less than the first is no effect, less than the second a weak one."""
FEWEST_CASES = 5
"""Of fewer held-out cases nothing is claimed."""
MOST_VOLUME_ERROR = 0.25


def verdict(row: MeasureRow, results: Sequence[HeldOutResult]) -> str:
    """The main figure in a sentence, which claims adherence by the size of the effect and the number of cases."""
    cases = len(results)
    with_it, without, best = (row.means[way][0] for way in WAYS)
    figures = f"{row.name} {_number(with_it)} with the control, {_number(without)} without it from the same noise"
    gain, sure, _ = row.gain
    room = abs(best - without)
    share = gain / room if room else math.inf
    if room and gain > 0:
        figures += f", {share:.0%} of the way to the autoencoder's own reconstruction ({_number(best)})"
    if gain <= 0 or share < LEAST_GAIN:
        return f"The samples do not follow the condition: {figures}."
    few = (
        f"{cases} held-out case{'s are' if cases > 1 else ' is'} too few to judge; at least {FEWEST_CASES} are needed."
    )
    if cases < FEWEST_CASES:
        return f"The samples may follow the condition: {figures}. {few}{_volumes_in_words(results)}"
    interval = f"The gain is {in_words(row.gain, cases)}."
    if sure <= LEAST_GAIN * room or share < CLEAR_GAIN:
        return f"The samples follow the condition weakly at most: {figures}. {interval}{_volumes_in_words(results)}"
    return f"The samples follow the condition: {figures}. {interval}{_volumes_in_words(results)}"


def _volumes_in_words(results: Sequence[HeldOutResult]) -> str:
    """A warning where structures come out too large or too small in the mean, which an overlap may hide."""
    words = []
    for name in results[0].got_ml:
        asked, got = (sum(getattr(r, ml).get(name, 0.0) for r in results) for ml in ("asked_ml", "got_ml"))
        if asked > 0 and abs(got / asked - 1) > MOST_VOLUME_ERROR:
            words.append(f"{name} {got / asked:.1f} times")
    return f" In the mean, volumes are not those asked for: {', '.join(words)}." if words else ""


def _measures(report: TeachReport) -> str:
    cases = len(report.results)
    head = "".join(f"<th>{WORDS[way]}</th>" for way in WAYS)
    rows = "".join(
        f"<tr><th>{_text(row.name)}</th>"
        + "".join(
            f"<td{' class=first' if way == 'controlled' else ''}>{in_words(row.means[way], cases)}</td>" for way in WAYS
        )
        + "</tr>"
        for row in report.rows
    )
    interval = " with 95 % confidence interval (bootstrap)" if cases > 1 else ""
    return (
        f"<table><tr><th></th>{head}</tr>{rows}</table><p class='soft'>Mean over {cases} held-out "
        f"case{'s' if cases > 1 else ''}{interval}; Dice: 1 is perfect overlap. The reconstruction is the case's real "
        "image sent through the autoencoder and is the best this backbone can show. The checkpoint was chosen on the "
        f"first {min(report.run.task.validation_size, cases)} of them, so the figures are slightly optimistic.</p>"
    )


def _curves(report: TeachReport) -> str:
    log, columns = report.run.trainer.log.rows, report.run.trainer.log.columns

    def points(name: str) -> Points:
        at = columns.index(name)
        return [(float(row[0]), float(row[at])) for row in log if math.isfinite(float(row[at]))]

    error = learning_curve(
        {"with control": (points("v_error"), TAUGHT), "without": (points("v_error_uncontrolled"), WITHOUT)}, {},
        up="error of v on learned cases",
    )  # fmt: skip
    tries = [read_json(path) for path in sorted(report.request.folder.glob("validated-*.json"))]
    dice = report.rows[0].dice
    scores = learning_curve(
        {"with control": ([(entry["step"], entry["controlled"]) for entry in tries], TAUGHT)},
        {"without": (tries[-1]["uncontrolled"], WITHOUT), "reconstruction": (tries[-1]["reconstructed"], CEILING)},
        up=f"{'Dice' if dice else 'minus the squared error'} on {tries[-1]['cases']} held-out cases",
        within=(0.0, 1.0) if dice else (math.nan, math.nan),
        kept=report.step,
    )
    return (
        f"<div class='curves'><figure>{_image(error, 'Error with and without the control over the steps')}</figure>"
        f"<figure>{_image(scores, 'Figures of held-out cases over the steps')}</figure></div>"
        f"<p class='soft'>The weights of step {report.step} are in the pack.</p>"
    )


def _pictures(results: Sequence[HeldOutResult]) -> str:
    heads = {
        "real": "the case's own image", "controlled": "synthetic, with the control",
        "uncontrolled": "synthetic, same noise, without",
    }  # fmt: skip
    cells = [f"<div class='head'>{words}</div>" for words in heads.values()]
    for number, result in enumerate(results[:SHOWN], 1):
        cells.append(f"<div class='row'>case {number}</div>")
        for way, words in heads.items():
            cells.append(f"<figure>{_png(result.pictures[way], f'{words}, case {number}')}</figure>")
    more = f" The first {SHOWN} of {len(results)} are shown." if len(results) > SHOWN else ""
    return (
        f"<div class='cases'>{''.join(cells)}</div><p class='soft'>Axial, coronal, sagittal; the patient's right is on "
        f"the left. The outline is what was asked for.{more}</p>"
    )


def _cases_table(results: Sequence[HeldOutResult]) -> str:
    # Cases and heads are numbered: their names may be those of files and of patients, and the report is given away.
    structures, heads = list(results[0].asked_ml), list(dict.fromkeys(result.head for result in results))
    few = structures[:3]
    head = "".join(f"<th>{_text(name)}, asked → got</th>" for name in few)
    rows = []
    for number, result in enumerate(results, 1):
        volumes = "".join(f"<td>{result.asked_ml[n]:.1f} → {result.got_ml[n]:.1f} ml</td>" for n in few)
        scores = "".join(f"<td>{_number(result.figures[way])}</td>" for way in WAYS)
        rows.append(f"<tr><td>{number}</td><td>{heads.index(result.head) + 1}</td>{volumes}{scores}</tr>")
    ways = "".join(f"<th>{WORDS[way]}</th>" for way in WAYS)
    return f"<table><tr><th>case</th><th>head</th>{head}{ways}</tr>{''.join(rows)}</table>"


def _course(report: TeachReport) -> str:
    trainer = report.run.trainer
    early = report.how == "stopped early"
    ended = "it stopped early, as validation no longer improved" if early else "all steps were done"
    return f"{trainer.step} steps in {duration(trainer.seconds)} on {report.hardware}; {ended}."


def _cases(checked: CheckedCases) -> str:
    """How many were used, and how many were left out or doubted for which reason, without their names."""
    counted = f"<p>{len(checked.usable)} of {checked.total} cases were used.</p>"
    kinds = [(finding.level, finding.code) for finding in checked.found]
    return counted + _list(
        f"{kinds.count((level, code))} {'left out' if level is Level.ERROR else 'noticed'}: "
        f"{REASONS.get(code, code.replace('_', ' ').lower())}."
        for level, code in dict.fromkeys(kinds)
    )


def _list(lines: Iterable[str]) -> str:
    items = "".join(f"<li>{_text(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def _image(picture: Image.Image, words: str) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return _png(file.getvalue(), words)


def _png(data: bytes, words: str) -> str:
    return f"<img alt='{_text(words)}' src='data:image/png;base64,{base64.b64encode(data).decode()}'>"


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 0.01 or value == 0 else f"{value:.5f}"


def _text(text: str) -> str:
    return html.escape(text, quote=True)
