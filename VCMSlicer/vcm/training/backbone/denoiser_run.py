"""A denoiser's training from cases to weights: the backbone it begins with, and its folder made or found again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vcm.cohort.learning_cases import LearningCase, condition_specs
from vcm.models.backbones.backbone import Backbone
from vcm.models.loading import BACKBONES, load_backbone
from vcm.packs.store import Pack, find_pack
from vcm.packs.tensors.checkpoints import read_checkpoint, write_weights
from vcm.training.backbone.denoiser_settings import DenoiserSettings
from vcm.training.backbone.denoiser_task import DenoiserTask
from vcm.training.data.latent_cache import LatentCache
from vcm.training.data.latent_store import latent_fingerprint, open_latents
from vcm.training.trainer.new_networks import network_refusals
from vcm.training.trainer.run_info import RunInfo, write_run_info
from vcm.training.trainer.team import Team
from vcm.training.trainer.trainer import Listeners, Trainer
from vcm.training.trainer.warm_start import say_storage

WHITENING = "whitening.safetensors"
LEAST_SPREAD = 0.5
"""Of the mean spread: a place where heads hardly differ, such as air, is not stretched further. Its noise would count
as much as the brain's, and a network learns to guess it in vain."""


@dataclass(frozen=True, eq=False)
class DenoiserRun:
    """A training that stands ready: `trainer.train()` teaches."""

    settings: DenoiserSettings
    pack: Pack
    trainer: Trainer
    task: DenoiserTask


def open_denoiser_run(
    settings: DenoiserSettings,
    cases: Sequence[LearningCase],
    folder: Path,
    *,
    latents: Path,
    team: Team,
    unseen: Sequence[LearningCase] = (),
    unseen_latents: Path | None = None,
    listeners: Listeners | None = None,
) -> DenoiserRun:
    """Begin a training in `folder`, or take up the one that was begun there."""
    listeners = listeners or Listeners()
    pack = find_pack(settings.backbone)
    source = load_backbone(pack).requires_grad_(False).to(team.device)
    specs = condition_specs(tuple(settings.emphasis))
    cache = open_latents(pack, source, cases, specs, latents, team, listeners)
    held = open_latents(pack, source, unseen, (), unseen_latents or latents, team, listeners) if unseen else None
    whitens = settings.scratch and (source.whitens or settings.whiten)
    whitening = _whitening(source, cache, folder, team) if whitens else None
    torch.manual_seed(settings.seed)
    wanted = {
        "packing": settings.packing, "prediction": settings.prediction, "last": settings.last, "atlas": settings.atlas,
        "network": settings.network, "scratch": settings.scratch,
    }  # fmt: skip
    with network_refusals():
        backbone, changes = BACKBONES[pack.backbone.family].retrain(source, pack.backbone, wanted, whitening)
    shift, stretch = _beside(source, whitening) if whitening else (None, None)
    backbone.denoiser.requires_grad_(True)
    backbone.to(team.device)
    identity = {"autoencoder": latent_fingerprint(pack)}
    if not settings.scratch:
        say_storage(pack, ("denoiser",), listeners)
        identity["backbone"] = pack.backbone.files["denoiser"].sha256
    task = DenoiserTask(settings, backbone, cache, identity=identity, unseen=held, shift=shift, stretch=stretch)
    trainer = Trainer(settings, task, folder, team, listeners)
    if team.first:
        write_run_info(folder, RunInfo(len(cache), changes=changes))
    return DenoiserRun(settings, pack, trainer, task)


def _whitening(source: Backbone, cache: LatentCache, folder: Path, team: Team) -> Mapping[str, Tensor]:
    """Mean and spread at each place of the latents and their mirror images, as they are before a source's own are taken
    out, and the mean of each kind of image where there are several: computed once, then kept with the run."""
    path = folder / WHITENING
    if not path.is_file() and team.first:
        latents = cache.latents.float()
        mean, std = latents.flatten(0, 1).mean(0), latents.flatten(0, 1).std(0)
        std = std.clamp(min=LEAST_SPREAD * float(std.mean()) + 1e-3)
        kinds = source.kinds(cache.attributes)
        means = {} if kinds is None else {"means": _means(latents, kinds, mean, std)}
        own, spread = source.own_whitening()
        write_weights(path, {"mean": own + spread * mean, "std": spread * std, **means})
    team.wait()
    return read_checkpoint(path)


def _beside(source: Backbone, whitening: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and spread of the latents that the source gives, from which its own are taken out already."""
    own, spread = source.own_whitening()
    return (whitening["mean"] - own) / spread, whitening["std"] / spread


def _means(latents: Tensor, kinds: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """How far the mean of each kind lies from that of all; kinds that were not seen have it."""
    of_each = (latents[kinds == kind] for kind in range(int(kinds.max()) + 1))
    return (torch.stack([own.flatten(0, 1).mean(0) if len(own) else mean for own in of_each]) - mean) / std
