"""From a finished training of one of a backbone's networks to a pack: the old pack with that network replaced."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from vcm.core.grid import Grid
from vcm.core.reading import read_json
from vcm.outputs.atomic_files import atomic_path, write_json, write_text
from vcm.packs.manifest import FILE_NAME, TABLES, BackboneManifest
from vcm.packs.manifest_reading import write_manifest
from vcm.packs.store import Pack
from vcm.packs.tensors.checkpoints import write_weights
from vcm.training.export.model_card import Provenance, backbone_card, grid_in_words
from vcm.training.trainer.settings import TrainingSettings


def write_backbone_pack(
    folder: Path,
    base: Pack,
    weights: Mapping[str, Mapping[str, Tensor]],
    changes: Mapping[str, Any],
    settings: TrainingSettings,
    provenance: Provenance,
    figures: str,
) -> BackboneManifest:
    """Write the pack `folder`, whose name becomes the pack's; the manifest comes last, when all else is in place.

    `weights` maps a role (`denoiser`, `whitening`, …) to its tensors, which are kept in fp16 if a network has them;
    every other file is the base's.
    """
    settings = replace(settings, backbone=base.name)  # a pack's path means nothing elsewhere
    without = changes.get("without", [])
    files: dict[str, dict[str, str]] = {}
    for role, tensors in weights.items():
        files[role] = {"path": f"{role}.safetensors"}
        write_weights(folder / files[role]["path"], {name: _kept(role, t) for name, t in tensors.items()})
    whitened = changes.get("latent", {}).get("whitened", base.backbone.latent.whitened)
    samples_differ = bool(weights.keys() & {"autoencoder", "denoiser"})
    stale = {role for role, is_stale in (("whitening", not whitened), ("spread", samples_differ)) if is_stale}
    for role, file in base.backbone.files.items():
        if role not in files and role not in without and role not in stale:
            rounded = {"rounded_from": file.rounded_from} if file.eight_bits else {}
            files[role] = {"path": f"{role}.safetensors", **rounded}
            with atomic_path(folder / files[role]["path"]) as temporary:
                shutil.copyfile(base.folder / file.path, temporary)
    write_json(folder / f"training-{settings.kind}.json", settings.as_dict())
    write_text(folder / "README.md", backbone_card(folder.name, base, settings, provenance, figures))
    content = read_json(base.folder / FILE_NAME)
    trained = {role: True for role in weights if role not in TABLES}
    content |= {name: value for name, value in changes.items() if name not in ("networks", "trained", "without")}
    content |= {
        "name": folder.name,
        "version": provenance.version or content["version"],
        **_named(folder.name, base, content),
        "files": files,
        "networks": {**content["networks"], **changes.get("networks", {})},
        "trained": {**content["trained"], **trained, **changes.get("trained", {})},
        "card": "README.md",
    }
    if provenance.data or provenance.licence:
        content["licence"] = provenance.terms
    for role in without:
        for part in ("networks", "trained"):
            content[part].pop(role, None)
        content.pop(f"{role}_classes", None)
    manifest = write_manifest(folder, content)
    assert isinstance(manifest, BackboneManifest)
    return manifest


def _named(name: str, base: Pack, content: Mapping[str, Any]) -> dict[str, str]:
    """Title and description; what was said of the old pack need not be true of one with another name."""
    if name == base.name:
        return {"title": content["title"], "description": content["description"]}
    grid = Grid(**content["grid"])
    return {"title": name, "description": f"A latent diffusion model of heads on {grid_in_words(grid)}."}


def _kept(role: str, tensor: Tensor) -> Tensor:
    return tensor.detach().cpu() if role in TABLES else tensor.detach().cpu().half()
