"""The authors' checkpoints, as packs have them.

The networks' sizes are read from the tensors' own shapes; a configuration says what shapes do not. Nothing is published
of how intensities were scaled, of how the images lie in the patient, or under which terms the weights may be used:
`orientation`, `centre` and `intensity_scale` are settings, and the pack's description says that they are assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from vcm.conditions.attributes import CONTRAST
from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.core.typed_json import FieldError, read_fields
from vcm.models.backbones.meddiffusion.backbone import (
    CLASS,
    INTENSITY_SCALE,
    MOST_EDGE,
    SCHEDULE,
    SPACINGS,
    build_autoencoder,
    build_denoiser,
)
from vcm.models.backbones.meddiffusion.layers import HEAD_WIDTH
from vcm.models.backbones.published import build_without_memory, match

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vcm.packs.tensors.checkpoints import Checkpoint

CLASSES = {
    "CTHeadNeck": 0, "CTChestAbdomen": 1, "CTLegs": 2, "MRT1Brain": 3, "MRT2Brain": 4, "MRAbdomen": 5, "MRKnee": 6,
}  # fmt: skip
USUAL_CLASS, USUAL_EDGE = "MRT1Brain", 192
CENTRE = (0.0, -18.0, 18.0)
"""The middle of MNI space's usual field of view, where a head of its size lies."""

TRAINING_ONLY = ("volume_discriminator.", "image_discriminator.", "perceptual_loss.", "perceptual_model.")
"""Parts of an autoencoder's file that only its training needs."""

ASSUMED = (
    "Imported from published checkpoints. Their authors say neither how intensities were scaled nor how images lie in "
    "the patient: orientation, position and the scale of intensities are assumed, not verified."
)
UNTRAINED = "Untrained: random weights, to train from nothing."
GIVEN = "Imported from published checkpoints, with orientation, position and scale of intensities as configured."
WORLD = {letter: (axis, sign) for axis, pair in enumerate(("RL", "AP", "SI")) for letter, sign in zip(pair, (1, -1))}  # noqa: B905


@dataclass(frozen=True)
class Config:
    """What a user may say of checkpoints. `image_shape` and `spacing` are along x, y and z of the authors' image files,
    whose directions in the patient `orientation` names; `classes` gives the network's numbers names, and `contrasts`
    says that these are contrasts of one part of the body.

    `autoencoder` and `denoiser` override what the shapes say, by published names of options, such as `num_groups`.
    """

    image_shape: tuple[int, int, int] = (USUAL_EDGE, USUAL_EDGE, USUAL_EDGE)
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    orientation: str = "RAS"
    centre: tuple[float, float, float] = CENTRE
    intensity_scale: float = 1.0
    classes: Mapping[str, int] | None = None
    default_class: str | None = None
    contrasts: bool = False
    body_part: str | None = None
    autoencoder: Mapping[str, Any] = field(default_factory=dict)
    denoiser: Mapping[str, Any] = field(default_factory=dict)


def read_published(
    autoencoder: Checkpoint, denoiser: Checkpoint, given: Mapping[str, Any], source: str
) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """A manifest's entries and the weights of each role, from the authors' files or such as were trained like them."""
    config = _config(given, source)
    first = {k: t for k, t in autoencoder.tensors.items() if not k.startswith(TRAINING_ONLY)}
    networks = {
        "autoencoder": {
            **_options(autoencoder, first, _of_autoencoder, "patch-volume autoencoder"),
            **config.autoencoder,
        },
        "denoiser": {**_options(denoiser, denoiser.tensors, _of_denoiser, "BiFlowNet"), **config.denoiser},
    }
    outlines = {
        "autoencoder": build_without_memory("autoencoder", build_autoencoder, networks["autoencoder"]),
        "denoiser": build_without_memory("denoiser", build_denoiser, networks["denoiser"]),
    }
    weights = {
        "autoencoder": match(f"autoencoder ({autoencoder.path})", first, outlines["autoencoder"]),
        "denoiser": match(f"denoiser ({denoiser.path})", denoiser.tensors, outlines["denoiser"]),
    }
    if differing := _channels_differ(outlines):
        sentence = f"{denoiser.path} denoises latents of {differing[1]} channels, but {autoencoder.path} makes "
        raise VcmError(Code.PACK_INVALID, f"{sentence}{differing[0]}.", "Give the two files of one model.")
    description = GIVEN if {"orientation", "centre", "intensity_scale"} & given.keys() else ASSUMED
    return _entries(config, networks, outlines, description, source), weights


def initialise(given: Mapping[str, Any], source: str) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """The same of networks with random weights: `autoencoder` and `denoiser` of the configuration say all of them."""
    config = _config(given, source)
    networks = {"autoencoder": dict(config.autoencoder), "denoiser": dict(config.denoiser)}
    build_without_memory("autoencoder", build_autoencoder, networks["autoencoder"])
    build_without_memory("denoiser", build_denoiser, networks["denoiser"])
    autoencoder, denoiser = build_autoencoder(networks["autoencoder"]), build_denoiser(networks["denoiser"])
    networks["autoencoder"].setdefault("downsample", autoencoder.downsample)
    networks["denoiser"].setdefault("cond_classes", denoiser.cond_emb.num_embeddings)
    made: dict[str, nn.Module] = {"autoencoder": autoencoder, "denoiser": denoiser}
    if differing := _channels_differ(made):
        raise _refused(source, f"its autoencoder makes latents of {differing[0]} channels, its denoiser {differing[1]}")
    weights = {role: network.state_dict() for role, network in made.items()}
    return _entries(config, networks, made, UNTRAINED, source), weights


def _channels_differ(networks: Mapping[str, nn.Module]) -> tuple[int, int] | None:
    """The channels of the latents of an autoencoder and a denoiser that do not belong together."""
    made, taken = (int(networks[role].channels) for role in ("autoencoder", "denoiser"))  # type: ignore[arg-type]
    return None if made == taken else (made, taken)


def _entries(
    config: Config,
    networks: Mapping[str, Mapping[str, Any]],
    outlines: Mapping[str, nn.Module],
    description: str,
    source: str,
) -> dict[str, Any]:
    factor = int(networks["autoencoder"]["downsample"])
    step = factor * int(outlines["denoiser"].multiple)  # type: ignore[arg-type]
    grid = _grid(config, step, source)
    entries: dict[str, Any] = {
        "title": f"3D MedDiffusion, {factor} times smaller latents",
        "description": description,
        "grid": grid.as_dict(),
        "sizes": {"multiple": step, "most": MOST_EDGE, "spacing": list(SPACINGS)},
        "latent": {
            "shape": [int(outlines["autoencoder"].channels), *(size // factor for size in grid.shape)],  # type: ignore[arg-type]
            "scale_factor": 1.0,
        },
        "schedule": SCHEDULE,
        "networks": {**networks, "autoencoder": {**networks["autoencoder"], INTENSITY_SCALE: config.intensity_scale}},
        "attributes": [_class(config, int(networks["denoiser"]["cond_classes"]), source)],
    }
    body_part = config.body_part if config.body_part is not None else ("" if config.classes else "BRAIN")
    return {**entries, **({"body_part": body_part} if body_part else {})}


def _of_autoencoder(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    levels = {name.split(".")[2] for name in shapes if name.startswith("encoder.conv_blocks.")}
    return {
        "n_hiddens": shapes["encoder.conv_first.weight"][0],
        "embedding_dim": shapes["pre_vq_conv.weight"][0],
        "n_codes": shapes["codebook.embeddings"][0],
        "downsample": 2 ** (len(levels) - 1),
    }


def _of_denoiser(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    dim, channels, kernel = shapes["init_conv.weight"][:3]
    patch = shapes["x_embedder.proj.weight"][2]
    levels = len({name.split(".")[1] for name in shapes if name.startswith("downs.")})
    return {
        "dim": dim,
        "dim_mults": [shapes[f"downs.{i}.2.block1.proj.weight"][0] // dim for i in range(levels)],
        "channels": channels,
        "cond_classes": shapes["cond_emb.weight"][0],
        "use_sparse_linear_attn": [int(f"downs.{i}.1.fn.norm.gamma" in shapes) for i in range(levels)],
        "patch_size": patch,
        "sub_volume_size": patch * round(shapes["pos_embed"][1] ** (1 / 3)),
        "num_mid_DiT": len({name.split(".")[1] for name in shapes if name.startswith("IntraPatchFlow_mid.")}),
        "attn_heads": shapes["mid_spatial_attn.fn.fn.to_qkv.weight"][0] // (3 * HEAD_WIDTH),
        "init_kernel_size": kernel,
        "learn_sigma": shapes["final_conv.1.weight"][0] == 2 * channels,
    }


def _options(checkpoint: Checkpoint, tensors: Mapping[str, Tensor], read: Any, what: str) -> dict[str, Any]:
    """The options of a network that its tensors' shapes say."""
    try:
        options: dict[str, Any] = read({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        lacking = f" It lacks the tensor {error.args[0]}." if isinstance(error, KeyError) else ""
        raise VcmError(
            Code.PACK_INVALID,
            f"{checkpoint.path} is no {what} of 3D MedDiffusion.{lacking}",
            "Check that autoencoder and denoiser have not been swapped, and that the files are of this family.",
        ) from error
    return options


def _config(given: Mapping[str, Any], source: str) -> Config:
    try:
        config = read_fields(Config, given)
    except FieldError as error:
        raise VcmError(Code.PACK_INVALID, f"{source} cannot be used: {error}.", error.remedy) from error
    if sorted(WORLD.get(letter, (-1, 0))[0] for letter in config.orientation) != [0, 1, 2]:
        raise _refused(source, f"its orientation must be three letters like RAS or LPS, not {config.orientation!r}")
    if not (0 < config.intensity_scale <= 100 and all(0 < size < 100 for size in config.spacing)):
        raise _refused(source, "its spacing and its intensity_scale must be above 0 and below 100")
    return config


def _grid(config: Config, step: int, source: str) -> Grid:
    """The networks' axes are z, x and y of the authors' image files."""
    if any(size < step or size % step for size in config.image_shape):
        raise _refused(
            source,
            f"its image_shape {' × '.join(map(str, config.image_shape))} has sizes that are no multiples of {step}",
            f"The networks take multiples of {step} voxels.",
        )
    matrix = np.zeros((3, 3))
    for axis, letter in enumerate(config.orientation):
        world, sign = WORLD[letter]
        matrix[world, axis] = sign * config.spacing[axis]
    order = [2, 0, 1]
    shape, affine = np.array(config.image_shape)[order], np.eye(4)
    affine[:3, :3] = matrix[:, order]
    affine[:3, 3] = np.array(config.centre) - affine[:3, :3] @ ((shape - 1) / 2)
    return Grid([int(size) for size in shape], affine)


def _class(config: Config, count: int, source: str) -> dict[str, Any]:
    """The attribute that names the classes; those of the published networks where there are as many."""
    named = count == len(CLASSES)
    classes = dict(config.classes or (CLASSES if named else {f"class {n}": n for n in range(count)}))
    if not all(0 <= number < count for number in classes.values()):
        raise _refused(source, f"its classes must have numbers from 0 to {count - 1}")
    usual = config.default_class or (USUAL_CLASS if USUAL_CLASS in classes else next(iter(classes)))
    if usual not in classes:
        raise _refused(source, f"its default_class {usual!r} is none of its classes")
    role = {"role": CONTRAST} if config.contrasts else {}
    return {"name": CLASS, "title": "Class", "choices": classes, "default": classes[usual], **role}


def _refused(source: str, reason: str, remedy: str = "") -> VcmError:
    return VcmError(Code.PACK_INVALID, f"{source} cannot be used: {reason}.", remedy)
