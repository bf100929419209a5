"""Teaching the denoiser of a layout: latents of heads in, v out, around any of their structures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from vcm.models.layout.layout import Layout
from vcm.models.process import PARAMETERISATIONS
from vcm.packs.manifest import LayoutManifest
from vcm.sampling.completing import sample_layout
from vcm.training.layout.label_cache import LabelCache
from vcm.training.layout.settings import LayoutSettings
from vcm.training.layout.shown_structures import CLASSES, MASKS, Structure, draw_structures, possible_labels
from vcm.training.trainer.noise_steps import make_noisy
from vcm.training.trainer.task import Outcome, Slot, TrainingTask, ValidationCase, slots_of
from vcm.training.trainer.validation_sheet import row_of

NOISE_LEVELS = 8
"""At so many noise levels each unseen case is tried, with nothing, the masks, and all of a label map shown in turn."""


class LayoutTask(TrainingTask):
    """Label maps and their latents in memory, and the layout whose denoiser learns."""

    columns = ("v_error",)
    pictured = ("an unseen head", "one formed around its ventricles")
    score, rising = "v_error", False

    def __init__(
        self,
        settings: LayoutSettings,
        layout: Layout,
        manifest: LayoutManifest,
        cache: LabelCache,
        device: torch.device,
        *,
        identity: Mapping[str, str],
        unseen: LabelCache | None = None,
    ) -> None:
        self.settings, self.layout, self.manifest = settings, layout, manifest
        self.cache, self.unseen, self.device = cache, unseen, device
        self.network: nn.Module = layout.denoiser
        self.identity = {**identity, "cases": cache.identity}
        self.validation_size = len(unseen) if unseen else 0
        self.labels = len(manifest.classes) + 1
        self._latents = self._encoded(cache)

    def __len__(self) -> int:
        return len(self.cache)

    def outcome(self, network: nn.Module, slots: Sequence[Slot], step: int) -> Outcome:
        """The mean squared error of v."""
        settings, items = self.settings, [slot.item for slot in slots]
        mirrored = [slot.uniform() < settings.flip for slot in slots]
        shown = [draw_structures(settings, slot) for slot in slots]
        attributes = self.cache.attributes[items].clone()
        for row, slot in zip(attributes, slots, strict=True):
            row[[slot.uniform() < settings.unknown for _ in row]] = torch.nan
        clean = self._latents[items, [int(flip) for flip in mirrored]].to(self.device).float()
        error = self._error(network, clean, self.cache.labels(items, mirrored), shown, attributes, slots)
        return Outcome(error, {"v_error": error.detach()})

    @torch.no_grad()
    def validate(self, network: nn.Module, places: Sequence[int]) -> Iterator[ValidationCase]:
        """The error of v on unseen heads over all noise levels, and a head formed around each one's ventricles."""
        assert self.unseen is not None
        for place in places:
            maps = self.unseen.labels([place], [False])
            clean = self.layout.autoencoder.encode(maps.to(self.device)).float()
            slots = slots_of(self.settings.seed, place, NOISE_LEVELS, 1, range(NOISE_LEVELS))
            shown = [((), MASKS, CLASSES)[slot.place % 3] for slot in slots]
            many = (maps.expand(NOISE_LEVELS, -1, -1, -1), shown, self.unseen.attributes[[place] * NOISE_LEVELS])
            error = self._error(network, clean.expand(NOISE_LEVELS, -1, -1, -1, -1), *many, slots)
            made = self._formed(network, maps, place)
            pair = [one.cpu().numpy() / (self.labels - 1) for one in (maps[0], made)]
            yield ValidationCase(place, {"v_error": float(error)}, row_of(pair, self.unseen.grid))

    def _error(
        self,
        network: nn.Module,
        clean: Tensor,
        maps: Tensor,
        shown: Sequence[Sequence[Structure]],
        attributes: Tensor,
        slots: Sequence[Slot],
    ) -> Tensor:
        process = self.layout.process
        noisy = make_noisy(clean, slots, process)
        meanings = possible_labels(shown, self.labels).to(self.device)
        seen = network.see(maps.to(self.device), meanings)  # type: ignore[operator]
        value = network(noisy.latent, noisy.t / process.timesteps, seen, attributes.to(self.device)).float()
        target = PARAMETERISATIONS[process.prediction].of(clean, noisy.noise, noisy.alpha, noisy.sigma)
        return (value - target).square().mean()

    def _formed(self, network: nn.Module, maps: Tensor, seed: int) -> Tensor:
        """The labels of a head around the first mask of a cohort's conditions, its ventricles."""
        layout = Layout(self.layout.autoencoder, network, self.layout.process)  # type: ignore[arg-type]
        meanings = possible_labels([MASKS[:1]], self.labels).to(self.device)
        maps = maps.to(self.device)
        seen = layout.denoiser.see(maps, meanings)
        noise = torch.randn((1, *self.manifest.latent_shape), generator=torch.Generator().manual_seed(seed))
        unknown = torch.full((1, len(self.manifest.attributes)), torch.nan, device=self.device)
        scores = layout.autoencoder.decode(sample_layout(layout, self.manifest, noise.to(self.device), seen, unknown))
        possible = meanings[0][maps[0]].movedim(-1, 0) > 0
        return scores[0].masked_fill(~possible, -torch.inf).argmax(0)

    @torch.no_grad()
    def _encoded(self, cache: LabelCache) -> Tensor:
        """Latents `[N, 2, C, i, j, k]` in half precision, of the heads and their mirror images."""
        encode = self.layout.autoencoder.encode
        both = [False, True]
        return torch.stack(
            [encode(cache.labels([item] * 2, both).to(self.device)).half().cpu() for item in range(len(cache))]
        )
