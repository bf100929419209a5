"""Which network a VCM that is to be trained is: the manifest's `networks`, for the backbone it will steer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vcm.conditions.attributes import CONTRAST
from vcm.conditions.condition import ConditionSpec, Kind
from vcm.core.errors import Code, VcmError
from vcm.models.controls.network_control import with_changes
from vcm.packs.manifest import BackboneManifest
from vcm.packs.published_config import read_config

FINEST_PATCH = 8
"""Patches of so many voxels and more are averaged by two before they are folded."""


def network_config(
    manifest: BackboneManifest, specs: Sequence[ConditionSpec], variant: str, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """The networks of a variant, `small`, `paper` or `released`, with the parts that `changes` overrides."""
    config = _small(manifest, specs) if variant == "small" else _full(manifest, specs, variant, changes)
    return with_changes(config, variant, changes)


def _small(manifest: BackboneManifest, specs: Sequence[ConditionSpec]) -> dict[str, Any]:
    """A network whose work is all done on the packed latent's grid: 1.4 M parameters for brainldm-mini's ventricles."""
    if manifest.process.guided != "epsilon":
        raise VcmError(
            Code.BAD_REQUEST,
            f"The network of the variant small corrects noise predictions, but {manifest.name} predicts a "
            f"{manifest.process.prediction}.",
            'Choose variant = "paper".',
        )
    latent, packing = manifest.latent, manifest.latent.packing
    places = [size // packing for size in latent.shape[1:]]
    patches = [size // count for size, count in zip(manifest.grid.shape, places, strict=True)]
    patch = patches[0]
    if len(set(patches)) > 1:
        raise VcmError(
            Code.BAD_REQUEST,
            f"The network of the variant small needs patches of one size, but a place of {manifest.name}'s packed "
            f"latent covers {' × '.join(map(str, patches))} voxels.",
            "Choose a backbone whose autoencoder shrinks all three axes alike.",
        )
    pooling = 2 if patch % 2 == 0 and patch >= FINEST_PATCH // 2 else 1
    width = 48 if len(specs) == 1 else 32
    return {
        "variant": "patches",
        "places": places,
        "width": width,
        "features": 64,
        "hidden": 64,
        "unet": {
            "spatial_dims": 3,
            "out_channels": 32,
            "channels": [32, 32],
            "num_res_blocks": [1, 1],
            "attention_levels": [False, False],
            "norm_num_groups": 8,
            "norm_eps": 1e-6,
            "num_head_channels": [0, 16],
            "resblock_updown": False,
        },
        "schedule": manifest.process.as_dict(),
        "latent_channels": latent.shape[0],
        "latent_packing": packing,
        "condition_packing": patch // pooling,
        "condition_pooling": pooling,
        "condition_gain": 4.0,
        "typical_shape": [size // (2 * pooling) for size in manifest.grid.shape],
        "as_latents": [spec.name for spec in specs if spec.kind is Kind.IMAGE],
        **_kinds(manifest),
    }


def _kinds(manifest: BackboneManifest) -> dict[str, int]:
    """How many contrasts the backbone makes, and which of its inputs names them, where they are counted from 0."""
    for place, spec in enumerate(manifest.attributes):
        if spec.role == CONTRAST and sorted(spec.choices.values()) == list(range(len(spec.choices))):
            return {"kinds": len(spec.choices), "kind_input": place}
    return {}


def _full(
    manifest: BackboneManifest, specs: Sequence[ConditionSpec], variant: str, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """The paper's network, or the released code's: 45 M parameters for BrainLDM."""
    from vcm.models.backbones.published import core_config

    published = read_config()
    released = variant == "released"
    encoder = core_config(published.networks["vcm_encoder"])
    kept = ("channels", "num_res_blocks", "norm_num_groups", "norm_eps", "resblock_updown")
    encoder = {**{name: encoder[name] for name in kept}, "time_embedding": not released}
    # A latent that is finer than BrainLDM's leaves out the encoder's last levels.
    levels = max(1, round(math.log2(manifest.grid.shape[0] / manifest.latent.shape[1])))
    encoder |= {name: encoder[name][:levels] for name in ("channels", "num_res_blocks")}
    unet = core_config(published.networks["vcm_unet"])
    encoders, channels = 1 if released else len(specs), manifest.latent.shape[0]
    halvings = [size / count for size, count in zip(manifest.grid.shape, manifest.latent.shape[1:], strict=True)]
    depth = len(changes.get("encoder", {}).get("channels", encoder["channels"]))
    if set(halvings) != {2**depth}:
        raise VcmError(
            Code.BAD_REQUEST,
            f"The network of the variant {variant} makes a condition {2**depth} times smaller, but the latent "
            f"of {manifest.name} is {' × '.join(f'{n:g}' for n in halvings)} times smaller than its grid.",
            'Choose variant = "small" for this backbone.',
        )
    width = changes.get("encoder", {}).get("channels", encoder["channels"])[-1]
    return {
        "variant": variant,
        "encoder": encoder,
        "unet": {**unet, "in_channels": 2 * channels + encoders * width},
        "heads": {"hidden": 128, "norm": released},
        "shared_encoder": released,
        "latent_channels": channels,
    }
