"""What each label looks like in each contrast: T1 by measured priors, T2 and FLAIR by the physics of a spin echo.

A folder of label maps has priors for T1w images. It may have its own for the others (`t2_prior`, `flair_prior`);
without them their means follow from each tissue's relaxation times in `tissues.json`, which names their source.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vcm.cohort.making.label_maps import IntensityPrior, LabelTable
from vcm.core.errors import Code, VcmError
from vcm.core.reading import read_json

T1 = "t1"
FURTHER_CONTRASTS = ("t2", "flair")
"""What can be made beside T1, in an order that never changes: the place of each seeds its randomness."""

TISSUES = Path(__file__).with_name("tissues.json")
BRIGHTEST = 220.0
"""Where the brightest tissue stands on the priors' scale of 0–255."""


@dataclass(frozen=True, eq=False)
class Contrast:
    """One contrast of a head: label n (by its position in the table) looks like row `row[n]` of the prior."""

    row: NDArray[np.int64]
    prior: IntensityPrior

    @classmethod
    def of(cls, table: LabelTable, name: str) -> Contrast:
        """The contrast `t1`, `t2` or `flair` of a table of labels."""
        if name in table.priors:
            return cls(table.contrast, table.priors[name])
        return _by_physics(table, name)


def further_contrasts(names: Iterable[str]) -> tuple[str, ...]:
    """What is wanted beside T1, each once and in the fixed order.

    >>> further_contrasts(["flair", "t1", "t2"])
    ('t2', 'flair')
    """
    wanted = {name.strip().lower() for name in names}
    unknown = sorted(wanted - {T1, *FURTHER_CONTRASTS})
    if unknown:
        raise VcmError(
            Code.BAD_REQUEST,
            f"There is no contrast {', '.join(map(repr, unknown))}; heads can be made in t1, t2 and flair.",
        )
    return tuple(name for name in FURTHER_CONTRASTS if name in wanted)


def spin_echo_signal(
    t1_ms: float, t2_ms: float, density: float, tr_ms: float, te_ms: float, ti_ms: float | None
) -> float:
    """The magnitude of a spin echo, relative to a proton density of 1; with `ti_ms` after an inversion.

    ρ·|1 − exp(−TR/T1)|·exp(−TE/T2), or ρ·|1 − 2·exp(−TI/T1) + exp(−TR/T1)|·exp(−TE/T2) after an inversion.

    >>> round(spin_echo_signal(2569, 329, 1.0, 5000, 90, None), 2)
    0.65
    """
    recovered = 1 - math.exp(-tr_ms / t1_ms)
    if ti_ms is not None:
        recovered = 1 - 2 * math.exp(-ti_ms / t1_ms) + math.exp(-tr_ms / t1_ms)
    return density * abs(recovered) * math.exp(-te_ms / t2_ms)


def _by_physics(table: LabelTable, name: str) -> Contrast:
    known = _tissues()
    sequence, tissues = known["sequences"][name], known["tissues"]
    place = {label: list(tissues).index(tissue) for tissue, labels in known["labels"].items() for label in labels}
    unknown = [int(label) for label in table.labels if int(label) not in place]
    if unknown:
        raise VcmError(
            Code.CONDITION,
            f"What labels {', '.join(map(str, unknown[:8]))} look like in a {name} image is not known.",
            f"Give a {name}_prior beside the t1_prior in labels.json.",
        )
    times = {key: sequence[key] for key in ("tr_ms", "te_ms", "ti_ms")}
    signal = np.array([spin_echo_signal(t["t1_ms"], t["t2_ms"], t["density"], **times) for t in tissues.values()])
    mean = signal / signal.max() * BRIGHTEST
    prior = IntensityPrior(
        mean=mean,
        mean_sd=mean * sequence["spread"],
        texture=mean * np.array([tissue["texture"] for tissue in tissues.values()]),
    )
    return Contrast(np.array([place[int(label)] for label in table.labels]), prior)


@lru_cache
def _tissues() -> dict[str, Any]:
    entry: dict[str, Any] = read_json(TISSUES)
    return entry
