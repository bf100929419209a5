"""From a finished training of a control to a pack: weights in fp16, manifest, settings and card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from vcm.conditions.condition import ConditionSpec
from vcm.models.loading import CONTROLS
from vcm.outputs.atomic_files import write_json, write_text
from vcm.packs.manifest import ControlManifest
from vcm.packs.manifest_reading import write_manifest
from vcm.packs.store import Pack
from vcm.packs.tensors.checkpoints import write_weights
from vcm.training.control.settings import ControlSettings
from vcm.training.export.model_card import Provenance, control_card


def listed(words: Sequence[str]) -> str:
    """
    >>> listed(["brain", "ventricles", "skull"]), listed(["brain"])
    ('brain, ventricles and skull', 'brain')
    """
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def write_control_pack(
    folder: Path,
    weights: Mapping[str, Tensor],
    backbone: Pack,
    settings: ControlSettings,
    entries: Sequence[Mapping[str, Any]],
    provenance: Provenance,
    figures: str,
    spread: Mapping[str, Tensor] | None = None,
) -> ControlManifest:
    """Write the pack `folder`, whose name becomes the pack's; the manifest comes last, when all else is in place."""
    settings = replace(settings, backbone=backbone.name)  # a pack's path means nothing elsewhere
    specs = tuple(ConditionSpec.from_dict(entry) for entry in entries)
    family = CONTROLS[settings.architecture]
    networks = family.configure(backbone.backbone, specs, settings.variant, settings.network)
    networks, shipped = family.shipped(networks, weights)
    write_weights(folder / "control.safetensors", {n: t.half().cpu() for n, t in shipped.items()})
    files = {"control": {"path": "control.safetensors"}}
    if spread is not None:
        files["spread"] = {"path": "spread.safetensors"}
        write_weights(folder / files["spread"]["path"], spread)
    write_json(folder / "training.json", settings.as_dict())
    write_text(folder / "README.md", control_card(folder.name, backbone, settings, entries, provenance, figures))
    words = ", ".join(spec.description.lower() or spec.name for spec in specs)
    content = {
        "format": 1,
        "kind": "control",
        "name": folder.name,
        "title": f"{settings.architecture.upper()}: {listed([spec.name.replace('_', ' ') for spec in specs])}",
        "version": provenance.version or "0.1.0",
        "description": f"Steers {backbone.name}: {words}. Synthetic, research only.",
        "licence": provenance.terms,
        "files": files,
        "backbone": {"name": backbone.name, "sha256": backbone.backbone.files["denoiser"].sha256},
        "architecture": settings.architecture,
        "conditions": list(entries),
        "subsets": settings.dropout != "none" and len(settings.conditions) > 1,
        "networks": networks,
        "trained": {"control": True},
        "card": "README.md",
    }
    if settings.scale_factor is not None:
        content["scale_factor"] = settings.scale_factor
    manifest = write_manifest(folder, content)
    assert isinstance(manifest, ControlManifest)
    return manifest
