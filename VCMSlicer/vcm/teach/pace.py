"""An estimate of the training time on this machine, from one measured run of each kind of work."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from vcm.conditions.condition import ConditionSpec
from vcm.machine.runtime import autocast_bf16
from vcm.teach.conditions import TaughtCase
from vcm.training.control.run import open_control_run
from vcm.training.control.settings import ControlSettings
from vcm.training.trainer.task import slots_of
from vcm.training.trainer.team import Team

LONGEST_H = 10
"""A training that would take longer is given fewer steps, so that it is ready the next morning."""

AGAIN = 0.4
"""The cost of validating a held-out case again, as a share of the first time: its twin and reconstruction are kept."""

SAVED_EVERY_S = 30
"""At most about so many seconds of training are lost when it is killed."""


@dataclass(frozen=True)
class Pace:
    """Seconds for the latents of a case, a step, and the first validation of a held-out case; bytes of a checkpoint."""

    latents: float
    step: float
    trial: float
    checkpoint: int

    def seconds(self, settings: ControlSettings, cases: int, trials: int, held_out: int) -> dict[str, float]:
        """The parts of the whole."""
        tries = settings.steps // settings.validate_every
        return {
            "latents": self.latents * cases,
            "steps": self.step * settings.steps,
            "tries": self.trial * trials * (1 + AGAIN * tries),
            "last trial": self.trial * held_out,
        }


def measure_pace(
    settings: ControlSettings,
    specs: Sequence[ConditionSpec],
    learned: Sequence[TaughtCase],
    held_out: TaughtCase,
    latents: Path,
    team: Team,
) -> Pace:
    """Cache two cases, compute the gradient of one step twice and validate one held-out case; only the latents are
    kept."""
    few = learned[:2]
    with tempfile.TemporaryDirectory(prefix="vcm-pace-") as folder:
        run = open_control_run(settings, few, Path(folder), latents=latents, team=team, unseen=[held_out], specs=specs)
        network, task = run.trainer.network, run.task

        @torch.no_grad()
        def encode() -> None:
            image = torch.from_numpy(held_out.image())[None, None].to(team.device)
            with autocast_bf16(team.device):
                float(task.backbone.encode(image).sum())

        encode()
        encoding = _seconds(encode)
        mine = len(team.share(settings.batch))
        slots = slots_of(settings.seed, 0, settings.batch, len(task), range(min(mine, settings.micro_batch or mine)))

        def learn() -> None:
            with autocast_bf16(team.device, settings.precision):
                outcome = task.outcome(network, slots, 0)
            outcome.loss.backward()
            float(outcome.loss.detach())  # waits for the device

        learn()
        step = _seconds(learn) * mine / len(slots)
        validator = task.validator
        assert validator is not None
        control = task.control.with_network(network)
        trial = _seconds(lambda: validator.validate_case(control, 0))
        weights = sum(p.numel() for p in network.parameters())
    return Pace(2 * encoding, step, trial, 16 * weights)


def within_a_night(settings: ControlSettings, pace: Pace, asked: int | None) -> tuple[ControlSettings, list[str]]:
    """Fewer steps where they would take too long, unless so many were asked for; and how often to save."""
    most = max(1, int(LONGEST_H * 3600 / pace.step))
    reasons = []
    if asked is None and settings.steps > most:
        reasons = [
            f"This machine would need {settings.steps * pace.step / 3600:.0f} hours for {settings.steps} steps; "
            f"it is given {most}, so that it is done in {LONGEST_H} hours."
        ]
        settings = replace(settings, steps=most, warmup=min(40, most // 10), validate_every=max(1, most // 8))
    saved = max(1, min(100, int(SAVED_EVERY_S / max(pace.step, 1e-3))))
    return replace(settings, save_every=saved), reasons


def plan_in_words(parts: dict[str, float], minutes: float) -> list[str]:
    """The whole and its parts."""
    whole = sum(parts.values())
    lines = [
        f"It will take about {duration(whole)} here: {duration(parts['latents'])} for latents, "
        f"{duration(parts['steps'])} of learning, {duration(parts['tries'] + parts['last trial'])} of trying held-out "
        "cases. It was measured just now, and other work on this machine makes it longer."
    ]
    if minutes * 60 < whole:
        lines.append(f"After {minutes:g} minutes of learning it pauses; the same command goes on.")
    return lines


def duration(seconds: float) -> str:
    """Time in words.

    >>> [duration(s) for s in (4.2, 100, 4000, 20000)]
    ['5 seconds', '100 seconds', '67 minutes', '5.6 hours']
    """
    if seconds < 120:
        return f"{int(seconds) + 1 if seconds % 1 else int(seconds)} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
