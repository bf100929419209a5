"""With which networks, sizes and conditions a checkpoint was published: what an import has to know.

The files themselves hold named tensors only. `published.json` has the values of BrainLDM and the released VCM; a
user's configuration replaces them key by key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.core.reading import read_json
from vcm.packs.manifest_reading import read_conditions
from vcm.packs.schema import check_schema

SCHEMA = "published.schema.json"
NETWORKS = ("autoencoder", "diffusion", "vcm_encoder", "vcm_unet")


@dataclass(frozen=True)
class PublishedConfig:
    """A checked configuration; `networks` has the arguments in monai-generative's words.

    `scale_factor` is the backbone's, `control_scale_factor` that of samples under the control: BrainLDM's latents are
    decoded as they are, while VCM was trained on latents of unit variance.
    """

    networks: Mapping[str, Mapping[str, Any]]
    contrast: str
    body_part: str
    grid: Grid
    latent_shape: tuple[int, int, int]
    scale_factor: float
    control_scale_factor: float
    schedule: Mapping[str, Any]
    attributes: tuple[Mapping[str, Any], ...]
    conditions: tuple[Mapping[str, Any], ...]

    @property
    def latent_channels(self) -> int:
        return int(self.networks["autoencoder"]["latent_channels"])


def read_config(given: Mapping[str, Any] | None = None, source: str = "the configuration") -> PublishedConfig:
    """Check a configuration and fill in what it leaves out; without one, it is that of the full-size BrainLDM and VCM.

    >>> config = read_config({"scale_factor": 0.5})
    >>> config.grid.shape, config.latent_shape, config.scale_factor
    ((160, 224, 160), (20, 28, 20), 0.5)
    >>> read_config({"latent_shape": [20, 28]})
    Traceback (most recent call last):
    vcm.core.errors.VcmError: In the configuration, “latent_shape” must be three whole numbers, not [20, 28]. ...
    """
    given = {} if given is None else given
    check_schema(given, SCHEMA, source)
    full = _full_size()
    networks = {name: _merged(full[name], given.get(name, {})) for name in NETWORKS}
    factor = given.get("scale_factor")
    try:
        grid, latent_shape = _sizes(given, len(networks["autoencoder"]["num_channels"]))
        conditions = _conditions(given, int(networks["vcm_encoder"]["in_channels"]))
        read_conditions(conditions)
    except VcmError as error:
        raise VcmError(Code.PACK_INVALID, f"In {source}: {error.sentence}", error.remedy) from error
    return PublishedConfig(
        networks=networks,
        contrast=given.get("contrast", full["contrast"]),
        body_part=given.get("body_part", full["body_part"]),
        grid=grid,
        latent_shape=latent_shape,
        scale_factor=float(full["scale_factor"] if factor is None else factor),
        control_scale_factor=float(full["control_scale_factor"] if factor is None else factor),
        schedule=_schedule({**full["scheduler"], **given.get("scheduler", {})}),
        attributes=_attributes(networks),
        conditions=conditions,
    )


def check_backbone_fits(config: PublishedConfig) -> None:
    """Raise where autoencoder, denoiser and latent cannot work together, though each could be built."""
    denoiser, channels = config.networks["diffusion"], config.latent_channels
    if denoiser["out_channels"] != channels:
        _refuse(f"the denoiser gives {denoiser['out_channels']} channels, but the latent has {channels}")
    surplus = denoiser["in_channels"] - channels
    if surplus not in (0, len(config.attributes)):
        _refuse(
            f"the denoiser takes {surplus} channels beside the latent's {channels}, "
            f"but its context has {len(config.attributes)} numbers"
        )
    _check_depth("denoiser", denoiser, config.latent_shape)


def check_control_fits(
    config: PublishedConfig, grid_shape: tuple[int, ...], latent_shape: tuple[int, ...], channels: int
) -> None:
    """Raise where the control cannot work on latents of `latent_shape` (three sizes) with so many `channels`."""
    encoder, unet = config.networks["vcm_encoder"], config.networks["vcm_unet"]
    specs = read_conditions(config.conditions)
    width = sum(spec.channels for spec in specs)
    if width != encoder["in_channels"]:
        named = " + ".join(f"{spec.channels} of {spec.name}" for spec in specs)
        _refuse(f"the control's encoder takes {encoder['in_channels']} channels, but the conditions have {named}")
    halvings = len(encoder["num_channels"])
    encoded = tuple(size / 2**halvings for size in grid_shape)
    if encoded != tuple(latent_shape):
        _refuse(
            f"the control's encoder halves the image {grid_shape} {halvings} times, "
            f"which does not give the latent's sizes {tuple(latent_shape)}"
        )
    expected = 2 * channels + encoder["num_channels"][-1]
    if unet["in_channels"] != expected:
        _refuse(
            f"the control's U-Net takes {unet['in_channels']} channels, but latent, noise and encoding have {expected}"
        )
    _check_depth("control's U-Net", unet, tuple(latent_shape))


@cache
def _full_size() -> dict[str, Any]:
    return read_json(Path(__file__).with_name("published.json"))


def _merged(full: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**full, **given}
    if not merged.get("with_conditioning", True) and "cross_attention_dim" not in given:
        merged.pop("cross_attention_dim", None)
    return merged


def _sizes(given: Mapping[str, Any], levels: int) -> tuple[Grid, tuple[int, int, int]]:
    """Image and latent differ by a factor of two for each level of the autoencoder but one; either may be left out.

    The affine by default is not the published one, which lies up to 80 mm off MNI space: it was found by comparing
    the centroids of hippocampi, amygdalae, deep grey matter and brain stem of the authors' sample with MNI space. For
    another image shape it is scaled to the same field of view.
    """
    full, factor = _full_size(), 2 ** (levels - 1)
    latent = given.get("latent_shape")
    image = given.get("image_shape") or ([n * factor for n in latent] if latent else full["image_shape"])
    latent = latent or [n / factor for n in image]
    if [n * factor for n in latent] != list(image) or any(n != int(n) for n in latent):
        shown = [int(n) if n == int(n) else n for n in latent]
        _refuse(
            f"an autoencoder of {levels} levels makes the image {factor} times smaller, "
            f"so image_shape {image} and latent_shape {shown} do not go together"
        )
    if "affine" in given:
        grid = Grid(image, given["affine"])
    else:
        grid = Grid(full["image_shape"], full["affine"]).downsampled(image)
    i, j, k = (int(n) for n in latent)
    return grid, (i, j, k)


def _conditions(given: Mapping[str, Any], channels: int) -> tuple[dict[str, Any], ...]:
    """As given; the released semantics without any configuration; else nameless classes, one a channel."""
    entries = given.get("conditions") or _full_size()["conditions"]
    if "conditions" not in given and "vcm_encoder" in given:
        classes = [f"class {value}" for value in range(1, channels + 1)]
        entries = [{"name": "semantics", "kind": "labels", "classes": classes}]
    return tuple(_written_out(entry) for entry in entries)


def _written_out(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A condition as a manifest has it: each class an object, values counted from 1 where none are given."""
    kept = {key: entry[key] for key in ("name", "kind", "description") if key in entry}
    classes = [{"name": item} if isinstance(item, str) else dict(item) for item in entry.get("classes", [])]
    if classes:
        kept["classes"] = [{"value": index, **item} for index, item in enumerate(classes, start=1)]
    return kept


def _attributes(networks: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """BrainLDM's four scalars; a denoiser that takes another number has scalars without a name."""
    denoiser = networks["diffusion"]
    beside = int(denoiser["in_channels"]) - int(networks["autoencoder"]["latent_channels"])
    count = int(denoiser.get("cross_attention_dim") or 0) if denoiser.get("with_conditioning") else max(beside, 0)
    known = _full_size()["attributes"]
    if count == len(known):
        return tuple(known)
    return tuple({"name": f"attribute_{n}", "title": f"Attribute {n}"} for n in range(1, count + 1))


def _schedule(scheduler: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "timesteps": int(scheduler["num_train_timesteps"]),
        "kind": scheduler["schedule"].removesuffix("_beta"),
        "beta_start": scheduler["beta_start"],
        "beta_end": scheduler["beta_end"],
        "prediction": {"epsilon": "epsilon", "v_prediction": "v"}[scheduler["prediction_type"]],
    }


def _check_depth(what: str, network: Mapping[str, Any], latent_shape: tuple[int, ...]) -> None:
    factor = 2 ** (len(network["num_channels"]) - 1)
    if any(size % factor for size in latent_shape):
        _refuse(f"the {what} halves the latent until it is {factor} times smaller, which {latent_shape} does not allow")


def _refuse(what: str) -> None:
    raise VcmError(
        Code.PACK_INVALID,
        f"The parts do not fit together: {what}.",
        "Give the configuration the checkpoints were published with: --config FILE.json",
    )
