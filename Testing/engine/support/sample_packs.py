"""Small packs and published checkpoints for tests: asymmetric sizes, random weights, made on the spot."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from vcm.packs.manifest_reading import write_manifest
from vcm.packs.tensors.checkpoints import write_weights

AFFINE = [[-2, 0, 0, 21], [0, 2, 0, -33.5], [0, 0, 2, -7], [0, 0, 0, 1]]

BACKBONE: dict[str, Any] = {
    "format": 1,
    "kind": "backbone",
    "name": "tiny",
    "title": "Tiny",
    "version": "0.3.0",
    "description": "Made by a test.",
    "licence": {"name": "Apache-2.0"},
    "files": {"autoencoder": {"path": "autoencoder.safetensors"}, "denoiser": {"path": "denoiser.safetensors"}},
    "grid": {"shape": [16, 24, 32], "affine": AFFINE},
    "latent": {"shape": [3, 4, 6, 8], "scale_factor": 1.25},
    "schedule": {
        "timesteps": 900,
        "kind": "scaled_linear",
        "beta_start": 0.0015,
        "beta_end": 0.0205,
        "prediction": "epsilon",
    },
    "networks": {"autoencoder": {"channels": [4, 8, 8]}, "denoiser": {"channels": [8, 16]}},
    "attributes": [{"name": "age", "title": "Age", "unit": "years", "low": 44, "high": 82}],
    "trained": {"autoencoder": True, "denoiser": False},
}

CONTROL: dict[str, Any] = {
    "format": 1,
    "kind": "control",
    "name": "tiny-ventricles",
    "title": "Ventricles",
    "version": "1",
    "licence": {"name": "Apache-2.0"},
    "files": {"control": {"path": "control.safetensors"}},
    "backbone": {"name": "tiny", "sha256": "0" * 64},
    "architecture": "vcm",
    "scale_factor": None,
    "conditions": [
        {
            "name": "ventricles",
            "kind": "mask",
            "classes": [{"value": 1, "name": "ventricles", "segmenter": [4], "typical_ml": [5, 90]}],
        }
    ],
    "subsets": True,
    "networks": {"variant": "released"},
    "trained": {"control": True},
}

CONFIG: dict[str, Any] = {
    "scale_factor": 0.75,
    "image_shape": [16, 24, 32],
    "latent_shape": [4, 6, 8],
    "autoencoder": {
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 1,
        "latent_channels": 3,
        "num_channels": [4, 8, 8],
        "num_res_blocks": 1,
        "norm_num_groups": 4,
        "norm_eps": 1e-6,
        "attention_levels": [False, False, False],
        "with_encoder_nonlocal_attn": False,
        "with_decoder_nonlocal_attn": False,
    },
    "diffusion": {
        "spatial_dims": 3,
        "in_channels": 7,
        "out_channels": 3,
        "num_channels": [8, 16],
        "num_res_blocks": 1,
        "attention_levels": [False, True],
        "norm_num_groups": 4,
        "norm_eps": 1e-6,
        "resblock_updown": True,
        "num_head_channels": [0, 16],
        "with_conditioning": True,
        "transformer_num_layers": 1,
        "cross_attention_dim": 4,
    },
    "vcm_encoder": {
        "spatial_dims": 3,
        "in_channels": 3,
        "num_channels": [4, 8],
        "num_res_blocks": [1, 1],
        "attention_levels": [False, False],
        "norm_num_groups": 4,
        "norm_eps": 1e-6,
        "resblock_updown": True,
        "num_head_channels": [0, 0],
    },
    "vcm_unet": {
        "spatial_dims": 3,
        "in_channels": 14,
        "out_channels": 8,
        "num_channels": [8, 16],
        "num_res_blocks": 1,
        "attention_levels": [False, True],
        "norm_num_groups": 4,
        "norm_eps": 1e-6,
        "resblock_updown": True,
        "num_head_channels": [0, 16],
        "transformer_num_layers": 1,
    },
    "scheduler": {"num_train_timesteps": 800, "schedule": "linear_beta", "beta_start": 0.001, "beta_end": 0.02},
    "affine": AFFINE,
    "conditions": [
        {"name": "tissue", "kind": "labels", "classes": ["white matter", "grey matter"]},
        {"name": "skull", "kind": "image"},
    ],
    "param_counts": {"ignored": 1},
}


def changed(content: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A deep copy with the field at a path such as `latent.shape.0` set; `...` deletes it."""
    content = copy.deepcopy(content)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = content
    for part in parents:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return content


def make_backbone(home: Path, name: str = "tiny", **replaced: Any) -> Path:
    """A backbone pack in `home/name`; its weights differ with its name."""
    folder = home / name
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    for role in ("autoencoder", "denoiser"):
        write_weights(folder / f"{role}.safetensors", {"weight": torch.randn(3, 5, 2, generator=generator)})
    write_manifest(folder, {**BACKBONE, "name": name, **replaced})
    return folder


def make_control(home: Path, denoiser_sha256: str, name: str = "tiny-ventricles") -> Path:
    """A control pack in `home/name` for the backbone with that denoiser."""
    folder = home / name
    folder.mkdir(parents=True)
    write_weights(folder / "control.safetensors", {"weight": torch.arange(7.0)})
    write_manifest(folder, {**CONTROL, "name": name, "backbone": {"name": "tiny", "sha256": denoiser_sha256}})
    return folder


def denoiser_sha256(folder: Path) -> str:
    """The hash by which controls know the backbone in `folder`."""
    return str(json.loads((folder / "manifest.json").read_text("utf-8"))["files"]["denoiser"]["sha256"])


def make_checkpoints(folder: Path) -> dict[str, Path]:
    """Checkpoints for `CONFIG` in the published layout: autoencoder, denoiser and, with its DDP prefix, control."""
    from vcm.models.backbones.autoencoders import build_autoencoder
    from vcm.models.backbones.latent_diffusion import build_denoiser
    from vcm.models.backbones.published import core_config
    from vcm.models.controls.published import ENCODER_OPTIONS, PLACES
    from vcm.models.controls.vcm_networks import VcmNetwork

    torch.manual_seed(11)
    encoder = {k: v for k, v in core_config(CONFIG["vcm_encoder"]).items() if k in ENCODER_OPTIONS}
    unet = core_config(CONFIG["vcm_unet"])
    vcm = VcmNetwork({"tissue": 2, "skull": 1}, encoder, unet, {"hidden": 128, "norm": True}, shared_encoder=True)
    published = {ours: theirs for theirs, ours in PLACES.items()}
    state = {}
    for name, tensor in vcm.state_dict().items():
        place = next(ours for ours in published if name.startswith(ours))
        state[f"module.{published[place]}{name[len(place) :]}"] = tensor
    files = {
        "autoencoder": folder / "autoencoder.pth",
        "denoiser": folder / "diffusion_model.pth",
        "control": folder / "vcm.pt",
    }
    torch.save(build_autoencoder(core_config(CONFIG["autoencoder"])).state_dict(), files["autoencoder"])
    torch.save(build_denoiser(core_config(CONFIG["diffusion"])).state_dict(), files["denoiser"])
    torch.save(state, files["control"])
    return files
