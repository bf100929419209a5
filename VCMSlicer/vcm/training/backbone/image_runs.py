"""The trainings of autoencoders and segmenters from cases to weights: their folders made or found again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import UNet
from torch import nn

from vcm.anatomy.structures import SEGMENTER_CLASSES
from vcm.anatomy.usual_places import usual_places
from vcm.cohort.files import CaseEntry
from vcm.cohort.learning_cases import CohortCase
from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.models.loading import BACKBONES, load_backbone
from vcm.models.segmenter import load_segmenter
from vcm.packs.store import Pack, default_backbone, find_pack
from vcm.packs.tensors.checkpoints import write_weights
from vcm.training.backbone.autoencoder_settings import AutoencoderSettings
from vcm.training.backbone.autoencoder_task import AutoencoderTask
from vcm.training.backbone.codebook_task import CodebookTask
from vcm.training.backbone.segmenter_features import SegmenterFeatures
from vcm.training.backbone.segmenter_settings import SegmenterSettings
from vcm.training.backbone.segmenter_task import SegmenterTask
from vcm.training.data.image_cache import ImageCache
from vcm.training.data.latent_store import latent_fingerprint
from vcm.training.trainer.checkpoint import CHECKPOINT
from vcm.training.trainer.new_networks import network_refusals
from vcm.training.trainer.run_info import RunInfo, write_run_info
from vcm.training.trainer.team import Team
from vcm.training.trainer.trainer import Listeners, Trainer
from vcm.training.trainer.warm_start import begin_with, say_storage, start_from, turned

PLACES = "places.safetensors"
"""In the folder of a segmenter's training: where its cases have their structures."""


@dataclass(frozen=True, eq=False)
class ImageRun:
    """A training that stands ready: `trainer.train()` teaches."""

    pack: Pack
    trainer: Trainer


def open_autoencoder_run(
    settings: AutoencoderSettings,
    cases: Sequence[CaseEntry],
    folder: Path,
    *,
    team: Team,
    unseen: Sequence[CaseEntry] = (),
    listeners: Listeners | None = None,
    start: Path | None = None,
) -> ImageRun:
    """Begin a training in `folder`, or take up the one that was begun there; the cases' own grid, made coarser, is
    the new backbone's. A new one begins with what another one in `start` has learned."""
    listeners = listeners or Listeners()
    pack = find_pack(settings.backbone)
    grid = _coarser(cases[0].read("image").grid, settings.coarsen)
    cache, held = _images(cases, unseen, grid, False, listeners)
    family = BACKBONES[pack.backbone.family]
    judge = SegmenterFeatures.of(find_pack(settings.judge), team.device) if settings.features else None
    torch.manual_seed(settings.seed)
    with network_refusals():
        network, config = family.new_autoencoder(pack.backbone, settings.network)
    if settings.stage == 2:
        say_storage(pack, ("autoencoder",), listeners)
        network, changes = load_backbone(pack).autoencoder, dict[str, Any](trained={"autoencoder": True})
    else:
        # Other latents: the new pack waits for a denoiser of its own, and has no segmenter yet.
        trained = {"autoencoder": True, "denoiser": False}
        changes = {**family.around(pack.backbone, config, grid), "trained": trained, "without": ["segmenter", "places"]}
    if not (folder / CHECKPOINT).is_file():
        if start is not None:
            start_from(start, network, listeners)
        elif settings.start:
            _start_from_pack(find_pack(settings.start), "autoencoder", network, listeners)
    kind = CodebookTask if hasattr(network, "codebook") else AutoencoderTask
    if kind is CodebookTask and team.size > 1:
        raise VcmError(Code.BAD_REQUEST, "An autoencoder with a codebook is trained by one process.", "Start only one.")
    task = kind(settings, network, cache, grid, team.device, identity={}, unseen=held, judge=judge)
    trainer = Trainer(settings, task, folder, team, listeners)
    if team.first:
        write_run_info(folder, RunInfo(len(cache), changes=changes))
    return ImageRun(pack, trainer)


def open_segmenter_run(
    settings: SegmenterSettings,
    cases: Sequence[CaseEntry],
    folder: Path,
    *,
    team: Team,
    unseen: Sequence[CaseEntry] = (),
    listeners: Listeners | None = None,
) -> ImageRun:
    """Begin a training in `folder`, or take up the one that was begun there."""
    listeners = listeners or Listeners()
    pack = find_pack(settings.backbone)
    backbone = load_backbone(pack).requires_grad_(False).to(team.device)
    cache, held = _images(cases, unseen, backbone.grid, True, listeners)
    usual = find_pack(default_backbone()).backbone.networks["segmenter"]
    config = {**pack.backbone.networks.get("segmenter", usual), **settings.network}
    config["out_channels"] = len(SEGMENTER_CLASSES) + 1
    torch.manual_seed(settings.seed)
    network = UNet(**config)
    if settings.start and not (folder / CHECKPOINT).is_file():
        _start_from_pack(find_pack(settings.start), "segmenter", network, listeners, pack.backbone.grid)
    identity = {"autoencoder": latent_fingerprint(pack)}
    task = SegmenterTask(settings, network, backbone, cache, identity=identity, unseen=held)
    trainer = Trainer(settings, task, folder, team, listeners)
    classes = [{"value": value, "name": name} for value, (name, _) in SEGMENTER_CLASSES.items()]
    if team.first:
        if not (folder / PLACES).is_file():
            write_weights(folder / PLACES, {"places": torch.from_numpy(usual_places(cache.label_maps()))})
        changes = {
            "networks": {"segmenter": config},
            "segmenter_classes": classes,
            "segmenter_one_piece": settings.crop > 0,
        }
        write_run_info(folder, RunInfo(len(cache), changes=changes))
    return ImageRun(pack, trainer)


def _start_from_pack(pack: Pack, role: str, network: nn.Module, listeners: Listeners, grid: Grid | None = None) -> None:
    """Initialise `network` with a pack's network of that role, `autoencoder` or `segmenter`; where it is to work on
    `grid`, its kernels are turned to the order of that grid's axes."""
    theirs = load_segmenter(pack) if role == "segmenter" else load_backbone(pack).autoencoder
    say_storage(pack, (role,), listeners)
    weights = theirs.state_dict()
    if grid is not None:
        weights = turned(weights, pack.backbone.grid, grid)
    begin_with(weights, network, f"The {role} of the pack {pack.name}")


def _images(
    cases: Sequence[CaseEntry], unseen: Sequence[CaseEntry], grid: Grid, labelled: bool, listeners: Listeners
) -> tuple[ImageCache, ImageCache | None]:
    """The images to learn from, and those to try it on where there are such, on one grid."""

    def cached(entries: Sequence[CaseEntry]) -> ImageCache:
        return ImageCache([CohortCase(case, grid) for case in entries], labelled, listeners.say)

    return cached(cases), cached(unseen) if unseen else None


def _coarser(grid: Grid, factor: int) -> Grid:
    if any(size % factor for size in grid.shape):
        raise VcmError(Code.BAD_REQUEST, f"A grid of {grid.shape} voxels cannot be made {factor} times coarser.")
    return grid.downsampled([size // factor for size in grid.shape]) if factor > 1 else grid
