"""A denoiser's training from cases to weights: the backbone it begins with, and its folder made or found again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vcm.cohort.learning_cases import LearningCase, condition_specs
from vcm.models.loading import BACKBONES, load_backbone
from vcm.packs.checkpoints import read_checkpoint, write_weights
from vcm.packs.store import Pack, find_pack
from vcm.training.backbone.denoiser_settings import DenoiserSettings
from vcm.training.backbone.denoiser_task import DenoiserTask
from vcm.training.data.latent_cache import LatentCache
from vcm.training.data.latent_store import latent_fingerprint, open_latents
from vcm.training.trainer.run_info import RunInfo, write_run_info
from vcm.training.trainer.team import Team
from vcm.training.trainer.trainer import Listeners, Trainer

WHITENING = "whitening.safetensors"


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
    whitening = _whitening(settings, cache, folder, team) if settings.scratch and source.whitens else None
    torch.manual_seed(settings.seed)
    wanted = {
        "packing": settings.packing, "prediction": settings.prediction, "atlas": settings.atlas,
        "network": settings.network, "scratch": settings.scratch,
    }  # fmt: skip
    backbone, changes = BACKBONES[pack.backbone.family].retrain(source, pack.backbone, wanted, whitening)
    shift, stretch = whitening or (None, None)
    backbone.denoiser.requires_grad_(True)
    backbone.to(team.device)
    identity = {"autoencoder": latent_fingerprint(pack)}
    if not settings.scratch:
        identity["backbone"] = pack.backbone.files["denoiser"].sha256
    task = DenoiserTask(settings, backbone, cache, identity=identity, unseen=held, shift=shift, stretch=stretch)
    trainer = Trainer(settings, task, folder, team, listeners)
    if team.first:
        write_run_info(folder, RunInfo(len(cache), changes=changes))
    return DenoiserRun(settings, pack, trainer, task)


def _whitening(settings: DenoiserSettings, cache: LatentCache, folder: Path, team: Team) -> tuple[Tensor, Tensor]:
    """Mean and spread at each place of the latents and their mirror images: computed once, then kept with the run."""
    path = folder / WHITENING
    if not path.is_file() and team.first:
        latents = cache.latents.float().flatten(0, 1)
        write_weights(path, {"mean": latents.mean(0), "std": latents.std(0).clamp(min=1e-3)})
    team.wait()
    kept: Mapping[str, Tensor] = read_checkpoint(path)
    return kept["mean"], kept["std"]
