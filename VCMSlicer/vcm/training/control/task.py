"""Training of a control on a frozen backbone: VCM's Eq. 4 on cached latents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from vcm.models.backbones.latent_diffusion import LatentDiffusion
from vcm.models.backbones.latents import pack
from vcm.models.controls.patch_network import PatchNetwork
from vcm.models.controls.vcm_control import ControlNetwork, VcmControl
from vcm.models.noise_levels import NoiseLevels
from vcm.training.control.losses import focus_on
from vcm.training.control.objective import ControlObjective, encode
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
        backbone: LatentDiffusion,
        network: ControlNetwork,
        cache: LatentCache,
        *,
        identity: Mapping[str, str],
        validator: ControlValidator | None = None,
    ) -> None:
        self.settings, self.backbone, self.cache, self.validator = settings, backbone, cache, validator
        self.network: nn.Module = network
        self.device = next(backbone.parameters()).device
        self.levels = NoiseLevels(backbone.schedule).to(self.device)
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
        assert isinstance(network, ControlNetwork)
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
        noisy = make_noisy(clean, drawn, self.levels)
        eps = self._uncontrolled(slots, step, noisy, batch.attributes)
        loss, error = self._objective(network)(ControlObjective.table(batch.conditions, kept, noisy, eps, place))
        return Outcome(loss, {"v_error": error, "v_error_uncontrolled": v_error(eps, noisy)})

    @property
    def classes(self) -> dict[str, list[int]]:
        """The values of each condition's classes, in its channels' order."""
        return {spec.name: [structure.value for structure in spec.classes] for spec in self.cache.specs}

    def validate(self, network: nn.Module, places: Sequence[int]) -> Iterator[ValidationCase]:
        """Sample held-out cases with this network and measure adherence."""
        assert self.validator is not None
        assert isinstance(network, ControlNetwork)
        control = VcmControl(network, self.validator.specs, self.settings.scale_factor)
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

    def _objective(self, network: ControlNetwork) -> Objective:
        """The objective of this network; a small one's is replayed as a CUDA graph."""
        if self._made is None or self._made[0] is not network:
            objective = ControlObjective(network, self.settings)
            small = isinstance(network, PatchNetwork) and not self.settings.recompute
            self._made = network, GraphedLoss(objective) if small else objective
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
    def _uncontrolled(self, slots: Sequence[Slot], step: int, noisy: Noisy, attributes: Tensor) -> Tensor:
        """The backbone's own ε; it is frozen, so that the same noise need not be shown to it twice."""
        if self.settings.noise_epochs == 1:
            return self.backbone.denoise(noisy.latent, noisy.t, attributes).float()
        rounds = [self._round(slot, step) for slot in slots]
        known = [self._frozen.get(slot.item, (-1, noisy.latent)) for slot in slots]
        if [number for number, _ in known] == rounds:
            return torch.stack([eps for _, eps in known])
        eps = self.backbone.denoise(noisy.latent, noisy.t, attributes).float()
        for slot, number, one in zip(slots, rounds, eps, strict=True):
            self._frozen[slot.item] = number, one
        return eps

    def _regress(
        self, network: ControlNetwork, batch: Batch, clean: Tensor, kept: Mapping[str, Tensor] | None, place: Tensor
    ) -> Outcome:
        """Encoders and expectation learn alone what the conditions say of the clean latent."""
        assert isinstance(network, PatchNetwork)
        encoded = encode(network, batch.conditions, kept, None, recompute=self.settings.recompute)
        error = (network.expect(encoded)[1].float() - pack(clean, network.latent_packing)).square()
        weight = pack(place.expand_as(clean), network.latent_packing)
        return Outcome(
            (error * weight).mean(),
            {"v_error": error.detach().mean(), "v_error_uncontrolled": clean.square().mean()},
        )
