"""The trainer that all kinds of training share. It can be stopped at any moment and resumes from its checkpoint.

All that is random in a step follows from the seed, the step and an item's place in the batch. A training that was
killed therefore resumes bit for bit, and several processes compute what one would have computed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vcm.core.errors import Code, VcmError
from vcm.machine.runtime import autocast_bf16
from vcm.outputs.atomic_files import write_json
from vcm.outputs.sealed_json import write_sealed
from vcm.training.trainer.checkpoint import BEST, claim_run, load_checkpoint, load_last, save_checkpoint, save_in_turn
from vcm.training.trainer.learning_rate import rate_factor
from vcm.training.trainer.moving_average import MovingAverage
from vcm.training.trainer.muon import Muon
from vcm.training.trainer.run_log import RunLog
from vcm.training.trainer.settings import MAY_CHANGE, TrainingSettings
from vcm.training.trainer.task import TrainingTask, slots_of
from vcm.training.trainer.team import Team
from vcm.training.trainer.validation_sheet import save_sheet

SETTINGS = "settings.json"


@dataclass(frozen=True)
class Progress:
    """The last step, the number of steps, the seconds used, and the figures of the last row of the log."""

    step: int
    steps: int
    seconds: float
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Listeners:
    """Callbacks of the trainer: messages for people, each row of the log, each validation's figures, each step."""

    say: Callable[[str], object] = lambda words: None
    row: Callable[[Progress], object] = lambda progress: None
    validated: Callable[[int, Mapping[str, float]], object] = lambda step, figures: None
    step: Callable[[int, int], object] = lambda step, steps: None


class Trainer:
    """Runs a training task in a folder. Made again on the same folder, it resumes from the last checkpoint."""

    def __init__(
        self,
        settings: TrainingSettings,
        task: TrainingTask,
        folder: Path,
        team: Team,
        listeners: Listeners | None = None,
    ) -> None:
        self.settings, self.task, self.folder, self.team = settings, task, folder, team
        self.listeners = listeners or Listeners()
        if settings.batch < team.size:
            raise VcmError(
                Code.BAD_REQUEST,
                f"A batch of {settings.batch} cannot be shared by {team.size} processes.",
                "Start fewer processes or choose a larger batch.",
            )
        torch.backends.cudnn.benchmark = True  # a training's shapes stay the same
        self.network = task.network.to(team.device)
        self.average = MovingAverage(self.network, settings.ema)
        # The usual 0.999 remembers a thousand quiet steps when a steep one comes, and then overshoots.
        self.optimiser = _optimiser(self.network, settings.learning_rate, settings)
        self.opposing = task.adversary and _optimiser(task.adversary.network, task.adversary.learning_rate, settings)
        self.step, self.seconds = 0, 0.0
        self.best: float | None = None
        self.waited = 0
        self.sums: dict[str, float] = {}
        self.log = RunLog(folder, ("step", "seconds", "loss", *task.columns, "rate", "gradient"))
        self._resume()

    def train(self, minutes: float = math.inf) -> str:
        """Train to the last step (`finished`), until validation no longer improves (`stopped early`) or until the time
        is used up (`paused`). Meanwhile no other process may train in the folder."""
        with claim_run(self.folder) if self.team.first else nullcontext():
            return self._train(minutes)

    def _train(self, minutes: float) -> str:
        started, before = time.monotonic(), self.seconds
        if self.team.first and not self.log.open_board(self.step):
            self.listeners.say("TensorBoard is not installed, so there are no curves for it; log.csv has the figures.")
        over = self.step >= self.settings.steps
        while not over:
            if self._stops_early():
                return self._end("stopped early")
            late = self.team.first and time.monotonic() - started >= minutes * 60
            if self.team.total(torch.tensor(float(late), device=self.team.device)) > 0:
                self.save()
                return self._end("paused")
            self._gather(self.take_step())
            self.seconds = before + time.monotonic() - started
            over = self.step >= self.settings.steps
            self._keep(over)
        return self._end("finished")

    def take_step(self) -> dict[str, float]:
        """One step of the optimiser; returns what the log wants to know, over all processes."""
        settings, step = self.settings, self.step
        slots = slots_of(settings.seed, step, settings.batch, len(self.task), self.team.share(settings.batch))
        rate = settings.learning_rate * rate_factor(step, settings)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        sums: dict[str, float] = {}
        shown = []
        for piece in _pieces(slots, settings.micro_batch or len(slots)):
            share = len(piece) / settings.batch
            with self._autocast():
                outcome = self.task.outcome(self.network, piece, step)
            (outcome.loss * (share * self.team.size)).backward()
            shown.append((share, outcome.shown))
            for name, value in {"loss": outcome.loss.detach(), **outcome.figures}.items():
                sums[name] = sums.get(name, 0.0) + float(value) * share
        self.team.average_gradients(self.network)
        gradient = torch.nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip)
        names = sorted(sums)
        totals = self.team.total(torch.tensor([sums[name] for name in names], device=self.team.device))
        if not (math.isfinite(float(gradient)) and bool(torch.isfinite(totals).all())):
            raise self._diverged()
        self.optimiser.step()
        self._oppose(shown)
        self.step += 1
        self.average.update(self.network, self.step)
        return {**dict(zip(names, totals.tolist(), strict=True)), "rate": rate, "gradient": float(gradient)}

    def validate(self) -> dict[str, float]:
        """Validate the averaged weights on the held-out cases; returns mean figures and keeps the best checkpoint."""
        task, mine = self.task, self.team.share(self.task.validation_size)
        with self._autocast():
            cases = list(task.validate(self.average.network, mine))
        rows = sorted(self.team.gather([(case.place, dict(case.figures)) for case in cases]))
        figures = {name: _mean([row[name] for _, row in rows]) for name in rows[0][1]}
        score = figures[task.score]
        better = self.best is None or (score >= self.best if task.rising else score <= self.best)
        self.waited = 0 if better else self.waited + 1
        if better:
            self.best = score
        if self.team.first:
            if better:
                save_checkpoint(self.folder / BEST, {"step": self.step, "average": _on_cpu(self.average.network)})
            self._report(figures, [case.picture for case in cases if case.picture is not None], len(rows))
        return figures

    def save(self) -> None:
        """Put checkpoint, log and settings of the run in place."""
        if not self.team.first:
            return
        write_sealed(self.folder / SETTINGS, self.settings.as_dict())
        self.log.save()
        state = {
            "kind": self.settings.kind,
            "settings": self.settings.as_dict(),
            "identity": dict(self.task.identity),
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "waited": self.waited,
            "sums": self.sums,
            "rows": self.log.rows,
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        if self.task.adversary and self.opposing:
            state["adversary"] = self.task.adversary.network.state_dict()
            state["opposing"] = self.opposing.state_dict()
        save_in_turn(self.folder, state)

    def _resume(self) -> None:
        say = self.listeners.say if self.team.first else lambda words: None
        if load_last(self.folder, say, self._restore) is None:
            return
        if self.best is not None and not self._best_is_whole(say):
            self.best = None
        say(f"resuming from step {self.step}")

    def _restore(self, state: Mapping[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self._check_origin(state)
        self.network.load_state_dict(state["network"])
        self.average.network.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.task.adversary and self.opposing:
            self.task.adversary.network.load_state_dict(state["adversary"])
            self.opposing.load_state_dict(state["opposing"])
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.sums = {name: float(value) for name, value in state["sums"].items()}
        self.best, self.waited = None if state["best"] is None else float(state["best"]), int(state["waited"])
        self.log.rows = [[str(cell) for cell in row] for row in state["rows"]]

    def _best_is_whole(self, say: Callable[[str], object]) -> bool:
        """Whether the best weights so far can be read; where they cannot, the next validation writes others."""
        try:
            load_checkpoint(self.folder / BEST)
        except VcmError as error:
            say(f"{error.sentence} The next validation writes it again.")
            return False
        return True

    def _check_origin(self, state: Mapping[str, Any]) -> None:
        """A checkpoint must be of the same kind, from the same backbone and under the same settings."""
        if state.get("kind") != self.settings.kind:
            raise VcmError(
                Code.BAD_REQUEST,
                f"{self.folder} holds a training of a {state.get('kind')}, not of a {self.settings.kind}.",
                "Choose another folder.",
            )
        kept = state.get("settings")  # which checkpoints of earlier versions do not hold
        former = type(self.settings).from_dict(kept) if kept else self._settings_before()
        if changed := self.settings.differences(former):
            mine, theirs = self.settings.as_dict(), former.as_dict()
            words = ", ".join(f"{name} {theirs[name]} (now {mine[name]})" for name in changed)
            raise VcmError(
                Code.BAD_REQUEST,
                f"The training in {self.folder} was started with other settings: {words}.",
                f"Give the same again, or choose another folder. Only {', '.join(sorted(MAY_CHANGE))} may change.",
            )
        for name, value in self.task.identity.items():
            if state["identity"].get(name) == value:
                continue
            if name == "cases":
                self.listeners.say("The cases have changed since the run began; its curve is not that of one run.")
                continue
            raise VcmError(
                Code.BAD_REQUEST,
                f"The training in {self.folder} was started with another {name} than that of {self.settings.backbone}.",
                "Give the pack it was started with, or choose another folder.",
            )

    def _settings_before(self) -> TrainingSettings:
        kept = self.folder / SETTINGS
        return type(self.settings).read(kept) if kept.is_file() else self.settings

    def _oppose(self, shown: Sequence[tuple[float, Any]]) -> None:
        """A step of the adversary on what the network has shown."""
        adversary = self.task.adversary
        if not adversary or not self.opposing or self.step < adversary.start:
            return
        self.opposing.zero_grad(set_to_none=True)
        for share, one in shown:
            with self._autocast():
                loss = self.task.opposing(adversary.network, one)
            (loss * (share * self.team.size)).backward()
        self.team.average_gradients(adversary.network)
        torch.nn.utils.clip_grad_norm_(adversary.network.parameters(), self.settings.clip)
        self.opposing.step()

    def _gather(self, figures: Mapping[str, float]) -> None:
        """Add a step's figures up; a row of the log is the mean since the row before."""
        for name, value in {**figures, "count": 1.0}.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.listeners.step(self.step, self.settings.steps)
        if self.step % self.settings.log_every and self.step != self.settings.steps:
            return
        count = self.sums.pop("count")
        means = {name: self.sums.get(name, math.nan) / count for name in self.log.columns[2:]}
        self.sums = {}
        self.log.add(self.step, self.seconds, means)
        self.listeners.row(Progress(self.step, self.settings.steps, self.seconds, means))

    def _keep(self, over: bool) -> None:
        """Validate and save where it is time to. What follows from the step alone happens after a resume too."""
        every = self.settings.validate_every
        if self.task.validation_size and (over or (every and self.step % every == 0)):
            self.validate()
            self.save()
        elif over or self.step % self.settings.save_every == 0:
            self.save()

    def _stops_early(self) -> bool:
        return 0 < self.settings.patience <= self.waited

    def _end(self, how: str) -> str:
        self.log.close()
        self.team.wait()
        return how

    def _report(self, figures: Mapping[str, float], pictures: Sequence[NDArray[np.uint8]], count: int) -> None:
        words = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
        self.listeners.say(f"step {self.step}, {count} held-out cases: {words}")
        self.listeners.validated(self.step, figures)
        self.log.plot(self.step, {f"validation/{name}": value for name, value in figures.items()})
        name = f"validated-{self.step:06d}"
        write_json(self.folder / f"{name}.json", {"step": self.step, "cases": count, **figures})
        if pictures:
            self.log.show(self.step, "samples", save_sheet(self.folder / f"{name}.png", pictures, self.task.pictured))

    def _autocast(self) -> torch.autocast:
        return autocast_bf16(self.team.device, self.settings.precision)

    def _diverged(self) -> VcmError:
        return VcmError(
            Code.INTERNAL,
            f"The training diverged at step {self.step}: the loss or its gradient is not finite.",
            'The last checkpoint is intact. Use a lower learning_rate, or precision = "fp32".',
        )


def _optimiser(network: nn.Module, rate: float, settings: TrainingSettings) -> torch.optim.AdamW:
    on_gpu = any(weight.is_cuda for weight in network.parameters())
    return (Muon if settings.optimiser == "muon" else torch.optim.AdamW)(
        network.parameters(), lr=rate, betas=(0.9, settings.beta2), weight_decay=settings.weight_decay, fused=on_gpu
    )


def _pieces(slots: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [slots[start : start + size] for start in range(0, len(slots), size)]


def _on_cpu(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}


def _mean(values: Sequence[float]) -> float:
    """The mean of what could be measured."""
    measured = [value for value in values if not math.isnan(value)]
    return sum(measured) / len(measured) if measured else math.nan
