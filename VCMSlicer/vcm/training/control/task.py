"""Training of a control on a frozen backbone: VCM's Eq. 4 on cached latents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from vcm.models.backbones.backbone import Backbone
from vcm.models.controls.control import Control, Step
from vcm.models.process import Prediction
from vcm.training.control.losses import focus_on
from vcm.training.control.objective import ControlObjective
from vcm.training.control.settings import ControlSettings
from vcm.training.control.validation import ControlValidator
from vcm.training.data.condition_dropout import kept_conditions
from vcm.training.data.latent_cache import Batch, LatentCache
from vcm.training.trainer.graphed_loss import GraphedLoss
from vcm.training.trainer.noise_steps import Noisy, make_noisy, normal_like, v_error
from vcm.training.trainer.task import Outcome, Slot, TrainingTask, ValidationCase, generator_of

Objective = Callable[[Mapping[str, Tensor]], tuple[Tensor, Tensor]]
"""Loss and error of v, from a batch's table (`ControlObjective`)."""


class ControlTask(TrainingTask):
    """Cached cases, a frozen backbone and a control's network; with a validator, held-out cases for validation."""

    columns = ("v_error", "v_error_uncontrolled")
    pictured = ("with the control", "with it: what was asked for outlined", "without it, same noise")
    score, rising = "controlled", True

    def __init__(
        self,
        settings: ControlSettings,
        backbone: Backbone,
        control: Control,
        cache: LatentCache,
        *,
        identity: Mapping[str, str],
        validator: ControlValidator | None = None,
    ) -> None:
        self.settings, self.backbone, self.cache, self.validator = settings, backbone, cache, validator
        self.control, self.device = control, backbone.device
        self.network: nn.Module = control.network
        self.identity = {**identity, "cases": cache.identity}
        self.validation_size = len(validator.cases) if validator else 0
        self._places: dict[int, Tensor] = {}
        self._frozen: dict[int, tuple[int, Tensor]] = {}
        self._made: tuple[nn.Module, Objective] | None = None
        self.rescale = 1.0 if settings.scale_factor is None else settings.scale_factor / backbone.scale_factor

    def __len__(self) -> int:
        return len(self.cache)

    def outcome(self, network: nn.Module, slots: Sequence[Slot], step: int) -> Outcome:
        """Eq. 4 on these slots, or the regression of the first phase."""
        settings = self.settings
        drawn = self._draws(slots, step)
        mirrored = [slot.uniform() < settings.flip for slot in drawn]
        batch = self.cache.batch([slot.item for slot in slots], mirrored, self.device)
        clean = batch.latent
        if settings.latents == "sampled" and batch.spread is not None:
            clean = clean + batch.spread * normal_like(clean, drawn)
        clean = clean * self.rescale
        kept = kept_conditions(settings.dropout, settings.conditions, slots)
        place = self._focus(slots, mirrored, clean.shape[2:])
        if step < settings.regression_steps:
            return self._regress(network, batch, clean, kept, place)
        noisy = make_noisy(clean, drawn, self.backbone.process)
        unguided = self._uncontrolled(slots, step, noisy, batch.attributes)
        table = ControlObjective.table(batch.conditions, kept, noisy, unguided, batch.attributes, place)
        loss, error = self._objective(network)(table)
        own = Prediction(noisy.latent, unguided, self.backbone.process.guided).noise(noisy.alpha, noisy.sigma)
        return Outcome(loss, {"v_error": error, "v_error_uncontrolled": v_error(own, noisy)})

    @property
    def classes(self) -> dict[str, list[int]]:
        """The values of each condition's classes, in its channels' order."""
        return {spec.name: [structure.value for structure in spec.classes] for spec in self.cache.specs}

    def validate(self, network: nn.Module, places: Sequence[int]) -> Iterator[ValidationCase]:
        """Sample held-out cases with this network and measure adherence."""
        assert self.validator is not None
        control = self.control.with_network(network)
        for place in places:
            result = self.validator.validate_case(control, place)
            yield ValidationCase(place, result.figures, self.validator.picture(place, result))

    def _focus(self, slots: Sequence[Slot], mirrored: Sequence[bool], shape: Sequence[int]) -> Tensor:
        """How much each place of the latent counts, for each slot; computed once for each item."""
        for item in {slot.item for slot in slots} - self._places.keys():
            voxels = {spec.name: self.cache.voxels(spec, [item]) for spec in self.cache.specs}
            self._places[item] = focus_on(voxels, self.classes, shape, self.settings.focus)[0]
        places = torch.stack([self._places[slot.item] for slot in slots]).to(self.device)
        turned = torch.tensor(mirrored, device=self.device).view(-1, 1, 1, 1, 1)
        return torch.where(turned, places.flip(2 + self.cache.grid.left_right), places)

    def _objective(self, network: nn.Module) -> Objective:
        """The objective of this network; a small one's is replayed as a CUDA graph."""
        if self._made is None or self._made[0] is not network:
            control = self.control.with_network(network)
            objective = ControlObjective(control, self.backbone, self.settings)
            graphed = control.graphable and not self.settings.recompute
            self._made = network, GraphedLoss(objective) if graphed else objective
        return self._made[1]

    def _draws(self, slots: Sequence[Slot], step: int) -> Sequence[Slot]:
        """The slots from whose generators come an item's side, time and noise."""
        if self.settings.noise_epochs == 1:
            return slots
        seed = self.settings.seed
        return [
            replace(slot, place=0, of=1, generator=generator_of(seed, self._round(slot, step), slot.item))
            for slot in slots
        ]

    def _round(self, slot: Slot, step: int) -> int:
        """How often the noise of this slot's item has been drawn anew."""
        return (step * self.settings.batch + slot.place) // len(self) // self.settings.noise_epochs

    @torch.no_grad()
    def _uncontrolled(self, slots: Sequence[Slot], step: int, noisy: Noisy, inputs: Tensor) -> Tensor:
        """The backbone's own prediction; it is frozen, so that the same noise need not be shown to it twice."""
        if self.settings.noise_epochs == 1:
            return self._asked(noisy, inputs)
        rounds = [self._round(slot, step) for slot in slots]
        known = [self._frozen.get(slot.item, (-1, noisy.latent)) for slot in slots]
        if [number for number, _ in known] == rounds:
            return torch.stack([prediction for _, prediction in known])
        predictions = self._asked(noisy, inputs)
        for slot, number, one in zip(slots, rounds, predictions, strict=True):
            self._frozen[slot.item] = number, one
        return predictions

    def _asked(self, noisy: Noisy, inputs: Tensor) -> Tensor:
        return Step.on(self.backbone, inputs, noisy.latent, noisy.t).predict().float()

    def _regress(
        self, network: nn.Module, batch: Batch, clean: Tensor, kept: Mapping[str, Tensor] | None, place: Tensor
    ) -> Outcome:
        """Encoders and expectation learn alone what the conditions say of the clean latent."""
        control = self.control.with_network(network)
        error = (
            control.expect(batch.conditions, kept, batch.attributes, recompute=self.settings.recompute) - clean
        ).square()
        return Outcome(
            (error * place).mean(),
            {"v_error": error.detach().mean(), "v_error_uncontrolled": clean.square().mean()},
        )
