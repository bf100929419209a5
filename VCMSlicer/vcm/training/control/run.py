"""A control's training from cases to weights: opens or resumes its folder, and writes the entries of its manifest."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vcm.cohort.learning_cases import LearningCase, condition_specs
from vcm.conditions.condition import ConditionSpec, Kind
from vcm.core.errors import Code, VcmError
from vcm.judging.segmentation import choose_segmenter
from vcm.models.controls.control import Control
from vcm.models.loading import BACKBONES, CONTROLS, load_backbone, load_control
from vcm.packs.manifest import BackboneManifest
from vcm.packs.store import Pack, find_pack
from vcm.training.control.settings import ControlSettings
from vcm.training.control.task import ControlTask
from vcm.training.control.validation import ControlValidator
from vcm.training.data.latent_cache import LatentCache
from vcm.training.data.latent_store import latent_fingerprint, open_latents
from vcm.training.trainer.checkpoint import CHECKPOINT
from vcm.training.trainer.new_networks import network_refusals
from vcm.training.trainer.run_info import RunInfo, write_run_info
from vcm.training.trainer.team import Team
from vcm.training.trainer.trainer import Listeners, Trainer
from vcm.training.trainer.warm_start import begin_with, say_storage, start_from


@dataclass(frozen=True, eq=False)
class ControlRun:
    """A training that is ready to run: `trainer.train()` runs it, `entries` are the manifest's conditions."""

    settings: ControlSettings
    pack: Pack
    trainer: Trainer
    task: ControlTask
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
    start: Path | None = None,
    listeners: Listeners | None = None,
) -> ControlRun:
    """Start a training in `folder`, or resume the one that is there.

    A new training has random weights, or those of the run in the folder `start`. `latents` is the
    folder of cached latents. `specs` describe the conditions that the cases offer; without them, they are a cohort's.
    The unseen cases are for validation.
    """
    listeners = listeners or Listeners()
    specs = tuple(specs) if specs is not None else condition_specs(settings.conditions)
    if tuple(spec.name for spec in specs) != settings.conditions:
        raise VcmError(Code.BAD_REQUEST, f"The settings are for the conditions {', '.join(settings.conditions)}.")
    pack = find_pack(settings.backbone)
    backbone = load_backbone(pack).requires_grad_(False).to(team.device)
    say_storage(pack, ("autoencoder", "denoiser"), listeners)
    control = new_control(settings, pack.backbone, specs)
    control.begin(backbone)
    ways = {name: way for name, way in control.preparers.items() if name in control.latent_conditions}
    cache = open_latents(pack, backbone, cases, specs, latents, team, listeners, ways)
    _show_typical(control, cache)
    if not (folder / CHECKPOINT).is_file():
        if start is not None:
            start_from(start, control.network, listeners)
        elif settings.start:
            _start_from_pack(find_pack(settings.start), control, listeners)
    validator = None
    if unseen:
        judge = choose_segmenter(pack, device=team.device).segmenter
        if judge is None and not any(spec.kind is Kind.IMAGE for spec in specs):
            raise VcmError(
                Code.BAD_REQUEST,
                f"{pack.name} has no segmenter, so adherence cannot be measured during training.",
                "Train without held-out cases (--held-out), or give the backbone a segmenter: vcm train segmenter",
            )
        validator = ControlValidator(backbone, judge, specs, unseen, settings.sampling_steps)
    identity = {"backbone": pack.backbone.files["denoiser"].sha256, "autoencoder": latent_fingerprint(pack)}
    task = ControlTask(settings, backbone, control.to(team.device), cache, identity=identity, validator=validator)
    trainer = Trainer(settings, task, folder, team, listeners)
    findable = [entry.value for entry in pack.backbone.segmenter_classes]
    entries = condition_entries(specs, cache, backbone.grid, findable)
    for entry in entries:
        if (way := control.preparers[entry["name"]]) != "voxels":
            entry["preparer"] = way
    if team.first:
        write_run_info(folder, RunInfo(len(cache), entries))
    return ControlRun(settings, pack, trainer, task, entries)


def _start_from_pack(pack: Pack, control: Control, listeners: Listeners) -> None:
    weights = theirs = load_control(pack).network.state_dict()
    with suppress(KeyError, RuntimeError):  # of a network of other sizes, which is refused below
        weights = control.learnable(theirs)
    begin_with(weights, control.network, f"The control {pack.name}")
    say_storage(pack, tuple(pack.control.files), listeners)


def new_control(settings: ControlSettings, manifest: BackboneManifest, specs: Sequence[ConditionSpec]) -> Control:
    """The control of a training, with random weights that follow from its seed."""
    family = CONTROLS[settings.architecture]
    if family.needs_residuals and not BACKBONES[manifest.family].takes_residuals:
        raise VcmError(
            Code.BAD_REQUEST,
            f"A control of the kind {settings.architecture} adds to the layers within its backbone, and "
            f"{manifest.name} takes nothing there.",
            'Choose architecture = "vcm".',
        )
    if settings.scale_factor is not None and (manifest.latent.whitened or not BACKBONES[manifest.family].rescales):
        raise VcmError(
            Code.BAD_REQUEST,
            f"The latents of {manifest.name} have no scale factor of which a control could have another.",
            "Leave scale_factor out.",
        )
    networks = family.configure(manifest, specs, settings.variant, settings.network)
    torch.manual_seed(settings.seed)
    with network_refusals():
        return family.create(networks, specs, settings.scale_factor)


def _show_typical(control: Control, cache: LatentCache) -> None:
    """The mean of each condition over all cases, for networks that see how a condition differs from it."""
    buffers = dict(control.network.named_buffers())
    for spec in cache.specs:
        if (typical := buffers.get(f"typical_{spec.name}")) is not None:
            i, j, k = typical.shape[1:]
            typical.copy_(cache.typical(spec, (i, j, k)))


def condition_entries(
    specs: Sequence[ConditionSpec], cache: LatentCache, grid: Any, findable: Sequence[int] = ()
) -> list[dict[str, Any]]:
    """The manifest's entries of conditions, with volumes (2nd to 98th percentile) and centroids seen in training.

    `findable` are the labels that the backbone's segmenter can find, of which alone the entries speak; none means any.
    """
    entries = []
    for spec in specs:
        entry: dict[str, Any] = {"name": spec.name, "kind": spec.kind.value, "description": spec.description}
        if spec.kind is not Kind.IMAGE:
            found = [_sizes_and_middles(cache.voxels(spec, [item])[0]) for item in range(len(cache))]
            entry["classes"] = [
                {
                    "value": structure.value,
                    "name": structure.name,
                    **({"segmenter": labels} if (labels := _findable(structure.segmenter, findable)) else {}),
                    **_typical([(one[0] * grid.voxel_ml, grid.to_world(one[1:])) for one in each if one[0]]),
                }
                for structure, each in zip(spec.classes, np.stack(found, axis=1), strict=True)
            ]
        entries.append(entry)
    return entries


def _findable(labels: Sequence[int], findable: Sequence[int]) -> list[int]:
    return [label for label in labels if not findable or label in findable]


def _sizes_and_middles(masks: Tensor) -> NDArray[np.float64]:
    """The number of voxels of each mask `[C, i, j, k]` and their mean index, `[C, 4]`."""
    columns = [masks.sum((1, 2, 3), dtype=torch.float64)]
    for axis in (1, 2, 3):
        along = masks.sum([other for other in (1, 2, 3) if other != axis], dtype=torch.float64)
        places = torch.arange(along.shape[1], dtype=torch.float64, device=masks.device)
        columns.append(along @ places / columns[0])
    return torch.stack(columns, dim=1).cpu().numpy()


def _typical(seen: Sequence[tuple[float, Any]]) -> dict[str, Any]:
    if not seen:
        return {}
    low, high = np.percentile([ml for ml, _ in seen], (2, 98))
    centroid = np.mean([place for _, place in seen], axis=0)
    return {
        "typical_ml": [round(float(low), 1), round(float(high), 1)],
        "centroid_mm": [round(float(mm), 1) for mm in centroid],
    }
