"""The toy family as an installed package and as packs, so that every process of the program finds it."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from toy_family import Denoiser, Pooling
from vcm.core.grid import Grid
from vcm.packs.manifest_reading import write_manifest

# Three different sizes, none a power of two, on a grid that runs to the right, back and down.
GRID = Grid((14, 21, 28), [[5, 0, 0, -31.0], [0, -5, 0, 52.0], [0, 0, -5, 61.0], [0, 0, 0, 1]])
LATENT = (2, 7, 7, 7)
INPUTS = [
    {"name": "age", "title": "Age", "unit": "years", "low": 20, "high": 80},
    {"name": "sex", "title": "Sex", "choices": {"F": 0, "M": 1}, "default": 0},
]
ENTRY_POINTS = """[vcm.backbones]
toy = toy_family:ToyBackbone

[vcm.controls]
toy = toy_family:ToyControl

[vcm.processes]
toy-sine = toy_family:Sine
"""


def write_site(folder: Path) -> Path:
    """A folder for PYTHONPATH with the toy family as pip would install it."""
    shutil.copy(Path(__file__).with_name("toy_family.py"), folder)
    home = folder / "toy_family-1.0.dist-info"
    home.mkdir()
    (home / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-family\nVersion: 1.0\n")
    (home / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


def write_backbone(packs: Path) -> Path:
    """The pack `toy`."""
    home = packs / "toy"
    home.mkdir(parents=True)
    torch.manual_seed(4)
    save_file(Pooling().state_dict(), home / "autoencoder.safetensors")
    save_file(Denoiser(6).state_dict(), home / "denoiser.safetensors")
    write_manifest(
        home,
        {
            "format": 1, "kind": "backbone", "family": "toy", "contrast": "T2w", "name": "toy", "title": "Toy",
            "version": "1", "licence": {"name": "Apache-2.0"},
            "files": {role: {"path": f"{role}.safetensors"} for role in ("autoencoder", "denoiser")},
            "grid": GRID.as_dict(), "latent": {"shape": list(LATENT), "scale_factor": 1.0},
            "schedule": {"kind": "toy-sine", "timesteps": 1000, "prediction": "clean", "last": 5},
            "networks": {"autoencoder": {}, "denoiser": {"width": 6}}, "attributes": INPUTS,
            "trained": {"autoencoder": True, "denoiser": True},
        },
    )  # fmt: skip
    return home
