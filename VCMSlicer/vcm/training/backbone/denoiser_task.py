"""Teaching a backbone's denoiser: packed latents in, v or ε out, as its manifest has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from vcm.models.backbones.backbone import Backbone
from vcm.models.process import PARAMETERISATIONS, Prediction
from vcm.sampling.loop import sample_latents
from vcm.training.backbone.denoiser_settings import DenoiserSettings
from vcm.training.data.latent_cache import LatentCache
from vcm.training.trainer.noise_steps import make_noisy, v_error
from vcm.training.trainer.task import Outcome, Slot, TrainingTask, ValidationCase, slots_of
from vcm.training.trainer.validation_sheet import row_of

NOISE_LEVELS = 8
"""At so many noise levels each unseen case is tried."""


class DenoiserTask(TrainingTask):
    """Cached cases and the backbone whose denoiser learns; with unseen cases, its error on them and samples to look at.

    Where the backbone's whitening is not the one the cases were cached with, `shift` and `stretch` `[*latent_shape]`
    lead from the one to the other.
    """

    columns = ("v_error",)
    pictured = ("a sample",)
    score, rising = "v_error", False

    def __init__(
        self,
        settings: DenoiserSettings,
        backbone: Backbone,
        cache: LatentCache,
        *,
        identity: Mapping[str, str],
        unseen: LatentCache | None = None,
        shift: Tensor | None = None,
        stretch: Tensor | None = None,
    ) -> None:
        self.settings, self.backbone, self.cache, self.unseen = settings, backbone, cache, unseen
        self.network: nn.Module = backbone.denoiser
        self.device = backbone.device
        self.identity = {**identity, "cases": cache.identity}
        self.validation_size = len(unseen) if unseen else 0
        self.shift = torch.zeros((), device=self.device) if shift is None else shift.to(self.device)
        self.stretch = torch.ones((), device=self.device) if stretch is None else stretch.to(self.device)
        self.place = usual_places(cache, settings.emphasis, backbone.latent_shape[1:]).to(self.device)

    def __len__(self) -> int:
        return len(self.cache)

    def outcome(self, network: nn.Module, slots: Sequence[Slot], step: int) -> Outcome:
        """The mean error of what the network predicts, squared or not, in the terms in which it predicts it."""
        mirrored = [slot.uniform() < self.settings.flip for slot in slots]
        loss, error = self._errors(network, self.cache, slots, mirrored, self.place)
        return Outcome(loss, {"v_error": error.detach()})

    @torch.no_grad()
    def validate(self, network: nn.Module, places: Sequence[int]) -> Iterator[ValidationCase]:
        """The error on unseen cases over all noise levels, and a sample with each one's attributes."""
        assert self.unseen is not None
        for place in places:
            slots = [
                type(slot)(slot.place, slot.of, place, slot.generator)
                for slot in slots_of(self.settings.seed, place, NOISE_LEVELS, 1, range(NOISE_LEVELS))
            ]
            _, error = self._errors(network, self.unseen, slots, [False] * NOISE_LEVELS)
            yield ValidationCase(place, {"v_error": float(error)}, row_of([self._sample(place)], self.backbone.grid))

    def _errors(
        self,
        network: nn.Module,
        cache: LatentCache,
        slots: Sequence[Slot],
        mirrored: Sequence[bool],
        place: Tensor | float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        batch = cache.batch([slot.item for slot in slots], mirrored, self.device)
        process = self.backbone.process
        noisy = make_noisy(clean := (batch.latent - self.shift) / self.stretch, slots, process)
        self.backbone.denoiser = network  # the one that learns, or its average
        value = self.backbone.predict(noisy.latent, noisy.t, batch.attributes).float()
        levels = noisy.alpha, noisy.sigma
        target = PARAMETERISATIONS[process.prediction].of(clean, noisy.noise, *levels)
        eps = Prediction(noisy.latent, value, process.prediction).noise(*levels)
        error = (value - target).abs() if self.settings.loss == "l1" else (value - target).square()
        return (error * place).mean(), v_error(eps, noisy)

    def _sample(self, place: int) -> NDArray[np.float32]:
        assert self.unseen is not None
        inputs = self.unseen.attributes[place : place + 1].to(self.device)
        noise = torch.randn((1, *self.backbone.latent_shape), generator=torch.Generator().manual_seed(place))

        latent = sample_latents(self.backbone, inputs, noise.to(self.device), steps=self.settings.sampling_steps)
        image: NDArray[np.float32] = self.backbone.decode(latent)[0, 0].float().cpu().numpy()
        return image


def usual_places(cache: LatentCache, emphasis: Mapping[str, float], shape: tuple[int, int, int]) -> Tensor:
    """Weights `[1, 1, *shape]` with a mean of one: `emphasis` times as often as a condition lies at or next to a place,
    beside 1 for all places."""
    place = torch.ones(1, 1, *shape)
    for spec in cache.specs:
        typical = cache.typical(spec, shape).amax(0)[None, None]
        place = place + emphasis[spec.name] * functional.max_pool3d(typical, kernel_size=3, stride=1, padding=1)
    return place / place.mean()
