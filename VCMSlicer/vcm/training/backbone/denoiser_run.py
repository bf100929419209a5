"""A denoiser's training from cases to weights: the backbone it begins with, and its folder made or found again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vcm.cohort.learning_cases import LearningCase, condition_specs
from vcm.core.errors import Code, VcmError
from vcm.models.backbones.latent_diffusion import LatentDiffusion, build_denoiser
from vcm.models.loading import load_backbone
from vcm.models.schedule import Schedule
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
    shift, stretch = _whitening(settings, cache, folder, team) if settings.scratch else (None, None)
    torch.manual_seed(settings.seed)
    backbone, changes = _begin(settings, pack, source, shift, stretch)
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


def _begin(
    settings: DenoiserSettings, pack: Pack, source: LatentDiffusion, shift: Tensor | None, stretch: Tensor | None
) -> tuple[LatentDiffusion, dict[str, Any]]:
    """The backbone whose denoiser will learn, and what of its manifest is new."""
    manifest = pack.backbone
    packing = settings.packing or manifest.latent.packing
    prediction = settings.prediction or manifest.schedule.prediction
    mean, std = source.latent_mean, source.latent_std
    if shift is not None and stretch is not None:
        mean, std = mean + std * shift.to(mean), std * stretch.to(std)
    whitened = settings.scratch or manifest.latent.whitened
    atlas = settings.atlas and whitened
    width = manifest.latent.shape[0] * packing**3
    config = {**manifest.networks["denoiser"], **settings.network}
    config["in_channels"] = width * (2 if atlas else 1) + source.attribute_channels
    config["out_channels"] = width
    if any(size % packing for size in manifest.latent.shape[1:]):
        raise VcmError(
            Code.BAD_REQUEST,
            f"With packing {packing} the denoiser needs latents whose sizes divide by it; those of {manifest.name} are "
            f"{manifest.latent.shape[1:]}.",
            "Choose a smaller packing.",
        )
    denoiser = build_denoiser(config)
    if not settings.scratch:
        _continue(denoiser, source.denoiser)
    schedule = {**asdict(manifest.schedule), "prediction": prediction}
    backbone = LatentDiffusion(
        grid=source.grid,
        latent_shape=source.latent_shape,
        schedule=Schedule.from_dict(schedule),
        attributes=source.attributes,
        autoencoder=source.autoencoder,
        denoiser=denoiser,
        scale_factor=source.scale_factor,
        packing=packing,
        whitening=(mean.cpu(), std.cpu()) if whitened else None,
        atlas=atlas,
    ).eval()
    latent = {
        "shape": list(manifest.latent.shape), "scale_factor": manifest.latent.scale_factor,
        "packing": packing, "whitened": whitened, "atlas": atlas,
    }  # fmt: skip
    return backbone, {"latent": latent, "schedule": schedule, "networks": {"denoiser": config}}


def _continue(network: nn.Module, former: nn.Module) -> None:
    """The former weights; channels that the former network did not have begin at zero."""
    state: dict[str, Tensor] = dict(former.state_dict())
    first = "conv_in.conv.weight"
    wanted = network.state_dict()[first]
    missing = wanted.shape[1] - state[first].shape[1]
    if missing < 0:
        raise VcmError(
            Code.BAD_REQUEST,
            "The pack's denoiser is shown the mean latent (atlas) already, and cannot be taken on without it.",
            "Leave atlas at true.",
        )
    if missing:
        zeros = state[first].new_zeros(state[first].shape[0], missing, *state[first].shape[2:])
        state[first] = torch.cat([state[first], zeros], dim=1)
    network.load_state_dict(state)


def _whitening(settings: DenoiserSettings, cache: LatentCache, folder: Path, team: Team) -> tuple[Tensor, Tensor]:
    """Mean and spread at each place of the latents and their mirror images: computed once, then kept with the run."""
    path = folder / WHITENING
    if not path.is_file() and team.first:
        latents = cache.latents.float().flatten(0, 1)
        write_weights(path, {"mean": latents.mean(0), "std": latents.std(0).clamp(min=1e-3)})
    team.wait()
    kept: Mapping[str, Tensor] = read_checkpoint(path)
    return kept["mean"], kept["std"]
