"""NVIDIA's published checkpoints of this family, as packs have them: `rflow-mr-brain`, `rflow-ct` and `ddpm-ct`.

Sizes, spacings, scales and classes are those of NV-Generate-CTMR's configurations. The images have no place in the
world: where the field of view lies is this program's choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from vcm.conditions.attributes import CONTRAST as NAMES_CONTRAST
from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.core.typed_json import FieldError, read_fields
from vcm.models.backbones.maisi.backbone import CONTRAST, GUIDANCE
from vcm.models.backbones.maisi.networks import REGIONS, build_autoencoder, build_denoiser, shift_of, smallest_step
from vcm.models.backbones.published import build_without_memory, match

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vcm.packs.tensors.checkpoints import Checkpoint

AUTOENCODER: dict[str, Any] = {
    "spatial_dims": 3, "in_channels": 1, "out_channels": 1, "latent_channels": 4, "num_channels": [64, 128, 256],
    "num_res_blocks": [2, 2, 2], "norm_num_groups": 32, "norm_eps": 1e-6, "attention_levels": [False, False, False],
}  # fmt: skip
DENOISER: dict[str, Any] = {
    "spatial_dims": 3, "in_channels": 4, "out_channels": 4, "num_channels": [64, 128, 256, 512],
    "attention_levels": [False, False, True, True], "num_head_channels": [0, 0, 32, 32], "num_res_blocks": 2,
    "include_spacing_input": True, "num_class_embeds": 128, "resblock_updown": True, "include_fc": True,
}  # fmt: skip
DDPM_DENOISER: dict[str, Any] = {
    **DENOISER, "num_class_embeds": None, "resblock_updown": False, "include_fc": False,
    "include_top_region_index_input": True, "include_bottom_region_index_input": True,
}  # fmt: skip

BRAIN_CONTRASTS = {
    "T1w": 9, "T2w": 10, "FLAIR": 11, "SWI": 20, "MRA": 16, "T1w skull-stripped": 29, "T2w skull-stripped": 30,
    "FLAIR skull-stripped": 31, "SWI skull-stripped": 32, "MRA skull-stripped": 33,
}  # fmt: skip
BODY = {"head and neck": 0, "chest": 1, "abdomen": 2, "pelvis and legs": 3}
LARGEST_GUIDANCE = 20.0
PUBLISHED_STEPS = 30
LONGEST_SIDE = 512
HOUNSFIELD = {"low": -1000.0, "high": 1000.0, "unit": "HU"}
"""What 0 and 1 stand for in images of CT."""


@dataclass(frozen=True)
class Model:
    """What was published under a name; `centre` is where the middle of the field of view is put, in RAS millimetres.

    `spacings` are the smallest and the largest voxel, in mm, that NVIDIA's scripts take, `intensity` what files hold.
    """

    title: str
    body_part: str
    image_shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    centre: tuple[float, float, float]
    contrasts: Mapping[str, int] = field(default_factory=dict)
    guidance: float = 1.0
    denoiser: Mapping[str, Any] = field(default_factory=lambda: DENOISER)
    flow: bool = True
    spacings: tuple[float, float] = (0.5, 5.0)
    intensity: Mapping[str, Any] | None = None


MODELS = {
    "rflow-mr-brain": Model(
        "NV-Generate-MR-Brain",
        "BRAIN",
        (256, 256, 128),
        (0.94, 0.94, 1.36),
        (0, -18, 0),
        BRAIN_CONTRASTS,
        2.0,
        spacings=(0.4, 5.0),
    ),
    "rflow-ct": Model(
        "NV-Generate-CT", "CHEST", (256, 256, 128), (1, 1, 0.75), (0, 0, 0), {"CT": 1}, intensity=HOUNSFIELD
    ),
    "ddpm-ct": Model(
        "NV-Generate-CT (DDPM)",
        "CHEST",
        (256, 256, 128),
        (1, 1, 0.75),
        (0, 0, 0),
        denoiser=DDPM_DENOISER,
        flow=False,
        intensity=HOUNSFIELD,
    ),
}


@dataclass(frozen=True)
class Config:
    """What a user may say of checkpoints; what is left out is the published `model`'s."""

    model: str = "rflow-mr-brain"
    image_shape: tuple[int, int, int] | None = None
    spacing: tuple[float, float, float] | None = None
    centre: tuple[float, float, float] | None = None
    scale_factor: float | None = None
    contrasts: Mapping[str, int] | None = None
    guidance: float | None = None
    autoencoder: Mapping[str, Any] = field(default_factory=dict)
    denoiser: Mapping[str, Any] = field(default_factory=dict)


def read_published(
    autoencoder: Checkpoint, denoiser: Checkpoint, given: Mapping[str, Any], source: str
) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """A manifest's entries and the weights of each role, from NVIDIA's files or such as were trained like them."""
    config, model = _config(given, source)
    networks = {
        "autoencoder": {**AUTOENCODER, **config.autoencoder},
        "denoiser": {**model.denoiser, **config.denoiser},
    }
    weights = {
        "autoencoder": _weights(autoencoder, "autoencoder", build_autoencoder, networks["autoencoder"]),
        "denoiser": _weights(denoiser, "diffusion model", build_denoiser, networks["denoiser"]),
    }
    grid = _grid(config, model, networks, source)
    channels = int(networks["autoencoder"]["latent_channels"])
    factor = 2 ** (len(networks["autoencoder"]["num_channels"]) - 1)
    latent = [size // factor for size in grid.shape]
    entries = {
        "contrast": next(iter(model.contrasts)) if len(model.contrasts) == 1 else "",
        "body_part": model.body_part,
        "title": model.title,
        "grid": grid.as_dict(),
        "latent": {"shape": [channels, *latent], "scale_factor": _scale_factor(config, denoiser, source)},
        "schedule": _schedule(model, latent),
        "sizes": {"multiple": smallest_step(networks), "most": LONGEST_SIDE, "spacing": list(model.spacings)},
        "networks": networks,
        "attributes": _attributes(config, model, networks["denoiser"], source),
        **({"intensity": model.intensity} if model.intensity else {}),
        **({"sampling": {"sampler": "rflow", "steps": PUBLISHED_STEPS}} if model.flow else {}),
    }
    return {name: entry for name, entry in entries.items() if entry != ""}, weights


def _weights(
    checkpoint: Checkpoint, what: str, build: Callable[[Mapping[str, Any]], nn.Module], arguments: Mapping[str, Any]
) -> dict[str, Tensor]:
    """All of a network's tensors, and nothing else."""
    network = build_without_memory(what, build, arguments)
    return match(f"{what} ({checkpoint.path})", checkpoint.tensors, network)


def _config(given: Mapping[str, Any], source: str) -> tuple[Config, Model]:
    try:
        config = read_fields(Config, given)
    except FieldError as error:
        raise VcmError(Code.PACK_INVALID, f"{source} cannot be used: {error}.", error.remedy) from error
    if config.model not in MODELS:
        raise _refused(source, f"it names the model {config.model!r}", f"The models are: {', '.join(MODELS)}.")
    if config.scale_factor is not None and not config.scale_factor > 0:
        raise _refused(source, "its scale_factor is not above 0")
    if not 1 <= (config.guidance or 1) <= LARGEST_GUIDANCE:
        raise _refused(source, f"its guidance is not between 1 and {LARGEST_GUIDANCE:g}")
    return config, MODELS[config.model]


def _grid(config: Config, model: Model, networks: Mapping[str, Any], source: str) -> Grid:
    """Axis-parallel and RAS, as the networks learned them, around the centre."""
    shape = np.array(config.image_shape or model.image_shape)
    spacing = np.array(config.spacing or model.spacing)
    step = smallest_step(networks)
    if (shape < step).any() or (shape % step).any():
        raise _refused(
            source,
            f"its image_shape {' × '.join(map(str, shape))} has sizes that are no multiples of {step}",
            f"The networks halve an image until it is {step} times smaller: choose multiples of {step}.",
        )
    if not (spacing > 0).all():
        raise _refused(source, "its spacing is not above 0")
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = np.array(config.centre or model.centre) - spacing * (shape - 1) / 2
    return Grid([int(size) for size in shape], affine)


def _scale_factor(config: Config, denoiser: Checkpoint, source: str) -> float:
    found = config.scale_factor or denoiser.numbers.get("scale_factor")
    if found is None or not (math.isfinite(found) and found > 0):
        raise VcmError(
            Code.PACK_INVALID,
            f"{denoiser.path} does not say by which factor latents are scaled: it has no usable scale_factor.",
            f'Give it in a configuration: --config FILE.json with {{"scale_factor": …}}. {source} has none.',
        )
    return float(found)


def _schedule(model: Model, latent: Sequence[int]) -> dict[str, Any]:
    if model.flow:
        return {"kind": "flow", "timesteps": 1000, "prediction": "velocity", "shift": shift_of(latent)}
    return {
        "kind": "scaled_linear",
        "timesteps": 1000,
        "beta_start": 0.0015,
        "beta_end": 0.0195,
        "prediction": "epsilon",
    }


def _attributes(config: Config, model: Model, denoiser: Mapping[str, Any], source: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    contrasts = config.contrasts or model.contrasts
    if count := denoiser.get("num_class_embeds"):
        if not (contrasts and all(0 <= number < count for number in contrasts.values())):
            raise _refused(
                source,
                f"its contrasts must have classes from 0 to {count - 1}, those that its denoiser has",
                'Name those that it learned: "contrasts": {"NAME": CLASS, …}.',
            )
        first = next(iter(contrasts.values()))
        choices = {"choices": dict(contrasts), "default": first, "role": NAMES_CONTRAST}
        entries.append({"name": CONTRAST, "title": "Contrast", **choices})
        scale = config.guidance or model.guidance
        default = (scale - 1) / (LARGEST_GUIDANCE - 1)
        bounds = {"low": 1.0, "high": LARGEST_GUIDANCE}
        entries.append({"name": GUIDANCE, "title": "Guidance scale", **bounds, "default": default})
    for name, title, default in zip(REGIONS, ("Uppermost region", "Lowermost region"), (1, 2), strict=True):
        if denoiser.get(f"include_{name}_index_input"):
            entries.append({"name": name, "title": title, "choices": BODY, "default": default})
    return entries


def _refused(source: str, reason: str, remedy: str = "") -> VcmError:
    return VcmError(Code.PACK_INVALID, f"{source} cannot be used: {reason}.", remedy)
