"""From a finished training to a pack: weights in fp16, manifest, settings, and a card that says what it is worth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from vcm.atomic_files import write_json, write_text
from vcm.judging.mean_interval import mean_with_interval
from vcm.packs.checkpoints import write_weights
from vcm.packs.manifest import ControlManifest, write_manifest
from vcm.packs.store import Pack
from vcm.training.cohort_files import CaseEntry
from vcm.training.control_config import SMALL_NETWORK, ControlTraining
from vcm.training.latent_cache import MASKS
from vcm.training.obedience import Obedience

SEGMENTER_LABELS: dict[str, tuple[int, ...]] = {"ventricles": (4,), "brain": (1, 2, 3, 4, 5, 6, 8, 9)}
TITLES = {"ventricles": "Lateral ventricles", "brain": "Brain"}


@dataclass(frozen=True)
class Provenance:
    """What the card tells about the making: a command, the machine in words, and where the data come from."""

    command: str
    hardware: str
    minutes: float
    steps: int
    heads: int
    cases: int
    data: str


def network_config(pack: Pack) -> dict[str, Any]:
    """The manifest's `networks` of a small control for a backbone; typical conditions are kept at half resolution."""
    manifest = pack.backbone
    half = [size // 2 for size in manifest.grid.shape]
    return {**SMALL_NETWORK, "schedule": asdict(manifest.schedule), "typical_shape": half}


def condition_entries(conditions: Iterable[str], cases: Sequence[CaseEntry]) -> list[dict[str, Any]]:
    """The manifest's entries of mask conditions, with the volumes (2nd to 98th percentile) and centroids seen."""
    masks: dict[str, list[tuple[float, Any]]] = {name: [] for name in conditions}
    for case in cases:
        labels = case.read("labels")
        for name, seen in masks.items():
            inside = np.argwhere(MASKS[name](labels.array))
            seen.append((len(inside) * labels.grid.voxel_ml, labels.grid.to_world(inside.mean(axis=0))))
    entries = []
    for name, seen in masks.items():
        low, high = np.percentile([ml for ml, _ in seen], (2, 98))
        centroid = np.mean([place for _, place in seen], axis=0)
        structure = {
            "value": 1,
            "name": name,
            "segmenter": list(SEGMENTER_LABELS[name]),
            "typical_ml": [round(float(low), 1), round(float(high), 1)],
            "centroid_mm": [round(float(mm), 1) for mm in centroid],
        }
        entries.append({"name": name, "kind": "mask", "description": TITLES[name], "classes": [structure]})
    return entries


def write_control_pack(
    folder: Path,
    network: nn.Module,
    backbone: Pack,
    settings: ControlTraining,
    cases: Sequence[CaseEntry],
    provenance: Provenance,
    results: Sequence[Obedience],
) -> ControlManifest:
    """Write the pack `folder`, whose name becomes the pack's; the manifest comes last, when all else is in place."""
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / "control.safetensors", {n: t.detach().half().cpu() for n, t in network.state_dict().items()})
    write_json(folder / "training.json", settings.as_dict())
    entries = condition_entries(settings.conditions, cases)
    write_text(folder / "README.md", model_card(folder.name, backbone, settings, entries, provenance, results))
    words = " and ".join(TITLES[name].lower() for name in settings.conditions)
    manifest = write_manifest(
        folder,
        {
            "format": 1,
            "kind": "control",
            "name": folder.name,
            "title": f"VCM: {words}",
            "version": "0.1.0",
            "description": f"Makes {backbone.name} obey a mask of the {words}. Synthetic, research only.",
            "licence": {
                "name": "Apache-2.0",
                "url": "https://www.apache.org/licenses/LICENSE-2.0",
                "note": provenance.data,
            },
            "files": {"control": {"path": "control.safetensors"}},
            "backbone": {"name": backbone.name, "sha256": backbone.backbone.files["denoiser"].sha256},
            "architecture": "vcm",
            "conditions": entries,
            "subsets": False,
            "networks": network_config(backbone),
            "trained": {"control": True},
            "card": "README.md",
        },
    )
    assert isinstance(manifest, ControlManifest)
    return manifest


def model_card(
    name: str,
    backbone: Pack,
    settings: ControlTraining,
    entries: Sequence[dict[str, Any]],
    provenance: Provenance,
    results: Sequence[Obedience],
) -> str:
    """What a stranger must know before using the pack."""
    (structure,) = entries[0]["classes"]
    asked, got = np.array([r.asked_ml for r in results]), np.array([r.got_ml for r in results])
    low, high = structure["typical_ml"]
    return f"""# {name}

A Volumetric Conditioning Module (after Ahn et al., WACV 2025) that makes `{backbone.name}` obey a mask of the lateral
ventricles. **Everything it makes is synthetic: for research only, never for diagnosis.**

| {len(results)} cases of heads never seen in training | Dice of the ventricles, mean (95 % interval) |
|---|---|
| controlled, against the mask asked for | **{_interval(r.controlled for r in results)}** |
| the same noise and attributes without control | {_interval(r.uncontrolled for r in results)} |
| the autoencoder's reconstruction of the real case: the ceiling | {_interval(r.reconstructed for r in results)} |

Volume asked for against volume obtained: correlation {np.corrcoef(asked, got)[0, 1]:.2f}, mean absolute difference
{np.abs(asked - got).mean():.1f} ml, over masks of {asked.min():.0f} to {asked.max():.0f} ml. Samples of 20 steps of
DPM-Solver++(2M), segmented by the segmenter of `{backbone.name}`.

**Data.** {provenance.cases} T1w-like images and their mirror images, made from label maps of {provenance.heads} heads.
{provenance.data} No patient's image was used. Masks hold {low:g} to {high:g} ml.

**Training.** {provenance.steps} of {settings.steps} steps of batch {settings.batch}, {provenance.minutes:.0f} minutes
on {provenance.hardware}:

    {provenance.command}

AdamW at {settings.learning_rate:g} with a warm-up and a cosine, averaged weights; VCM's Eq. 4, the error of ε weighted
as `{settings.weighting}` and {1 + settings.focus:g} times as high near the mask. All settings: `training.json`.

**Limits.** Masks outside the volumes above, in other places than a brain's ventricles, or with holes were never seen.
The label maps' ventricles were grown and shrunk evenly along their walls, which is not how a disease moves them. The
images are as good as `{backbone.name}` makes them, and no better; read its card too.
"""


def _interval(values: Iterable[float]) -> str:
    mean, low, high = mean_with_interval(values)
    return f"{mean:.3f} ({low:.3f}–{high:.3f})"
