"""`vcm evaluate PACK --attribute NAME`: volumes asked of a backbone as a number, and measured, without a control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vcm.conditions.attributes import AttributeSpec, canonical_name
from vcm.core.csv_tables import csv_text
from vcm.core.errors import Code, VcmError
from vcm.core.progress import ProgressMeter
from vcm.evaluation.case_sampler import CaseSampler
from vcm.evaluation.control_evaluation import FORMAT, EvaluationListeners
from vcm.evaluation.measures.measurement import UNCONTROLLED, Made, Measurement
from vcm.evaluation.measures.statistics import correlation_of, mean_of
from vcm.evaluation.result_store import CaseResult, ResultStore
from vcm.judging.segmentation import choose_segmenter
from vcm.outputs.atomic_files import write_json, write_text
from vcm.packs.store import Pack
from vcm.reporting.charts import Scatter, need_matplotlib, scatter_chart
from vcm.reporting.montage import contact_sheet, save_picture

if TYPE_CHECKING:
    from vcm.sampling.generator import Generator

RESPONSE, RESPONSE_WORDS, RESPONSE_DATA, RESPONSE_PICTURE = (
    "response.csv",
    "response.md",
    "response.json",
    "response.png",
)
SHEET_PICTURE = "contact-sheet.png"


@dataclass(frozen=True)
class ResponseOptions:
    """`values` are in the attribute's own unit, by default nine over its range; each is sampled `samples` times. No two
    samples share their noise: the seeds follow each other through the whole table."""

    attribute: str
    values: tuple[float, ...]
    samples: int = 4
    seed: int = 0
    steps: int | None = None
    segmenter: str = "auto"


def parse_values(text: str) -> tuple[float, ...]:
    """Values as a list, or as first:last:count.

    >>> parse_values("5:85:3"), parse_values("10,20")
    ((5.0, 45.0, 85.0), (10.0, 20.0))
    """
    try:
        if ":" in text:
            first, last, count = text.split(":")
            if not 2 <= int(count) <= 1000:
                raise ValueError
            return tuple(float(value) for value in np.linspace(float(first), float(last), int(count)))
        return tuple(float(value) for value in text.split(","))
    except ValueError:
        raise VcmError(
            Code.BAD_REQUEST, f"--values is written 5:85:9 (first:last:count) or 10,20,30; {text!r} was given."
        ) from None


def evaluate_response(
    pack: Pack, generator: Generator, options: ResponseOptions, out: Path, listeners: EvaluationListeners | None = None
) -> dict[str, Any]:
    """Sample and measure every value, write table and plot, and give the summary as data."""
    need_matplotlib()
    listeners = listeners or EvaluationListeners()
    spec = _measurable(pack, options.attribute)
    values = options.values or parse_values(f"{spec.low}:{spec.high}:9")
    raws = [spec.to_raw(value) for value in values]
    choice = choose_segmenter(pack, options.segmenter, device=generator.runtime.device)
    listeners.words(choice.sentence)
    if choice.segmenter is None:
        raise VcmError(
            Code.BAD_REQUEST,
            f"Volumes cannot be measured: {choice.sentence}",
            "Use a pack with a segmenter, or install FreeSurfer 7.3 or newer.",
        )
    sampler = CaseSampler(generator, pack.backbone.sampling, options.steps, listeners.cancelled)
    settings = {
        "format": FORMAT,
        "backbone": pack.name,
        "files": {role: file.sha256 for role, file in pack.manifest.files.items()},
        "attribute": spec.name,
        "seed": options.seed,
        **sampler.settings,
        "device": generator.runtime.device.type,
        "precision": generator.runtime.precision,
        "segmenter": choice.segmenter.name,
    }
    store = ResultStore.open(out, settings)
    jobs = [(value, raw, n) for value, raw in zip(values, raws, strict=True) for n in range(options.samples)]
    meter = ProgressMeter([("sample", 1.0, len(jobs))], listeners.progress)
    asked, got = [], []
    for place, (value, raw, n) in enumerate(jobs):
        seed = options.seed + place
        name, inputs = f"{value:g}-{n}", f"{value!r} from seed {seed}"
        result = store.load(name, inputs)
        if result is None:
            labels = choice.segmenter.segment(sampler.sample({spec.name: raw}, seed))
            ml = float(np.isin(labels.array, spec.structures).sum() * labels.grid.voxel_ml)
            made = Made(UNCONTROLLED)
            rows = [
                Measurement(made.images, "", spec.name, m, v) for m, v in (("requested_ml", value), ("obtained_ml", ml))
            ]
            result = CaseResult(name, tuple(rows))
            store.save(result, inputs)
        meter.advance("sample")
        asked.append(value)
        got.append(next(m.value for m in result.measurements if m.measure == "obtained_ml") or 0.0)
    return _write(store, spec, options, settings, asked, got)


def write_sheet(
    generator: Generator,
    pack: Pack,
    count: int,
    seed: int,
    steps: int | None,
    out: Path,
    listeners: EvaluationListeners | None = None,
) -> Path:
    """A contact sheet of `count` uncontrolled samples; their volumetric attributes are spread over their range."""
    listeners = listeners or EvaluationListeners()
    sampler = CaseSampler(generator, pack.backbone.sampling, steps, listeners.cancelled)
    meter = ProgressMeter([("picture", 1.0, count)], listeners.progress)
    spread = [spec for spec in generator.backbone.attributes if spec.structures]
    volumes, captions = [], []
    for n in range(count):
        share = 0.1 + 0.8 * n / max(count - 1, 1)
        volumes.append(sampler.sample({spread[0].name: share} if spread else {}, seed + n))
        human = spread[0].to_human(share) if spread else None
        asked = f", {spread[0].title.lower()} {human:.0f} {spread[0].unit}" if isinstance(human, float) else ""
        captions.append(f"seed {seed + n}{asked}")
        meter.advance("picture")
    save_picture(out / SHEET_PICTURE, contact_sheet(volumes, captions, title=f"{pack.name}, uncontrolled"))
    return out / SHEET_PICTURE


def _measurable(pack: Pack, attribute: str) -> AttributeSpec:
    specs = {spec.name: spec for spec in pack.backbone.attributes}
    name = canonical_name(attribute, specs)
    if name not in specs or not specs[name].structures or specs[name].low is None:
        able = [spec.name for spec in specs.values() if spec.structures and spec.low is not None]
        raise VcmError(
            Code.ATTRIBUTE,
            f"{pack.name} has no attribute {name} that can be measured on an image.",
            f"It has {' and '.join(able)}." if able else "",
        )
    return specs[name]


def _write(
    store: ResultStore,
    spec: AttributeSpec,
    options: ResponseOptions,
    settings: dict[str, Any],
    asked: Sequence[float],
    got: Sequence[float],
) -> dict[str, Any]:
    folder, count = store.folder, options.samples
    r = correlation_of(asked, got)
    error = mean_of(abs(a - g) for a, g in zip(asked, got, strict=True))
    pairs = enumerate(zip(asked, got, strict=True))
    rows = [[repr(a), n % count, options.seed + n, repr(g)] for n, (a, g) in pairs]
    write_text(folder / RESPONSE, csv_text([["asked_ml", "sample", "seed", "obtained_ml"], *rows]))
    lines = [
        f"# {spec.title} of {settings['backbone']}, asked for and obtained",
        "",
        f"{len(asked)} uncontrolled samples, {settings['steps']} steps, {settings['precision']}, measured by "
        f"{settings['segmenter']}. Other attributes at the pack's defaults. Everything here is synthetic.",
        "",
        f"Correlation {r.words()}; mean absolute difference {error.words(1)} ml.",
        "",
        "| asked for, ml | obtained, ml: mean (95 % interval) |",
        "| --- | --- |",
    ]
    for n, value in enumerate(asked[::count]):
        lines.append(f"| {value:g} | {mean_of(got[n * count : (n + 1) * count]).words(1)} |")
    write_text(folder / RESPONSE_WORDS, "\n".join([*lines, ""]))
    panel = Scatter(
        spec.title, f"r = {r.words()} · {len(asked)} samples", {"uncontrolled": list(zip(asked, got, strict=True))}
    )
    chart = scatter_chart(
        [panel], title=f"{settings['backbone']}, uncontrolled", across="ml asked for", up="ml obtained"
    )
    save_picture(folder / RESPONSE_PICTURE, chart)
    data = {
        **settings,
        "samples": len(asked),
        "correlation": {"r": r.r, "low": r.low, "high": r.high},
        "mean_absolute_difference_ml": {"mean": error.mean, "low": error.low, "high": error.high},
    }
    write_json(folder / RESPONSE_DATA, data)
    return data
