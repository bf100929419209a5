"""A layout's training from cases to weights: its two parts, one behind the other, begun or taken up again."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from vcm.anatomy.structures import SEGMENTER_CLASSES
from vcm.cohort.files import CaseEntry
from vcm.cohort.learning_cases import CohortCase
from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.core.hashing import hash_file
from vcm.core.reading import read_json
from vcm.models.layout.label_autoencoder import LabelAutoencoder
from vcm.models.layout.layout import Layout, latent_sizes, new_autoencoder, new_denoiser
from vcm.models.layout.layout_denoiser import LayoutDenoiser
from vcm.outputs.sealed_json import write_sealed
from vcm.packs.manifest import FILE_NAME, LayoutManifest
from vcm.packs.manifest_reading import parse_layout
from vcm.packs.store import Pack, find_pack
from vcm.packs.tensors.checkpoints import read_checkpoint, write_weights
from vcm.training.layout.label_autoencoder_task import LabelAutoencoderTask, moments
from vcm.training.layout.label_cache import LabelCache
from vcm.training.layout.layout_task import LayoutTask
from vcm.training.layout.settings import LabelAutoencoderSettings, LayoutSettings
from vcm.training.trainer.checkpoint import best_weights, claim_run, load_last
from vcm.training.trainer.new_networks import network_refusals
from vcm.training.trainer.run_info import RunInfo, write_run_info
from vcm.training.trainer.team import Team
from vcm.training.trainer.trainer import SETTINGS, Listeners, Trainer

AUTOENCODER = "autoencoder"
"""The folder of the first part within the run's."""
SCHEDULE = {"timesteps": 1000, "kind": "cosine", "prediction": "v"}
LABELS = len(SEGMENTER_CLASSES) + 1
STANDARDISED_ON = 64
"""On so many heads the mean and the spread of latents are measured."""


def train_layout(
    settings: LayoutSettings,
    cases: Sequence[CaseEntry],
    folder: Path,
    *,
    team: Team,
    unseen: Sequence[CaseEntry] = (),
    minutes: float = math.inf,
    listeners: Listeners | None = None,
) -> str:
    """Train in `folder`, or go on there: `finished`, `stopped early`, or `paused` when the minutes are used up.

    The autoencoder comes first; the denoiser learns on the latents of its best weights.
    """
    listeners, started = listeners or Listeners(), time.monotonic()
    pack = find_pack(settings.backbone)
    grid = _grid_of(cases)
    attributes = [spec.name for spec in pack.backbone.attributes]
    latent_sizes(grid.shape)

    def cached(entries: Sequence[CaseEntry]) -> LabelCache:
        highest = max(SEGMENTER_CLASSES)
        return LabelCache([CohortCase(case, grid) for case in entries], attributes, highest, listeners.say)

    content = _content(settings, pack, grid)
    start = find_pack(settings.start) if settings.start else None
    if start is not None:
        _refuse_another(start.layout, content, grid)
        _take_over(start.layout, content, settings)
    manifest = _manifest(content)
    torch.manual_seed(settings.seed)
    with network_refusals():
        denoiser = new_denoiser(LABELS, manifest.latent_shape, len(attributes), content["networks"]["denoiser"])
    learned = Layout.load(start) if start is not None else None
    if learned is not None:
        _go_on(denoiser, learned.denoiser)
    cache, held = cached(cases), cached(unseen) if unseen else None
    if team.first and not (folder / SETTINGS).is_file():
        with claim_run(folder):
            write_sealed(folder / SETTINGS, settings.as_dict())
    if learned is not None:
        autoencoder = _kept(learned.autoencoder, folder, team)
    else:
        how, taught = _first_part(settings.of_autoencoder, cache, held, folder, team, minutes, listeners)
        if taught is None:
            return how
        autoencoder = taught
    layout = Layout(autoencoder, denoiser, manifest.process).to(team.device)
    identity = {AUTOENCODER: hash_file(folder / f"{AUTOENCODER}.safetensors")}
    second = LayoutTask(settings, layout, manifest, cache, team.device, identity=identity, unseen=held)
    trainer = Trainer(settings, second, folder, team, listeners)
    if team.first:
        write_run_info(folder, RunInfo(len(cache), changes=content))
    listeners.say("second part: the denoiser")
    return trainer.train(max(minutes - (time.monotonic() - started) / 60, 0.0))


def _first_part(
    settings: LabelAutoencoderSettings,
    cache: LabelCache,
    unseen: LabelCache | None,
    folder: Path,
    team: Team,
    minutes: float,
    listeners: Listeners,
) -> tuple[str, LabelAutoencoder | None]:
    """How the training of the autoencoder ended, and the best one; none while it is not finished."""
    torch.manual_seed(settings.seed)
    with network_refusals():
        autoencoder = new_autoencoder(LABELS, settings.network)
    task = LabelAutoencoderTask(settings, autoencoder, cache, team.device, unseen)
    listeners.say("first part: the autoencoder of label maps")
    trainer = Trainer(settings, task, folder / AUTOENCODER, team, listeners)
    begun_at = trainer.step
    how = trainer.train(minutes)
    if how == "paused":
        return how, None
    return how, _trained(folder, settings.network, cache, team, anew=trainer.step != begun_at)


def _refuse_another(start: LayoutManifest, content: Mapping[str, Any], grid: Grid) -> None:
    """Refuse a layout that is not of these attributes, classes and grid."""
    for words, theirs, ours in (
        ("attributes", [spec.name for spec in start.attributes], [spec["name"] for spec in content["attributes"]]),
        ("classes", [c.value for c in start.classes], [c["value"] for c in content["classes"]]),
    ):
        if theirs != ours:
            raise VcmError(
                Code.BAD_REQUEST,
                f"The layout {start.name} knows other {words} than this training teaches.",
                "Name a layout that was trained for this backbone, or train one from nothing.",
            )
    if not start.grid.same_as(grid):
        raise VcmError(
            Code.BAD_REQUEST,
            f"The cases lie on another grid than the layout {start.name}.",
            "Make the cohort on the grid of that layout, or train one from nothing.",
        )


def _take_over(theirs: LayoutManifest, content: dict[str, Any], settings: LayoutSettings) -> None:
    """What the pack to go on with says of its networks, with the blocks that the settings give its denoiser."""
    content["networks"] = {role: dict(options) for role, options in theirs.networks.items()}
    content["networks"]["denoiser"].update(settings.network)
    content["latent"] = {"shape": list(theirs.latent_shape)}
    content["schedule"] = dict(theirs.schedule)


def _go_on(denoiser: LayoutDenoiser, trained: LayoutDenoiser) -> None:
    """Give it all that the other has learned. Further blocks stay as they are made, and so change nothing at first."""
    if denoiser.load_state_dict(trained.state_dict(), strict=False).unexpected_keys:
        raise VcmError(
            Code.BAD_REQUEST,
            "The layout to start with has more blocks than the setting network leaves it.",
            "Give network at least as many blocks at each resolution.",
        )


def _kept(autoencoder: LabelAutoencoder, folder: Path, team: Team) -> LabelAutoencoder:
    """That of the pack to go on with. The run's folder keeps it, and a training that goes on in it has that one,
    whatever the pack holds by now."""
    path = folder / f"{AUTOENCODER}.safetensors"
    if team.first and not path.is_file():
        with claim_run(folder):
            write_weights(path, autoencoder.state_dict())
    team.wait()
    autoencoder.load_state_dict(read_checkpoint(path))
    return autoencoder


def _grid_of(cases: Sequence[CaseEntry]) -> Grid:
    """That of the first case that can be read; the others that cannot are named when all are read."""
    for case in cases:
        with suppress(VcmError):
            return case.read("labels").grid
    raise VcmError(Code.BAD_REQUEST, f"None of the {len(cases)} cases has label maps that can be read.")


def _trained(
    folder: Path, options: Mapping[str, Any], cache: LabelCache, team: Team, *, anew: bool
) -> LabelAutoencoder:
    """The best autoencoder of the first part, its latents of mean 0 and spread 1; kept in the run's folder."""
    autoencoder, path = new_autoencoder(LABELS, options), folder / f"{AUTOENCODER}.safetensors"
    if team.first and (anew or not path.is_file()):
        state = load_last(folder / AUTOENCODER, lambda words: None)
        assert state is not None
        autoencoder.load_state_dict(best_weights(folder / AUTOENCODER, state)[1])
        with torch.no_grad():
            some = range(min(len(cache), STANDARDISED_ON))
            latents = torch.cat([autoencoder.encode(cache.labels([item], [False])) for item in some])
        centre, spread = moments(latents)
        autoencoder.centre.copy_(centre)
        autoencoder.spread.copy_(spread.clamp(min=1e-3))
        with claim_run(folder):
            write_weights(path, autoencoder.state_dict())
    team.wait()
    autoencoder.load_state_dict(read_checkpoint(path))
    return autoencoder.requires_grad_(False).eval()


def _content(settings: LayoutSettings, pack: Pack, grid: Grid) -> dict[str, Any]:
    """What the manifest of the layout's pack says of its networks."""
    channels = settings.of_autoencoder.network.get("latent_channels", 8)
    return {
        "backbones": list(dict.fromkeys([pack.name, *settings.backbones])),
        "grid": grid.as_dict(),
        "latent": {"shape": [channels, *latent_sizes(grid.shape)]},
        "schedule": SCHEDULE,
        "sampling": {"sampler": "dpm++", "steps": settings.sampling_steps},
        "networks": {"autoencoder": settings.of_autoencoder.network, "denoiser": settings.network},
        "attributes": read_json(pack.folder / FILE_NAME)["attributes"],
        "classes": [{"value": value, "name": name} for value, (name, _) in SEGMENTER_CLASSES.items()],
    }


def _manifest(content: Mapping[str, Any]) -> LayoutManifest:
    """The manifest while there is no pack yet."""
    named = {"name": "layout", "title": "layout", "version": "0", "licence": {"name": "none"}}
    return parse_layout({**content, **named, "files": {}, "trained": {}})
