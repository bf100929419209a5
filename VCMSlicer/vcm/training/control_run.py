"""A control's training from cases to weights: its folder made or found again, and what a pack will say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vcm.conditions import ConditionSpec, Kind
from vcm.errors import Code, VcmError
from vcm.judging.segmentation import choose_segmenter
from vcm.loading import build_control, load_backbone
from vcm.packs.store import Pack, find_pack
from vcm.training.control_lesson import ControlLesson
from vcm.training.control_networks import channels_of, network_config
from vcm.training.control_settings import ControlSettings
from vcm.training.latent_cache import LatentCache
from vcm.training.latent_store import latent_fingerprint, open_latents
from vcm.training.learning_cases import LearningCase, condition_specs
from vcm.training.obedience import Examiner
from vcm.training.run_about import write_about
from vcm.training.team import Team
from vcm.training.trainer import Listeners, Trainer


@dataclass(frozen=True, eq=False)
class ControlRun:
    """A training that stands ready: `trainer.train()` teaches, `entries` are the manifest's conditions."""

    settings: ControlSettings
    pack: Pack
    trainer: Trainer
    lesson: ControlLesson
    entries: list[dict[str, Any]]


def open_control_run(
    settings: ControlSettings,
    cases: Sequence[LearningCase],
    folder: Path,
    *,
    latents: Path,
    team: Team,
    unseen: Sequence[LearningCase] = (),
    specs: Sequence[ConditionSpec] | None = None,
    listeners: Listeners | None = None,
) -> ControlRun:
    """Begin a training in `folder`, or take up the one that was begun there.

    `latents` is the folder of cached latents. `specs` describe the conditions that the cases offer; without them, they
    are a cohort's. The unseen cases are for the validation.
    """
    listeners = listeners or Listeners()
    specs = tuple(specs) if specs is not None else condition_specs(settings.conditions)
    if tuple(spec.name for spec in specs) != settings.conditions:
        raise VcmError(Code.BAD_REQUEST, f"The settings are for the conditions {', '.join(settings.conditions)}.")
    pack = find_pack(settings.backbone)
    backbone = load_backbone(pack).requires_grad_(False).to(team.device)
    config = network_config(pack.backbone, settings, specs)
    cache = open_latents(pack, backbone, cases, specs, latents, team, listeners, config.get("as_latents", ()))
    network = _new_network(settings, config, cache)
    examiner = None
    if unseen:
        judge = choose_segmenter(pack, device=team.device).segmenter
        if judge is None and not any(spec.kind is Kind.IMAGE for spec in specs):
            raise VcmError(
                Code.BAD_REQUEST,
                f"{pack.name} has no segmenter, so that obedience cannot be measured while training.",
                "Train without unseen cases (--held-out), or give the backbone a segmenter: vcm train segmenter",
            )
        examiner = Examiner(backbone, judge, specs, unseen, settings.sampling_steps, settings.scale_factor)
    identity = {"backbone": pack.backbone.files["denoiser"].sha256, "autoencoder": latent_fingerprint(pack)}
    lesson = ControlLesson(settings, backbone, network.to(team.device), cache, identity=identity, examiner=examiner)
    trainer = Trainer(settings, lesson, folder, team, listeners)
    entries = condition_entries(specs, cache, backbone.grid)
    if team.first:
        write_about(folder, len(cache), conditions=entries)
    return ControlRun(settings, pack, trainer, lesson, entries)


def _new_network(settings: ControlSettings, config: Mapping[str, Any], cache: LatentCache) -> Any:
    if settings.regression_steps and config["variant"] != "patches":
        raise VcmError(
            Code.BAD_REQUEST,
            "A first phase (regression_steps) needs a network that says what the conditions alone let expect.",
            'Choose variant = "small", or leave regression_steps out.',
        )
    torch.manual_seed(settings.seed)
    network = build_control(config, channels_of(cache.specs))
    buffers = dict(network.named_buffers())
    for spec in cache.specs:
        if (typical := buffers.get(f"typical_{spec.name}")) is not None:
            i, j, k = typical.shape[1:]
            typical.copy_(cache.typical(spec, (i, j, k)))
    return network


def condition_entries(specs: Sequence[ConditionSpec], cache: LatentCache, grid: Any) -> list[dict[str, Any]]:
    """The manifest's entries of conditions, with volumes (2nd to 98th percentile) and centroids seen in training."""
    entries = []
    for spec in specs:
        entry: dict[str, Any] = {"name": spec.name, "kind": spec.kind.value, "description": spec.description}
        if spec.kind is not Kind.IMAGE:
            seen: dict[int, list[tuple[float, Any]]] = {structure.value: [] for structure in spec.classes}
            for item in range(len(cache)):
                channels = cache.channels(spec, item)
                for structure, mask in zip(spec.classes, channels, strict=True):
                    inside = np.argwhere(mask)
                    if len(inside):
                        place = grid.to_world(inside.mean(axis=0))
                        seen[structure.value].append((len(inside) * grid.voxel_ml, place))
            entry["classes"] = [
                {
                    "value": structure.value,
                    "name": structure.name,
                    **({"segmenter": list(structure.segmenter)} if structure.segmenter else {}),
                    **_typical(seen[structure.value]),
                }
                for structure in spec.classes
            ]
        entries.append(entry)
    return entries


def _typical(seen: Sequence[tuple[float, Any]]) -> dict[str, Any]:
    if not seen:
        return {}
    low, high = np.percentile([ml for ml, _ in seen], (2, 98))
    centroid = np.mean([place for _, place in seen], axis=0)
    return {
        "typical_ml": [round(float(low), 1), round(float(high), 1)],
        "centroid_mm": [round(float(mm), 1) for mm in centroid],
    }
