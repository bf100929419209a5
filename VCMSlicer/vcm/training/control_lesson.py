"""Teaching a control to correct a frozen backbone: VCM's Eq. 4 on cached latents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vcm.backbones.latent_diffusion import LatentDiffusion
from vcm.backbones.latents import pack
from vcm.backbones.noise_levels import NoiseLevels
from vcm.controls.vcm_control import VcmControl
from vcm.controls.vcm_networks import VcmNetwork
from vcm.training.condition_dropout import kept_conditions
from vcm.training.control_settings import ControlSettings
from vcm.training.latent_cache import Batch, LatentCache
from vcm.training.lesson import Lesson, Outcome, Slot, Trial
from vcm.training.losses import WEIGHTINGS, control_loss, focus_on
from vcm.training.noise_steps import make_noisy, normal_like, v_error
from vcm.training.obedience import Examiner


class ControlLesson(Lesson):
    """Cached cases, a frozen backbone and a control's network; with an examiner, unseen cases to validate on."""

    columns = ("v_error", "v_error_uncontrolled")
    score, rising = "controlled", True

    def __init__(
        self,
        settings: ControlSettings,
        backbone: LatentDiffusion,
        network: VcmNetwork,
        cache: LatentCache,
        *,
        identity: Mapping[str, str],
        examiner: Examiner | None = None,
    ) -> None:
        self.settings, self.backbone, self.cache, self.examiner = settings, backbone, cache, examiner
        self.network: nn.Module = network
        self.device = next(backbone.parameters()).device
        self.levels = NoiseLevels(backbone.schedule).to(self.device)
        self.identity = {**identity, "cases": cache.identity}
        self.trials = len(examiner.cases) if examiner else 0
        self.rescale = 1.0 if settings.scale_factor is None else settings.scale_factor / backbone.scale_factor

    def __len__(self) -> int:
        return len(self.cache)

    def outcome(self, network: nn.Module, slots: Sequence[Slot], step: int) -> Outcome:
        """Eq. 4 on these slots, or the regression of the first phase."""
        assert isinstance(network, VcmNetwork)
        settings = self.settings
        mirrored = [slot.uniform() < settings.flip for slot in slots]
        batch = self.cache.batch([slot.item for slot in slots], mirrored, self.device)
        clean = batch.latent
        if settings.latents == "sampled" and batch.spread is not None:
            clean = clean + batch.spread * normal_like(clean, slots)
        clean = clean * self.rescale
        kept = kept_conditions(settings.dropout, settings.conditions, slots)
        place = focus_on(batch.conditions, self.classes, clean.shape[2:], settings.focus)
        if step < settings.regression_steps:
            return self._regress(network, batch, clean, kept, place)
        noisy = make_noisy(clean, slots, self.levels)
        with torch.no_grad():
            eps = self.backbone.denoise(noisy.latent, noisy.t, batch.attributes).float()
        encoded = self._encode(network, batch, kept, noisy.t)
        gamma, beta = network.modulation(noisy.latent, eps, noisy.t, encoded)
        gamma, beta = gamma.float(), beta.float()
        guided = eps * (1 + gamma) + beta
        weight = WEIGHTINGS[settings.weighting](noisy.alpha_bar)
        loss = control_loss(guided, noisy.noise, gamma, beta, weight, place, self._l1(clean))
        return Outcome(
            loss,
            {"v_error": v_error(guided.detach(), noisy), "v_error_uncontrolled": v_error(eps, noisy)},
        )

    @property
    def classes(self) -> dict[str, list[int]]:
        """The values of each condition's classes, in its channels' order."""
        return {spec.name: [structure.value for structure in spec.classes] for spec in self.cache.specs}

    def examine(self, network: nn.Module, places: Sequence[int]) -> Iterator[Trial]:
        """Sample unseen cases with this network and measure how it obeys."""
        assert self.examiner is not None
        assert isinstance(network, VcmNetwork)
        control = VcmControl(network, self.examiner.specs, self.settings.scale_factor)
        for place in places:
            result = self.examiner.examine_one(control, place)
            yield Trial(place, result.figures, self.examiner.picture(place, result))

    def _encode(
        self, network: VcmNetwork, batch: Batch, kept: Mapping[str, Tensor] | None, t: Tensor
    ) -> dict[str, Tensor]:
        """The encodings, those that a slot does without multiplied by zero."""
        if self.settings.recompute:
            parts = [batch.given] if network.shared_encoder else [{n: c} for n, c in batch.given.items()]
            encoded: dict[str, Tensor] = {}
            for part in parts:
                encoded |= checkpoint(network.encode, part, t=t, use_reentrant=False)
        else:
            encoded = network.encode(batch.given, t=t)
        if kept is None:
            return encoded
        return {name: one * kept[name].to(one)[:, None, None, None, None] for name, one in encoded.items()}

    def _regress(
        self, network: VcmNetwork, batch: Batch, clean: Tensor, kept: Mapping[str, Tensor] | None, place: Tensor
    ) -> Outcome:
        """At full noise v is the clean latent with its sign changed, and the U-Net sees nothing: encoders and heads
        learn alone what a condition says of the latent."""
        last = torch.full((len(clean),), float(self.backbone.schedule.timesteps - 1), device=clean.device)
        encoded = self._encode(network, batch, kept, last)
        error = (_shift_of_v(network, encoded).float() + pack(clean, network.latent_packing)).square()
        weight = pack(place.expand_as(clean), network.latent_packing)
        return Outcome(
            (error * weight).mean(),
            {"v_error": error.detach().mean(), "v_error_uncontrolled": clean.square().mean()},
        )

    def _l1(self, clean: Tensor) -> float:
        """λ of Eq. 4 for the whole batch, also where only a part of it is computed at once."""
        channels, i, j, k = clean.shape[1:]
        l1 = self.settings.l1
        if not isinstance(l1, str):
            return float(l1)
        # The released code overwrites the number of channels with the last size before it uses it.
        return 1 / (self.settings.batch * (k if l1 == "released" else channels) * i * j * k)


def _shift_of_v(network: VcmNetwork, encoded: Mapping[str, Tensor]) -> Tensor:
    """What the heads alone make of the encodings, in units of v, packed; the U-Net's features count as zeros."""
    parts = list(encoded.values())
    width = network.heads.shared.conv.in_channels - sum(part.shape[1] for part in parts)
    silent = parts[0].new_zeros(len(parts[0]), width, *parts[0].shape[2:])
    shift: Tensor = network.heads.beta(network.heads.shared(torch.cat([silent, *parts], dim=1)))
    return shift
