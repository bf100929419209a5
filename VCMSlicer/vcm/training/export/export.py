"""From a run's folder to a pack, whatever was trained in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vcm.core.errors import Code, VcmError
from vcm.core.reading import read_json
from vcm.models.loading import BACKBONES
from vcm.models.shrinking import Shrunk, shrink_files
from vcm.packs.installation import pack_folder, refuse_what_is_no_pack
from vcm.packs.store import find_pack
from vcm.packs.tensors.checkpoints import read_checkpoint
from vcm.training.backbone.denoiser_run import WHITENING
from vcm.training.backbone.image_runs import PLACES
from vcm.training.control.settings import ControlSettings
from vcm.training.export.backbone import write_backbone_pack
from vcm.training.export.control import write_control_pack
from vcm.training.export.layout import write_layout_pack
from vcm.training.export.model_card import ExportNotes, Provenance, read_figures
from vcm.training.kinds import settings_of
from vcm.training.layout.settings import LayoutSettings
from vcm.training.spread import kept_spread
from vcm.training.trainer.checkpoint import best_weights, load_last
from vcm.training.trainer.run_info import read_run_info
from vcm.training.trainer.settings import TrainingSettings


def export_run(
    run: Path,
    out: Path,
    notes: ExportNotes = ExportNotes(),  # noqa: B008
    *,
    bits: int = 16,
    force: bool = False,
) -> Shrunk | None:
    """Write the best averaged weights of a run as the pack `out`; a pack that lies there stays until it is whole.

    Nothing is needed but the run's folder and the pack it began with. Files in `out` that are not a pack's are kept;
    those that were changed are refused unless `force` is set. With 8 `bits`, what the training has made is stored in 8
    bits per channel, and what that cost is returned; the other files of a backbone's pack are as they were.
    """
    if bits not in (8, 16):
        raise VcmError(Code.BAD_REQUEST, f"Weights are stored in 8 or 16 bits, not in {bits}.")
    refuse_what_is_no_pack(out)
    with pack_folder(out, force=force, inputs=[notes.figures] if notes.figures else []) as folder:
        learned = write_run_pack(run, folder, notes)
        return shrink_files(folder, learned) if bits == 8 else None


def write_run_pack(run: Path, out: Path, notes: ExportNotes) -> tuple[str, ...]:
    """Write the pack into the empty folder `out`, as `export_run` does; the roles of the files that are new."""
    settings = settings_of(run)
    state = load_last(run, lambda words: None, _check_named)
    if state is None:
        raise VcmError(Code.FILE_MISSING, f"There is no checkpoint in {run}.", "Give the folder of a training.")
    about, pack = read_run_info(run), find_pack(settings.backbone)
    step, weights = best_weights(run, state)
    given = {**vars(notes), "command": notes.command or f"vcm train {settings.kind}"}
    provenance = Provenance(**given, minutes=state["seconds"] / 60, steps=state["step"], cases=about.cases)
    words = read_figures(notes.figures, _validated(run, step))
    origin = state["identity"].get("backbone")
    if origin not in (None, pack.backbone.files["denoiser"].sha256):
        raise VcmError(
            Code.BAD_REQUEST,
            f"The pack {pack.name} is not the one this training began with: its denoiser has changed since.",
            "Give the pack it was trained for back its name.",
        )
    if isinstance(settings, LayoutSettings):
        return write_layout_pack(out, run, weights, about.changes, settings, provenance, words)
    if isinstance(settings, ControlSettings):
        write_control_pack(
            out, weights, pack, settings, about.conditions, provenance, words, kept_spread(run, state["step"])
        )
        return ("control",)
    roles = _roles(run, settings, weights, about.changes, pack.backbone.family)
    if (spread := kept_spread(run, state["step"])) is not None:
        roles["spread"] = spread
    write_backbone_pack(out, pack, roles, about.changes, settings, provenance, words)
    return tuple(roles)


def _roles(
    run: Path, settings: TrainingSettings, weights: Mapping[str, Tensor], changes: Mapping[str, Any], family: str
) -> dict[str, Mapping[str, Tensor]]:
    """The files of the new pack that this training has made, by their role."""
    roles: dict[str, Mapping[str, Tensor]] = {settings.kind: weights}
    for role, file in (("whitening", WHITENING), ("places", PLACES)):
        if (run / file).is_file():
            roles[role] = read_checkpoint(run / file)
    if settings.kind == "autoencoder" and "latent" in changes:
        # A denoiser of the latents there were before would paint noise: the new pack waits for one of its own.
        torch.manual_seed(settings.seed)
        roles["denoiser"] = BACKBONES[family].new_denoiser(changes["networks"]["denoiser"]).state_dict()
    return roles


def _check_named(state: Mapping[str, Any]) -> None:
    """Touch all that an export takes from a checkpoint."""
    float(state["seconds"]), dict(state["identity"]), dict(state["average"])


def _validated(run: Path, step: int) -> dict[str, Any] | None:
    path = run / f"validated-{step:06d}.json"
    return read_json(path) if path.is_file() else None
