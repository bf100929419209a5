"""Published checkpoints of monai-generative's networks, read into MONAI core's.

monai-generative's layout differs in three names, and its self-attention blocks carry a `proj_attn` that their forward
never uses: it is left behind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vcm.core.errors import Code, VcmError
from vcm.models.backbones.autoencoders import build_autoencoder
from vcm.models.backbones.latent_diffusion import build_denoiser

IGNORED_OPTIONS = {"use_flash_attention", "upcast_attention", "dropout_cattn", "use_checkpointing", "use_convtranspose"}
RENAMED = (
    (re.compile(r"\.to_out\.0\."), ".out_proj."),
    (re.compile(r"^(.*(?:attentions\.\d+|attention|blocks\.\d+))\.(to_[qkv])\."), r"\1.attn.\2."),
)


def core_config(published: Mapping[str, Any]) -> dict[str, Any]:
    """MONAI core's arguments from monai-generative's: `num_channels` is called `channels`."""
    config = {name: value for name, value in published.items() if name not in IGNORED_OPTIONS}
    if "num_channels" in config:
        config["channels"] = config.pop("num_channels")
    return config


def translate_autoencoder(
    config: Mapping[str, Any], state: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Arguments and weights for `build_autoencoder` from a published autoencoder."""
    kwargs = core_config(config)
    return kwargs, translate("autoencoder", build_autoencoder, kwargs, state)


def translate_denoiser(
    config: Mapping[str, Any], state: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Arguments and weights for `build_denoiser` from a published diffusion model."""
    kwargs = core_config(config)
    return kwargs, translate("diffusion model", build_denoiser, kwargs, state)


def translate(
    what: str,
    build: Callable[[Mapping[str, Any]], nn.Module],
    kwargs: Mapping[str, Any],
    state: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Rename published weights for the network that `build(kwargs)` makes, and hold every shape against it."""
    network = build_without_memory(what, build, kwargs)
    return match(what, rename(state, network), network)


def build_without_memory(
    what: str, build: Callable[[Mapping[str, Any]], nn.Module], kwargs: Mapping[str, Any]
) -> nn.Module:
    """The network on PyTorch's `meta` device; a configuration that cannot be built ends in a sentence."""
    try:
        with torch.device("meta"):
            return build(kwargs)
    except (TypeError, ValueError, KeyError, IndexError, RuntimeError, AttributeError, ZeroDivisionError) as error:
        raise VcmError(
            Code.PACK_INVALID,
            f"The configuration of the {what} does not describe a network that can be built: {error}.",
            "Compare it with the configuration the checkpoint was published with.",
        ) from error


def rename(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Published names in MONAI core's terms; upsamplers are distinguished by what the network has."""
    wanted = set(network.state_dict())
    renamed = {}
    for name, tensor in state.items():
        new = name
        if new not in wanted:
            for pattern, replacement in RENAMED:
                new = pattern.sub(replacement, new)
        if new not in wanted:
            head, _, tail = new.rpartition(".conv.")
            new = re.sub(r"\.conv$", ".postconv", head) + ".conv." + tail if head else new
        renamed[new] = tensor
    return renamed


def match(what: str, state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The weights the network needs, and nothing else; anything missing, foreign or of another shape is refused."""
    wanted = network.state_dict()
    missing = [name for name in wanted if name not in state]
    foreign = [name for name in state if name not in wanted and ".proj_attn." not in name]
    wrong = [
        f"{name} has {list(state[name].shape)}, not {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in state and state[name].shape != tensor.shape
    ]
    for count, words in (
        (missing, f"lacks {len(missing)} of {len(wanted)} tensors, such as {missing[:1]}"),
        (foreign, f"has {len(foreign)} tensors that this network has no place for, such as {foreign[:1]}"),
        (wrong, f"has {len(wrong)} tensors of another shape: {wrong[:1]}"),
    ):
        if count:
            raise VcmError(
                Code.PACK_INVALID,
                f"The checkpoint of the {what} {words}.",
                "It belongs to another configuration: give the one it was published with (--config), and check that "
                "the files have not been swapped.",
            )
    return {name: state[name].detach().clone().contiguous() for name in wanted}
