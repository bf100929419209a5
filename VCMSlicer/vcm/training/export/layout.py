"""From a finished training of a layout to a pack: both networks in fp16, manifest, settings and card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from vcm.outputs.atomic_files import write_json, write_text
from vcm.packs.manifest_reading import write_manifest
from vcm.packs.store import find_pack
from vcm.packs.tensors.checkpoints import read_checkpoint, write_weights
from vcm.training.export.model_card import Provenance, layout_card
from vcm.training.layout.run import AUTOENCODER
from vcm.training.layout.settings import LayoutSettings


def write_layout_pack(
    folder: Path,
    run: Path,
    weights: Mapping[str, Tensor],
    content: Mapping[str, Any],
    settings: LayoutSettings,
    provenance: Provenance,
    figures: str,
) -> tuple[str, ...]:
    """Write the pack `folder`, whose name becomes the pack's; the `weights` are the denoiser's, the other ones lie in
    the run. The manifest comes last, when all else is in place. Returns the roles of the files."""
    networks = {AUTOENCODER: read_checkpoint(run / f"{AUTOENCODER}.safetensors"), "denoiser": weights}
    for role, tensors in networks.items():
        write_weights(folder / f"{role}.safetensors", {name: t.detach().cpu().half() for name, t in tensors.items()})
    # Paths of this machine have no place in a pack.
    names: dict[str, Any] = {"backbone": find_pack(settings.backbone).name, "start": Path(settings.start).name}
    settings = replace(settings, **names)
    write_json(folder / "training.json", settings.as_dict())
    write_text(folder / "README.md", layout_card(folder.name, content, settings, provenance, figures))
    served = " and ".join(content["backbones"])
    write_manifest(
        folder,
        {
            "format": 1,
            "kind": "layout",
            "name": folder.name,
            "title": "Layout of whole heads",
            "version": provenance.version or "0.1.0",
            "description": f"Completes what is drawn to the label map of a whole head, for {served}. Synthetic, "
            "research only.",
            "licence": provenance.terms,
            "files": {role: {"path": f"{role}.safetensors"} for role in networks},
            **content,
            "trained": dict.fromkeys(networks, True),
            "card": "README.md",
        },
    )
    return tuple(networks)
