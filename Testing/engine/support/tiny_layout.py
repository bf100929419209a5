"""Beside the tiny packs: controls by a mask of ventricles, by masks of brain and ventricles, and by a label map, and a
layout that completes heads for them, all with random weights."""

from __future__ import annotations

from pathlib import Path

import tiny
import torch
from safetensors.torch import save_file
from vcm.anatomy.structures import SEGMENTER_CLASSES
from vcm.cohort.case_conditions import CONDITION_SPECS
from vcm.conditions.condition import ConditionSpec
from vcm.core.hashing import hash_file
from vcm.models.layout.layout import Layout, new_autoencoder, new_denoiser
from vcm.packs.manifest import LayoutManifest
from vcm.packs.manifest_reading import write_manifest
from vcm.packs.store import Pack

AUTOENCODER = {"latent_channels": 3, "width": 8, "half": 4}
DENOISER = {"channels": [8, 8, 8], "blocks": [1, 1, 1], "shown": 6, "place": 2}
LABELS = len(SEGMENTER_CLASSES) + 1
CONTROLS = {
    "tiny-ventricles": ["ventricles"],
    "tiny-anatomy": ["brain", "ventricles", "skull"],
    "tiny-semantics": ["semantics"],
}


def write_packs(folder: Path, backbones: tuple[str, ...] = ("tiny",)) -> None:
    """The tiny backbone with three controls, and `tiny-layout`."""
    tiny.write_packs(folder)
    for name, conditions in CONTROLS.items():
        write_control(folder, name, [{"name": each, **CONDITION_SPECS[each]} for each in conditions])
    write_layout(folder / "tiny-layout", backbones)


def write_control(folder: Path, name: str, conditions: list[dict], backbone: str = "tiny") -> None:
    """A control pack over these conditions."""
    specs = {spec.name: spec.channels for spec in map(ConditionSpec.from_dict, conditions)}
    networks = {**tiny.CONTROL, "unet": {**tiny.CONTROL["unet"], "in_channels": 6 + 8 * len(specs)}}
    torch.manual_seed(len(name))
    home = folder / name
    home.mkdir()
    save_file(tiny.randomised(tiny.build_control(networks, specs)).state_dict(), home / "control.safetensors")
    write_manifest(
        home,
        {
            "format": 1, "kind": "control", "name": name, "title": name, "version": "1", "licence": {"name": "none"},
            "backbone": {
                "name": backbone, "sha256": hash_file(folder / backbone / "denoiser.safetensors")
            },
            "architecture": "vcm", "conditions": conditions, "subsets": True,
            "networks": {"variant": "paper", **networks}, "files": {"control": {"path": "control.safetensors"}},
            "trained": {"control": True},
        },
    )  # fmt: skip


def write_layout(home: Path, backbones: tuple[str, ...] = ("tiny",), grid=tiny.GRID, seed: int = 0) -> Pack:
    """A layout pack with random weights, whose heads are noise: only what is drawn keeps its place."""
    torch.manual_seed(seed)
    latent = (AUTOENCODER["latent_channels"], *(size // 4 for size in grid.shape))
    networks = {
        "autoencoder": tiny.randomised(new_autoencoder(LABELS, AUTOENCODER)),
        "denoiser": tiny.randomised(new_denoiser(LABELS, latent, len(tiny.ATTRIBUTES), DENOISER)),
    }
    home.mkdir(parents=True)
    for role, network in networks.items():
        save_file(network.state_dict(), home / f"{role}.safetensors")
    manifest = write_manifest(home, manifest_of(home.name, grid, latent, backbones))
    assert isinstance(manifest, LayoutManifest)
    return Pack(home, manifest)


def manifest_of(name, grid=tiny.GRID, latent=(3, 4, 6, 8), backbones=("tiny",)) -> dict:
    """What its manifest says."""
    return {
        "format": 1, "kind": "layout", "name": name, "title": "Layout", "version": "1", "licence": {"name": "none"},
        "files": {role: {"path": f"{role}.safetensors"} for role in ("autoencoder", "denoiser")},
        "backbones": list(backbones), "grid": grid.as_dict(), "latent": {"shape": list(latent)},
        "schedule": {"timesteps": 1000, "kind": "cosine", "prediction": "v"},
        "sampling": {"sampler": "dpm++", "steps": 4},
        "networks": {"autoencoder": AUTOENCODER, "denoiser": DENOISER}, "attributes": tiny.ATTRIBUTES,
        "classes": [{"value": value, "name": name} for value, (name, _) in SEGMENTER_CLASSES.items()],
        "trained": {"autoencoder": True, "denoiser": True},
    }  # fmt: skip


def load(folder: Path) -> tuple[Layout, LayoutManifest]:
    """Its networks and its manifest."""
    pack = write_layout(folder / "tiny-layout")
    return Layout.load(pack), pack.layout
