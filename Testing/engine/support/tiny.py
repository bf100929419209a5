"""A backbone and a control with random weights, small enough to run in milliseconds, in memory or as packs on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from vcm.conditions.attributes import AttributeSpec
from vcm.conditions.condition import ConditionSpec
from vcm.core.grid import Grid
from vcm.core.hashing import hash_file
from vcm.models.backbones.autoencoders import build_autoencoder
from vcm.models.backbones.latent_diffusion import LatentDiffusion, build_denoiser
from vcm.models.controls.control import Step
from vcm.models.controls.patch_network import PatchNetwork
from vcm.models.controls.vcm_control import VcmControl
from vcm.models.controls.vcm_networks import VcmNetwork
from vcm.models.process import VariancePreserving
from vcm.packs.manifest_reading import write_manifest

# Three different sizes, an oblique offset and LAS: a forgotten transpose or flip cannot hide.
GRID = Grid((16, 24, 32), [[-4, 0, 0, 31.0], [0, 4, 0, -52.0], [0, 0, 4, -41.0], [0, 0, 0, 1]])
LATENT = (3, 4, 6, 8)
AUTOENCODER = {
    "spatial_dims": 3, "in_channels": 1, "out_channels": 1, "latent_channels": 3, "channels": [4, 8, 8],
    "num_res_blocks": [1, 1, 1], "norm_num_groups": 4, "attention_levels": [False] * 3,
    "with_encoder_nonlocal_attn": False, "with_decoder_nonlocal_attn": False,
}  # fmt: skip
DENOISER = {
    "spatial_dims": 3, "in_channels": 7, "out_channels": 3, "channels": [8, 16], "num_res_blocks": [1, 1],
    "attention_levels": [False, True], "norm_num_groups": 4, "num_head_channels": [0, 8], "with_conditioning": True,
    "cross_attention_dim": 4, "resblock_updown": True,
}  # fmt: skip
CONTROL = {
    "encoder": {"channels": [4, 8], "num_res_blocks": 1, "norm_num_groups": 4},
    "unet": {
        "spatial_dims": 3, "in_channels": 6 + 16, "out_channels": 8, "channels": [8, 16], "num_res_blocks": 1,
        "attention_levels": [False, True], "norm_num_groups": 4, "num_head_channels": [0, 8],
    },
    "heads": {"hidden": 8, "norm": False},
    "shared_encoder": False,
}  # fmt: skip
CONDITIONS = [
    {"name": "ventricles", "kind": "mask", "classes": [{"value": 1, "name": "ventricles", "segmenter": [2]}]},
    {"name": "skull", "kind": "image"},
]
ATTRIBUTES = [
    {"name": "sex", "title": "Sex", "choices": {"F": 0, "M": 1}, "default": 0},
    {"name": "age", "title": "Age", "unit": "years", "low": 44, "high": 82},
    {
        "name": "ventricular_volume", "title": "Ventricular volume", "unit": "ml", "low": 1, "high": 101,
        "structures": [2],
    },
    {"name": "brain_volume", "title": "Brain volume"},
]  # fmt: skip


def backbone(packing: int = 1, prediction: str = "epsilon", seed: int = 0) -> LatentDiffusion:
    """A backbone with random weights."""
    torch.manual_seed(seed)
    denoiser = {**DENOISER, "in_channels": 3 * packing**3 + 4, "out_channels": 3 * packing**3}
    model = LatentDiffusion(
        grid=GRID,
        latent_shape=LATENT,
        process=VariancePreserving(prediction=prediction),
        attributes=tuple(map(AttributeSpec.from_dict, ATTRIBUTES)),
        autoencoder=randomised(build_autoencoder(AUTOENCODER)),
        denoiser=randomised(build_denoiser(denoiser)),
        packing=packing,
        whitening=(torch.randn(LATENT), torch.rand(LATENT) + 0.5) if packing > 1 else None,
    )
    return model.eval()


def control(shared: bool = False, timed: bool = False, seed: int = 1) -> VcmControl:
    """A control over a mask and an image with random weights."""
    torch.manual_seed(seed)
    networks = {**CONTROL, "shared_encoder": shared, "encoder": {**CONTROL["encoder"], "time_embedding": timed}}
    networks["unet"] = {**CONTROL["unet"], "in_channels": 6 + (8 if shared else 16)}
    specs = tuple(map(ConditionSpec.from_dict, CONDITIONS))
    return VcmControl(randomised(build_control(networks, {s.name: s.channels for s in specs})), specs).eval()


def build_control(networks, channels) -> torch.nn.Module:
    """The network of a VCM with fresh weights, from a manifest's `networks`."""
    options = {name: value for name, value in networks.items() if name != "variant"}
    return (PatchNetwork if networks.get("variant") == "patches" else VcmNetwork)(channels, **options)


def eps_of(backbone, latent, t, inputs) -> torch.Tensor:
    """The noise that a backbone predicts, as a control sees it."""
    return Step(
        backbone.process, latent, t, lambda z, at, residuals: backbone.predict(z, at, inputs, residuals)
    ).predict()


def randomised(network: torch.nn.Module) -> torch.nn.Module:
    """Give layers that start at zero a value, so that nothing in the network is silent."""
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
    return network


def name_contrasts(folder: Path, choices: Mapping[str, float], *, role: bool = True) -> None:
    """Have the first attribute of the pack `tiny` in a packs' folder name the contrast of its images."""
    path = folder / "tiny" / "manifest.json"
    content = json.loads(path.read_text())
    named = {"name": "class", "title": "Class", "choices": dict(choices), "default": next(iter(choices.values()))}
    content["attributes"][0] = {**named, **({"role": "contrast"} if role else {})}
    path.write_text(json.dumps(content))


def write_packs(folder: Path, *, trained: bool = True) -> None:
    """A backbone pack `tiny` and a control pack `tiny-both` in a packs' folder."""
    licence = {"name": "Apache-2.0"}
    model = backbone()
    home = folder / "tiny"
    home.mkdir(parents=True)
    save_file(model.autoencoder.state_dict(), home / "autoencoder.safetensors")
    save_file(model.denoiser.state_dict(), home / "denoiser.safetensors")
    write_manifest(
        home,
        {
            "format": 1, "kind": "backbone", "name": "tiny", "title": "Tiny", "version": "1", "licence": licence,
            "files": {r: {"path": f"{r}.safetensors"} for r in ("autoencoder", "denoiser")},
            "grid": GRID.as_dict(), "latent": {"shape": list(LATENT), "scale_factor": 1.0},
            "schedule": {
                "timesteps": 1000, "kind": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0205,
                "prediction": "epsilon",
            },
            "networks": {"autoencoder": AUTOENCODER, "denoiser": DENOISER}, "attributes": ATTRIBUTES,
            "trained": {"autoencoder": trained, "denoiser": trained},
        },
    )  # fmt: skip
    steering = folder / "tiny-both"
    steering.mkdir()
    save_file(control().network.state_dict(), steering / "control.safetensors")
    write_manifest(
        steering,
        {
            "format": 1, "kind": "control", "name": "tiny-both", "title": "Both", "version": "1", "licence": licence,
            "backbone": {"name": "tiny", "sha256": hash_file(home / "denoiser.safetensors")}, "architecture": "vcm",
            "conditions": CONDITIONS, "subsets": True, "networks": {"variant": "paper", **CONTROL},
            "files": {"control": {"path": "control.safetensors"}}, "trained": {"control": trained},
        },
    )  # fmt: skip
