"""Training a VCM on cached latents, with the backbone frozen."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vcm.atomic_files import write_json, write_text
from vcm.backbones.backbone import Backbone
from vcm.backbones.noise_levels import NoiseLevels
from vcm.controls.vcm_networks import VcmNetwork
from vcm.errors import Code, VcmError
from vcm.training.checkpoint import load_checkpoint, save_checkpoint
from vcm.training.control_config import ControlTraining
from vcm.training.latent_cache import LatentCache
from vcm.training.losses import WEIGHTINGS, control_loss, focus_on
from vcm.training.moving_average import MovingAverage

CHECKPOINT, LOG, SETTINGS = "checkpoint.pt", "log.csv", "settings.json"
COLUMNS = ("step", "seconds", "loss", "v_error", "v_error_uncontrolled", "rate", "gradient")


@dataclass(frozen=True)
class Progress:
    """One row of the log: means since the row before. `v_error` is the mean squared error of v."""

    step: int
    seconds: float
    loss: float
    v_error: float
    v_error_uncontrolled: float
    rate: float
    gradient: float

    def as_row(self) -> list[str]:
        return [str(self.step), f"{self.seconds:.1f}", *(f"{getattr(self, name):.6g}" for name in COLUMNS[2:])]


class ControlTrainer:
    """Teaches `network` to correct the frozen `backbone`.

    All randomness of a step follows from the seed and the step's number, so a training that was stopped goes on
    bit for bit, and nothing of it needs to be kept but weights and the optimiser's moments.
    """

    def __init__(
        self, settings: ControlTraining, backbone: Backbone, network: VcmNetwork, cache: LatentCache, run: Path
    ) -> None:
        self.settings, self.backbone, self.network, self.cache, self.run = settings, backbone, network, cache, run
        self.device = next(network.parameters()).device
        self.levels = NoiseLevels(backbone.schedule).to(self.device)
        self.average = MovingAverage(network, settings.ema)
        self.optimiser = torch.optim.AdamW(
            network.parameters(),
            lr=settings.learning_rate,
            # The usual 0.999 remembers a thousand quiet steps when a steep one comes, and then overshoots.
            betas=(0.9, 0.99),
            weight_decay=settings.weight_decay,
        )
        self.step, self.seconds = 0, 0.0
        self.rows: list[list[str]] = []

    def train(
        self,
        minutes: float = math.inf,
        *,
        log_every: int = 20,
        save_every: int = 100,
        on_progress: Callable[[Progress], None] | None = None,
        on_save: Callable[[], None] | None = None,
    ) -> bool:
        """Train until the last step or until `minutes` are used up; whether the last step was reached."""
        started, before = time.monotonic(), self.seconds
        sums: dict[str, float] = {}
        while self.step < self.settings.steps and time.monotonic() - started < minutes * 60:
            for name, value in self.take_step().items():
                sums[name] = sums.get(name, 0.0) + value
            self.seconds = before + time.monotonic() - started
            done = self.step == self.settings.steps
            if self.step % log_every == 0 or done:
                progress = Progress(self.step, self.seconds, **{k: v / log_every for k, v in sums.items()})
                self.rows.append(progress.as_row())
                sums = {}
                if on_progress:
                    on_progress(progress)
            if self.step % save_every == 0 or done:
                self.save()
                if on_save:
                    on_save()
        return self.step >= self.settings.steps

    def take_step(self) -> dict[str, float]:
        """One step of the optimiser; returns what the log wants to know."""
        settings = self.settings
        generator = torch.Generator().manual_seed(_mixed(settings.seed, self.step))
        batch = self.cache.batch(self.items(self.step), self.device)
        size = len(batch.latent)
        # One t in each of `size` equal parts of the schedule: less noise in the gradient than with independent draws.
        t = (torch.arange(size) + torch.rand(size, generator=generator)) / size * (self.backbone.schedule.timesteps - 1)
        t = t.to(self.device)
        noise = torch.randn(batch.latent.shape, generator=generator).to(self.device)
        alpha_bar = self.levels(t)
        noisy = alpha_bar.sqrt() * batch.latent + (1 - alpha_bar).sqrt() * noise

        rate = settings.learning_rate * rate_factor(self.step, settings)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            with torch.no_grad():
                eps = self.backbone.denoise(noisy, t, batch.attributes).float()
            gamma, beta = self.network.modulation(noisy, eps, t, self.network.encode(batch.conditions))
        gamma, beta = gamma.float(), beta.float()
        guided = eps * (1 + gamma) + beta
        place = focus_on(batch.conditions, tuple(noise.shape[2:]), settings.focus)
        weight = WEIGHTINGS[settings.weighting](alpha_bar)
        loss = control_loss(guided, noise, gamma, beta, weight, place, settings.l1_weight)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        gradient = torch.nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip)
        if not torch.isfinite(gradient):
            raise VcmError(
                Code.INTERNAL,
                f"The training came apart at step {self.step}: its gradient is not a number.",
                f"Its last checkpoint is whole. Lower learning_rate, or go on in fp32; {settings.precision} was used.",
            )
        self.optimiser.step()
        self.step += 1
        self.average.update(self.network, self.step)
        return {
            "loss": float(loss.detach()),
            "v_error": _v_error(guided.detach(), noise, alpha_bar),
            "v_error_uncontrolled": _v_error(eps, noise, alpha_bar),
            "rate": rate,
            "gradient": float(gradient),
        }

    def items(self, step: int) -> list[int]:
        """The cache's items of a step: each epoch is another shuffle, and no item is left out between epochs."""
        count, size = len(self.cache), self.settings.batch
        orders: dict[int, Any] = {}
        chosen = []
        for position in range(step * size, (step + 1) * size):
            epoch = position // count
            if epoch not in orders:
                orders[epoch] = np.random.default_rng([self.settings.seed, epoch]).permutation(count)
            chosen.append(int(orders[epoch][position % count]))
        return chosen

    def save(self) -> None:
        """Put checkpoint, log and settings of the run in place."""
        write_json(self.run / SETTINGS, self.settings.as_dict())
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *self.rows])
        write_text(self.run / LOG, text.getvalue())
        save_checkpoint(
            self.run / CHECKPOINT,
            {
                "step": self.step,
                "seconds": self.seconds,
                "network": self.network.state_dict(),
                "average": self.average.network.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "rows": self.rows,
            },
        )

    def resume(self) -> None:
        """Go back to the run's last checkpoint."""
        state: Mapping[str, Any] = load_checkpoint(self.run / CHECKPOINT)
        self.network.load_state_dict(state["network"])
        self.average.network.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds, self.rows = state["step"], state["seconds"], state["rows"]


def rate_factor(step: int, settings: ControlTraining) -> float:
    """The learning rate at `step` (from 0) as a share of its height: a ramp, then a cosine.

    >>> settings = ControlTraining(steps=100, warmup=10, final_rate=0.1)
    >>> [round(rate_factor(step, settings), 2) for step in (0, 9, 55, 100)]
    [0.1, 1.0, 0.55, 0.1]
    """
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(settings.steps - settings.warmup, 1)
    return settings.final_rate + (1 - settings.final_rate) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def _v_error(eps: Tensor, noise: Tensor, alpha_bar: Tensor) -> float:
    return float(((eps - noise).square() / alpha_bar).mean())


def _mixed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)
