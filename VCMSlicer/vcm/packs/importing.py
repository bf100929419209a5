"""Published checkpoints made into packs: read safely, translated to today's networks, written as safetensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vcm.core.errors import Code, VcmError
from vcm.packs.installation import check_name, install_folder
from vcm.packs.manifest_reading import write_manifest
from vcm.packs.published_config import PublishedConfig, check_backbone_fits, check_control_fits, read_config
from vcm.packs.store import Pack, find_pack
from vcm.packs.tensors.checkpoints import read_checkpoint, read_published, write_weights

if TYPE_CHECKING:
    import torch

    Weights = dict[str, torch.Tensor]
    Network = tuple[dict[str, Any], Weights]

Result = TypeVar("Result")
OWN_LICENCE = {"name": "unknown", "note": "Imported from your own files; the terms you got them under apply."}


def import_published(
    name: str,
    *,
    autoencoder: Path,
    denoiser: Path,
    control: Path | None = None,
    config: Mapping[str, Any] | None = None,
    config_source: str = "the configuration",
    about: Mapping[str, Any] | None = None,
    force: bool = False,
    on_step: Callable[[str], None] = lambda step: None,
) -> list[Pack]:
    """Make the pack `name` from a published BrainLDM, and one more from its VCM where `control` is given.

    `config` has the layout of a published configuration and defaults to the full-size one; complaints call it
    `config_source`. `about` replaces `title`, `description`, `version` and `licence` of the backbone. Everything is
    read and checked before anything is written; `on_step` hears in words what is going on.
    """
    published = read_config(config, config_source)
    check_name(name, force=force)
    check_backbone_fits(published)
    steering = None
    if control is not None:
        steering_name = f"{name}-{'-'.join(entry['name'] for entry in published.conditions)}".lower()
        check_name(steering_name, force=force)
        on_step("reading the control")
        channels, sizes = published.latent_channels, published.latent_shape
        steering = _read_control(control, published, published.grid.shape, (channels, *sizes))
    on_step("reading the autoencoder")
    parts = {"autoencoder": _read_autoencoder(autoencoder, published)}
    on_step("reading the denoiser")
    parts["denoiser"] = _read_denoiser(denoiser, published)
    on_step("writing the backbone")
    weights = {role: state for role, (_, state) in parts.items()}
    entries = {
        "title": f"{name} (imported)",
        "contrast": published.contrast,
        "body_part": published.body_part,
        "grid": published.grid.as_dict(),
        "latent": {
            "shape": [published.latent_channels, *published.latent_shape],
            "scale_factor": published.scale_factor,
        },
        "schedule": published.schedule,
        "networks": {role: kwargs for role, (kwargs, _) in parts.items()},
        "attributes": list(published.attributes),
    }
    backbone = _install_backbone(name, entries, weights, about or {}, force=force)
    if steering is None:
        return [backbone]
    on_step("writing the control")
    return [backbone, _install_control(steering_name, published, steering, backbone, {}, force=force)]


def import_family(
    name: str,
    family: str,
    *,
    autoencoder: Path,
    denoiser: Path,
    config: Mapping[str, Any] | None = None,
    config_source: str = "the configuration",
    about: Mapping[str, Any] | None = None,
    force: bool = False,
    on_step: Callable[[str], None] = lambda step: None,
) -> Pack:
    """Make the backbone pack `name` from checkpoints that the authors of a family published.

    What `config` may say is the family's own. `about` replaces `title`, `description`, `version` and `licence`.
    """
    from vcm.models.loading import BACKBONES

    reader = BACKBONES[family].published
    check_name(name, force=force)
    on_step("reading the autoencoder")
    first = read_published(autoencoder)
    on_step("reading the denoiser")
    second = read_published(denoiser)
    entries, weights = reader(first, second, config or {}, config_source)
    on_step("writing the backbone")
    return _install_backbone(name, {**entries, "family": family}, weights, about or {}, force=force)


def new_backbone(
    name: str,
    family: str,
    config: Mapping[str, Any],
    *,
    config_source: str = "the configuration",
    seed: int = 1,
    force: bool = False,
) -> Pack:
    """Make the backbone pack `name` of a family with random weights, as a training from nothing begins with one.

    What `config` says is the family's own, as for `import_family`.
    """
    import torch

    from vcm.models.loading import BACKBONES

    check_name(name, force=force)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        entries, weights = BACKBONES[family].initialise(config, config_source)
    licence = {"name": "unknown", "note": "Random weights: what is trained from them has its own terms."}
    title, trained = f"{name} (untrained)", dict.fromkeys(weights, False)
    content = {**entries, "title": title, "family": family, "licence": licence, "trained": trained}
    return _install_backbone(name, content, weights, {}, force=force)


def import_control(
    name: str,
    control: Path,
    backbone: Pack,
    *,
    config: Mapping[str, Any] | None = None,
    config_source: str = "the configuration",
    about: Mapping[str, Any] | None = None,
    force: bool = False,
    on_step: Callable[[str], None] = lambda step: None,
) -> Pack:
    """Make the pack `name` from a published VCM that steers an installed backbone."""
    published = read_config(config, config_source)
    check_name(name, force=force)
    manifest = backbone.backbone
    on_step("reading the control")
    steering = _read_control(control, published, manifest.grid.shape, manifest.latent.shape)
    on_step("writing the control")
    return _install_control(name, published, steering, backbone, about or {}, force=force)


def _read_autoencoder(path: Path, config: PublishedConfig) -> Network:
    from vcm.models.backbones.published import translate_autoencoder

    return _naming(path, translate_autoencoder, config.networks["autoencoder"], read_checkpoint(path))


def _read_denoiser(path: Path, config: PublishedConfig) -> Network:
    from vcm.models.backbones.published import translate_denoiser

    return _naming(path, translate_denoiser, config.networks["diffusion"], read_checkpoint(path))


def _read_control(
    path: Path, config: PublishedConfig, grid_shape: tuple[int, ...], latent_shape: tuple[int, ...]
) -> Network:
    from vcm.models.controls.published import translate_control

    channels, *sizes = latent_shape
    check_control_fits(config, grid_shape, tuple(sizes), channels)
    encoder, unet = config.networks["vcm_encoder"], config.networks["vcm_unet"]
    networks, state = _naming(path, translate_control, encoder, unet, read_checkpoint(path))
    if networks["latent_channels"] != channels:
        raise VcmError(
            Code.PACK_INVALID,
            f"{path} steers latents of {networks['latent_channels']} channels; the backbone's have {channels}.",
            "Give the control that was trained for this backbone.",
        )
    return networks, state


def _naming(path: Path, translate: Callable[..., Result], *arguments: Any) -> Result:
    """Call a translator, which knows no file names, and put the file's name before its complaint."""
    try:
        return translate(*arguments)
    except VcmError as error:
        raise VcmError(error.code, f"{path}: {error.sentence}", error.remedy, **error.details) from error


def _install_backbone(
    name: str, entries: Mapping[str, Any], weights: Mapping[str, Weights], about: Mapping[str, Any], *, force: bool
) -> Pack:
    """A backbone's pack from its manifest's own `entries`; `about` replaces what is said of it."""
    content = {
        "format": 1,
        "kind": "backbone",
        "name": name,
        "version": "1",
        "description": "Imported from published checkpoints.",
        "licence": OWN_LICENCE,
        "trained": dict.fromkeys(weights, True),
        **entries,
        **about,
        "files": {role: {"path": f"{role}.safetensors"} for role in weights},
    }
    return _install(content, weights, force=force)


def _install_control(
    name: str, config: PublishedConfig, network: Network, backbone: Pack, about: Mapping[str, Any], *, force: bool
) -> Pack:
    networks, state = network
    content = {
        "format": 1,
        "kind": "control",
        "name": name,
        "version": "1",
        "description": "Imported from a published checkpoint.",
        "licence": OWN_LICENCE,
        "title": f"VCM {' + '.join(entry['name'] for entry in config.conditions)} for {backbone.name}",
        **about,
        "files": {"control": {"path": "control.safetensors"}},
        "backbone": {"name": backbone.name, "sha256": backbone.backbone.files["denoiser"].sha256},
        "architecture": "vcm",
        "scale_factor": config.control_scale_factor,
        "conditions": list(config.conditions),
        # One encoder over all conditions together never saw one of them missing.
        "subsets": len(config.conditions) == 1,
        "networks": {"variant": "released", **networks},
        "trained": {"control": True},
    }
    return _install(content, {"control": state}, force=force)


def _install(content: Mapping[str, Any], weights: Mapping[str, Weights], *, force: bool) -> Pack:
    name = content["name"]
    with install_folder(name, force=force) as folder:
        for role, state in weights.items():
            write_weights(folder / content["files"][role]["path"], state)
        write_manifest(folder, content)
    return find_pack(name)
