"""From packs to networks: the weights are checked, read and put into place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vcm.core.errors import Code, VcmError
from vcm.models.backbones.autoencoders import build_autoencoder, latent_shape
from vcm.models.backbones.latent_diffusion import LatentDiffusion, build_denoiser
from vcm.models.controls.patch_network import PatchNetwork
from vcm.models.controls.vcm_control import ControlNetwork, VcmControl
from vcm.models.controls.vcm_networks import VcmNetwork
from vcm.models.schedule import Schedule
from vcm.packs.store import Pack, open_weights

Network = TypeVar("Network", bound=nn.Module)


def load_backbone(pack: Pack) -> LatentDiffusion:
    """The latent diffusion model of a backbone pack, in fp32 on the CPU, ready to evaluate."""
    manifest = pack.backbone
    channels, i, j, k = manifest.latent.shape
    autoencoder = build(pack, "autoencoder", lambda: build_autoencoder(manifest.networks["autoencoder"]))
    denoiser = build(pack, "denoiser", lambda: build_denoiser(manifest.networks["denoiser"]))
    _check_sizes(pack)
    fill(pack, autoencoder, open_weights(pack, "autoencoder"))
    fill(pack, denoiser, open_weights(pack, "denoiser"))
    return LatentDiffusion(
        grid=manifest.grid,
        latent_shape=(channels, i, j, k),
        schedule=Schedule.from_dict(asdict(manifest.schedule)),
        attributes=manifest.attributes,
        autoencoder=autoencoder,
        denoiser=denoiser,
        scale_factor=manifest.latent.scale_factor,
        packing=manifest.latent.packing,
        whitening=_whitening(pack) if manifest.latent.whitened else None,
        atlas=manifest.latent.atlas,
    ).eval()


def load_control(pack: Pack) -> VcmControl:
    """The control of a control pack, in fp32 on the CPU, ready to evaluate."""
    manifest = pack.control
    if manifest.architecture != "vcm":
        raise VcmError(
            Code.PACK_INVALID,
            f"The pack {manifest.name} holds a control of the kind {manifest.architecture}, which this version of "
            "VCMSlicer does not know.",
            "Update VCMSlicer.",
        )
    channels = {spec.name: spec.channels for spec in manifest.conditions}
    network = build(pack, "control", lambda: build_control(manifest.networks, channels))
    fill(pack, network, open_weights(pack, "control"))
    return VcmControl(network, manifest.conditions, manifest.scale_factor).eval()


def build_control(networks: Mapping[str, Any], channels: Mapping[str, int]) -> ControlNetwork:
    """A VCM from a manifest's `networks` and the channels of its conditions, with fresh weights."""
    options = {name: value for name, value in networks.items() if name != "variant"}
    return (PatchNetwork if networks.get("variant") == "patches" else VcmNetwork)(channels, **options)


def fill(pack: Pack, network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put a pack's weights into a network in fp32; weights that do not fit are told in a sentence."""
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    except RuntimeError as error:
        reason = str(error).split("\n")[1].strip() if "\n" in str(error) else str(error)
        raise VcmError(
            Code.PACK_INVALID,
            f"The weights of the pack {pack.name} do not fit the networks that its manifest describes. {reason}",
            "Import or download the pack again.",
        ) from error


def _check_sizes(pack: Pack) -> None:
    """Networks make their input coarser, and the manifest's sizes must allow for that."""
    manifest = pack.backbone
    latent = manifest.latent
    made = latent_shape(manifest.networks["autoencoder"], manifest.grid.shape)
    if tuple(latent.shape) != made:
        raise VcmError(
            Code.PACK_INVALID,
            f"The manifest of the pack {pack.name} gives the latent the shape {latent.shape}; its autoencoder makes "
            f"{made[0]} channels of {' × '.join(f'{size:g}' for size in made[1:])} from the pack's grid.",
            "Import or download the pack again.",
        )


def _whitening(pack: Pack) -> tuple[Tensor, Tensor]:
    weights = open_weights(pack, "whitening")
    expected = pack.backbone.latent.shape
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if found != {"mean": expected, "std": expected}:
        raise VcmError(
            Code.PACK_INVALID,
            f"The whitening of the pack {pack.name} must hold a mean and a std of shape {expected}; it holds {found}.",
            "Import or download the pack again.",
        )
    return weights["mean"], weights["std"]


def build(pack: Pack, role: str, make: Callable[[], Network]) -> Network:
    """The network that a manifest describes for `role`.

    It is made without memory first: one whose weights the pack's file could not hold is refused before it takes any.
    """
    try:
        with torch.device("meta"):
            drawn = make()
        numbers = sum(tensor.numel() for tensor in (*drawn.parameters(), *drawn.buffers()))
        size = pack.manifest.files[role].size
        if numbers > size:
            raise ValueError(f"it would have {numbers:,} weights, and the file for them has {size:,} bytes")
        return make()
    # Networks check their options as they are built, each in its own way.
    except Exception as error:
        raise VcmError(
            Code.PACK_INVALID,
            f"The manifest of the pack {pack.name} describes a network for its {role} that cannot be built: {error}.",
            "Import or download the pack again.",
        ) from error
