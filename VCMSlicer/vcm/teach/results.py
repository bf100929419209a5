"""What came of a teaching on the cases it never learned from: figures with their intervals, and pictures."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vcm.judging.mean_interval import mean_with_interval
from vcm.training.control.run import ControlRun
from vcm.training.control.validation import outlined_mask
from vcm.training.trainer.checkpoint import BEST, load_checkpoint
from vcm.training.trainer.validation_sheet import row_of

WAYS = ("controlled", "uncontrolled", "reconstructed")


@dataclass(frozen=True)
class HeldOutResult:
    """One case: figures as of `ValidatedCase`, volumes in ml by structure, and PNGs by what they show."""

    case: str
    head: str
    figures: Mapping[str, float]
    asked_ml: Mapping[str, float]
    got_ml: Mapping[str, float]
    pictures: Mapping[str, bytes]


@dataclass(frozen=True)
class MeasureRow:
    """One measure's means with their 95 % intervals, by way; `dice` separates it from an error. `gain` is the mean
    improvement by the control, case by case, with its interval."""

    name: str
    dice: bool
    means: Mapping[str, tuple[float, float, float]]
    gain: tuple[float, float, float]


def try_best(
    run: ControlRun, heads: Mapping[str, str], on_case: Callable[[int, int], object]
) -> tuple[int, list[HeldOutResult]]:
    """The step of the best weights, and what they make of every held-out case; the processes share the cases."""
    trainer, validator = run.trainer, run.task.validator
    assert validator is not None
    best = load_checkpoint(trainer.folder / BEST)
    network = trainer.average.network
    network.load_state_dict(best["average"])
    control = run.task.control.with_network(network)
    mine = trainer.team.share(len(validator.cases))
    results = []
    for done, place in enumerate(mine, 1):
        case, found = validator.cases[place], validator.validate_case(control, place)
        mask = outlined_mask(validator.conditions(case))
        images = {"real": case.image(), "controlled": found.sample.array, "uncontrolled": found.twin.array}
        pictures = {
            way: _png(row_of([array], run.pack.backbone.grid, mask, outlined=(0,))) for way, array in images.items()
        }
        result = HeldOutResult(case.name, heads[case.name], dict(found.figures), found.asked_ml, found.got_ml, pictures)
        results.append((place, result))
        on_case(done, len(mine))
    gathered = sorted(trainer.team.gather(results), key=lambda pair: pair[0])
    return best["step"], [result for _, result in gathered]


def summarise(results: Sequence[HeldOutResult], judged: bool) -> list[MeasureRow]:
    """A row for Dice where structures were judged, and one for each image's squared error."""
    names = [name.removesuffix("_controlled") for name in results[0].figures if name.endswith("_controlled")]
    rows = [MeasureRow("Dice", True, _means(results, ""), _gain(results, ""))] if judged else []
    for name in names:
        means, gain = _means(results, f"{name}_"), _gain(results, f"{name}_")
        gain = -gain[0], -gain[2], -gain[1]
        rows.append(MeasureRow(f"{name.removesuffix('_mse')}, squared error", False, means, gain))
    return rows


def summary_words(rows: Sequence[MeasureRow], cases: int, step: int) -> str:
    """The table in Markdown, for the pack's card."""
    lines = [
        f"Mean over {cases} held-out cases (95 % confidence interval), with the weights of step {step}, which were "
        "chosen on the first of these cases.",
        "",
        "| | with the control | same noise without it | autoencoder's reconstruction |",
        "|---|---|---|---|",
        *(f"| {row.name} | {' | '.join(in_words(row.means[way], cases) for way in WAYS)} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def in_words(mean: tuple[float, float, float], cases: int) -> str:
    """A mean with its interval.

    >>> in_words((0.5, 0.41, 0.59), 9), in_words((0.00021, 0.0001, 0.0003), 9), in_words((0.5, 0.5, 0.5), 1)
    ('0.50 (0.41–0.59)', '0.00021 (0.00010–0.00030)', '0.50')
    """
    digits = 2 if abs(mean[0]) >= 0.01 or mean[0] == 0 else 5
    if cases < 2:
        return f"{mean[0]:.{digits}f}"
    return f"{mean[0]:.{digits}f} ({mean[1]:.{digits}f}–{mean[2]:.{digits}f})"


def _means(results: Sequence[HeldOutResult], prefix: str) -> dict[str, tuple[float, float, float]]:
    return {way: mean_with_interval([result.figures[f"{prefix}{way}"] for result in results]) for way in WAYS}


def _gain(results: Sequence[HeldOutResult], prefix: str) -> tuple[float, float, float]:
    """Each case is its own comparison: both samples began with the same noise."""
    return mean_with_interval(
        [result.figures[f"{prefix}controlled"] - result.figures[f"{prefix}uncontrolled"] for result in results]
    )


def _png(picture: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()
