"""The course of the learning rate over a training."""

from __future__ import annotations

import math

from vcm.training.trainer.settings import TrainingSettings


def rate_factor(step: int, settings: TrainingSettings) -> float:
    """The learning rate at `step` (from 0) as a share of its height: a ramp, times a cosine, a line, or no change.

    A first phase has a ramp of its own and no descent.

    >>> settings = TrainingSettings(steps=100, warmup=10, final_rate=0.1)
    >>> [round(rate_factor(step, settings), 2) for step in (0, 9, 50, 100)]
    [0.1, 0.98, 0.55, 0.1]
    >>> round(rate_factor(50, TrainingSettings(steps=100, warmup=10, final_rate=0.1, course="linear")), 2)
    0.55
    """
    first = settings.first_phase
    since, of = (step, first) if step < first else (step - first, settings.steps - first)
    ramp = min((since + 1) / settings.warmup, 1.0) if settings.warmup else 1.0
    if step < first or settings.course == "constant":
        return ramp
    done = min(since / of, 1.0)
    left = 0.5 * (1 + math.cos(math.pi * done)) if settings.course == "cosine" else 1 - done
    return ramp * (settings.final_rate + (1 - settings.final_rate) * left)
