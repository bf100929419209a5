"""BrainLDM and its like: an autoencoder, a denoising U-Net and a few scalars."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from monai.networks.nets import DiffusionModelUNet
from torch import Tensor, nn

from vcm.conditions.attributes import AttributeSpec
from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.models.backbones.autoencoders import (
    Autoencoder,
    build_autoencoder,
    decode_in_slabs,
    largest_decoder_activation,
    latent_shape,
    slab_decoding_bytes,
)
from vcm.models.backbones.backbone import DECODE_FACTOR, Backbone, Residuals, Shown, Sites, dtype_of, widest
from vcm.models.backbones.latents import pack, pad_to, unpack
from vcm.models.backbones.unet_encoder import UnetEncoder, halvable, residual_arguments, unet_options, unet_sites
from vcm.models.process import Process, process_from
from vcm.models.weights import build, fill, read_whitening
from vcm.packs.manifest import BackboneManifest
from vcm.packs.store import Pack, open_weights


def build_denoiser(config: Mapping[str, Any]) -> DiffusionModelUNet:
    """MONAI's diffusion U-Net from a manifest's `networks.denoiser`.

    Attention runs through PyTorch's fused kernel, which accumulates in fp32 by itself; `upcast_attention` would only
    hand it mixed types. Without context the attention has no output projection, as in the published networks.
    """
    chosen = {**config, "use_flash_attention": True, "upcast_attention": False}
    return DiffusionModelUNet(**{"include_fc": bool(config.get("with_conditioning")), **chosen})


class LatentDiffusion(Backbone):
    """A latent diffusion model with scalar attributes, given as channels and, where the U-Net takes it, as context.

    `packing` and `whitening` (per-voxel mean and standard deviation) describe how the denoiser sees the latent; the
    real BrainLDM is the case packing 1, one scale factor, ε-prediction. They stay inside: everything above sees a
    latent of about unit variance. With `atlas` the denoiser is also shown the mean latent that whitening took
    out: convolutions do not know where they are, and at high noise the latent does not tell them. With `slab_bytes`
    set, `decode` works slab by slab: the same image in less memory. Latents whose packed sizes the denoiser's levels
    cannot halve are given to it with zeros at their ends.
    """

    autoencoder: Autoencoder
    denoiser: DiffusionModelUNet
    latent_mean: Tensor
    latent_std: Tensor
    atlas: Tensor
    whitens = True
    takes_residuals = True
    takes_planes = True

    @classmethod
    def load(cls, pack: Pack) -> LatentDiffusion:
        """The model of a pack, in fp32 on the CPU."""
        manifest = pack.backbone
        autoencoder = build(pack, "autoencoder", lambda: build_autoencoder(manifest.networks["autoencoder"]))
        denoiser = build(pack, "denoiser", lambda: build_denoiser(manifest.networks["denoiser"]))
        _check_sizes(pack)
        fill(pack, autoencoder, open_weights(pack, "autoencoder"))
        fill(pack, denoiser, open_weights(pack, "denoiser"))
        kept = read_whitening(pack) if manifest.latent.whitened else None
        whitening = (kept["mean"], kept["std"]) if kept else None
        return cls._from_parts(manifest, autoencoder, denoiser, whitening).eval()

    @classmethod
    def outline(cls, manifest: BackboneManifest) -> LatentDiffusion:
        """The same networks with arbitrary weights."""
        autoencoder = build_autoencoder(manifest.networks["autoencoder"])
        denoiser = build_denoiser(manifest.networks["denoiser"])
        shape = manifest.latent.shape
        whitening = (torch.zeros(shape), torch.ones(shape)) if manifest.latent.whitened else None
        return cls._from_parts(manifest, autoencoder, denoiser, whitening)

    @classmethod
    def _from_parts(
        cls,
        manifest: BackboneManifest,
        autoencoder: Autoencoder,
        denoiser: DiffusionModelUNet,
        whitening: tuple[Tensor, Tensor] | None,
    ) -> LatentDiffusion:
        channels, i, j, k = manifest.latent.shape
        return cls(
            grid=manifest.grid,
            latent_shape=(channels, i, j, k),
            process=manifest.process,
            attributes=manifest.attributes,
            autoencoder=autoencoder,
            denoiser=denoiser,
            scale_factor=manifest.latent.scale_factor,
            packing=manifest.latent.packing,
            whitening=whitening,
            atlas=manifest.latent.atlas,
        )

    def given_back(self, image: Tensor) -> Tensor:
        """What the autoencoder makes of images or crops."""
        made: Tensor = self.autoencoder.decode(self.autoencoder.encode(image)[0])
        return made

    def own_whitening(self) -> tuple[Tensor, Tensor]:
        """Mean and spread at each place."""
        return self.latent_mean.cpu(), self.latent_std.cpu()

    @classmethod
    def retrain(
        cls, source: Backbone, manifest: BackboneManifest, changes: Mapping[str, Any], whitening: Any
    ) -> tuple[LatentDiffusion, dict[str, Any]]:
        """A model around the autoencoder of `source` with a new denoiser, or with the one it has, taken on.

        `changes` may hold `packing`, `prediction`, `last`, `atlas` and `network` (options of the denoiser). Without
        `whitening` the source's denoiser is taken on.
        """
        assert isinstance(source, LatentDiffusion)
        packing = changes.get("packing") or manifest.latent.packing
        if any(size % packing for size in manifest.latent.shape[1:]):
            raise VcmError(
                Code.BAD_REQUEST,
                f"With packing {packing} the denoiser needs latents whose sizes divide by it; those of {manifest.name} "
                f"are {manifest.latent.shape[1:]}.",
                "Choose a smaller packing.",
            )
        schedule = manifest.process.as_dict()
        schedule |= {name: changes[name] for name in ("prediction", "last") if changes.get(name) is not None}
        mean, std = source.latent_mean, source.latent_std
        if whitening is not None:
            mean, std = whitening["mean"].to(mean), whitening["std"].to(std)
        whitened = whitening is not None or manifest.latent.whitened
        atlas = bool(changes.get("atlas")) and whitened
        width = manifest.latent.shape[0] * packing**3
        config = {**manifest.networks["denoiser"], **changes.get("network", {})}
        config["in_channels"] = width * (2 if atlas else 1) + source.attribute_channels
        config["out_channels"] = width
        denoiser = build_denoiser(config)
        if whitening is None:
            _take_on(denoiser, source.denoiser)
        model = cls(
            grid=source.grid,
            latent_shape=source.latent_shape,
            process=process_from(schedule),
            attributes=source.attributes,
            autoencoder=source.autoencoder,
            denoiser=denoiser,
            scale_factor=source.scale_factor,
            packing=packing,
            whitening=(mean.cpu(), std.cpu()) if whitened else None,
            atlas=atlas,
        ).eval()
        latent = {
            "shape": list(manifest.latent.shape), "scale_factor": manifest.latent.scale_factor,
            "packing": packing, "whitened": whitened, "atlas": atlas,
        }  # fmt: skip
        return model, {"latent": latent, "schedule": schedule, "networks": {"denoiser": config}}

    @classmethod
    def new_autoencoder(
        cls, manifest: BackboneManifest, changes: Mapping[str, Any]
    ) -> tuple[nn.Module, dict[str, Any]]:
        """An autoencoder with random weights, and its options: the pack's but for what changes, perhaps the kind."""
        usual = {} if "kind" in changes else manifest.networks["autoencoder"]
        config = {**usual, **changes}
        return build_autoencoder(config), config

    @classmethod
    def around(cls, manifest: BackboneManifest, config: Mapping[str, Any], grid: Grid) -> dict[str, Any]:
        """A pack with a new autoencoder has other latents, and so no whitening and no denoiser yet."""
        made = latent_shape(config, grid.shape)
        if any(size % 1 for size in made):
            raise VcmError(
                Code.BAD_REQUEST,
                f"The autoencoder cannot make latents of a grid of {grid.shape} voxels: it would need a part of one.",
                "Make the cohort on another grid (--grid), or choose fewer levels.",
            )
        channels, *sizes = (int(size) for size in made)
        width = {"in_channels": channels + len(manifest.attributes), "out_channels": channels}
        latent = {"shape": [channels, *sizes], "scale_factor": 1.0, "packing": 1, "whitened": False, "atlas": False}
        networks = {"autoencoder": dict(config), "denoiser": {**manifest.networks["denoiser"], **width}}
        return {"grid": grid.as_dict(), "latent": latent, "networks": networks}

    @classmethod
    def new_denoiser(cls, config: Mapping[str, Any]) -> nn.Module:
        """A denoiser with random weights."""
        return build_denoiser(config)

    def __init__(
        self,
        *,
        grid: Grid,
        latent_shape: tuple[int, int, int, int],
        process: Process,
        attributes: tuple[AttributeSpec, ...],
        autoencoder: Autoencoder,
        denoiser: DiffusionModelUNet,
        scale_factor: float = 1.0,
        packing: int = 1,
        whitening: tuple[Tensor, Tensor] | None = None,
        atlas: bool = False,
    ) -> None:
        super().__init__()
        self.grid, self.latent_shape, self.process, self.attributes = grid, latent_shape, process, attributes
        self.autoencoder, self.denoiser = autoencoder, denoiser
        self.scale_factor, self.packing = scale_factor, packing
        mean, std = whitening or (torch.zeros(()), torch.ones(()))
        self.register_buffer("latent_mean", mean.float(), persistent=False)
        self.register_buffer("latent_std", std.float(), persistent=False)
        shown = pack(standardised(self.latent_mean)[None], packing) if atlas else torch.zeros(1, 0, 1, 1, 1)
        self.register_buffer("atlas", shown, persistent=False)
        self._typical: Tensor | None = None
        self.context = bool(getattr(denoiser, "with_conditioning", False))
        extra = int(denoiser.in_channels) - latent_shape[0] * packing**3 - shown.shape[1]  # type: ignore[arg-type]
        if extra not in (0, len(attributes)):
            raise VcmError(
                Code.PACK_INVALID,
                f"The denoiser takes {extra} channels beside the latent, but the pack names {len(attributes)} "
                "attributes.",
                "Check the pack's latent shape, packing and attributes.",
            )
        self.attribute_channels = extra

    def encode(self, image: Tensor) -> Tensor:
        """The latent of images `[B, 1, i, j, k]` in 0–1: the posterior's mean, whitened or scaled."""
        return self.posterior(image)[0]

    def posterior(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents that images may stand for, both whitened or scaled."""
        mean, spread = self.autoencoder.encode(image.to(dtype_of(self.autoencoder)))
        whitened = (mean.float() * self.scale_factor - self.latent_mean) / self.latent_std
        return whitened, spread.float() * self.scale_factor / self.latent_std

    def decode(self, latent: Tensor, scale_factor: float | None = None) -> Tensor:
        """The images `[B, 1, i, j, k]` of latents, as decoded and unscaled."""
        z = self.decoder_input(latent, scale_factor)
        z = z.to(dtype_of(self.autoencoder))
        if self.slab_bytes:
            return decode_in_slabs(self.autoencoder, z, self.slab_bytes).float()
        return self.autoencoder.decode(z).float()

    def decoder_input(self, latent: Tensor, scale_factor: float | None = None) -> Tensor:
        """Latents as the autoencoder knows them."""
        return (latent.float() * self.latent_std + self.latent_mean) / (scale_factor or self.scale_factor)

    @torch.no_grad()
    def typical_image(self) -> Tensor | None:
        """The image of the mean latent, on the CPU; decoded once. None where no mean was taken out of the latents."""
        if self._typical is None and self.latent_mean.ndim:
            zeros = torch.zeros((1, *self.latent_shape), device=self.latent_mean.device)
            self._typical = self.decode(zeros).cpu()
        return self._typical

    @classmethod
    def sites(cls, manifest: BackboneManifest) -> Sites:
        """At the skips and in the middle of the U-Net."""
        places = [size // manifest.latent.packing for size in manifest.latent.shape[1:]]
        return unet_sites(manifest.networks["denoiser"], places)

    @classmethod
    def network_options(cls, manifest: BackboneManifest, *, attend: bool = True) -> dict[str, Any]:
        """Those of MONAI's U-Net."""
        return unet_options(manifest.networks["denoiser"], attend=attend)

    @classmethod
    def copy_of_encoder(cls, options: Mapping[str, Any]) -> UnetEncoder:
        """The downward half of the U-Net."""
        return UnetEncoder(options)

    @classmethod
    def copy_of_denoiser(cls, options: Mapping[str, Any]) -> DiffusionModelUNet:
        """The U-Net."""
        return build_denoiser(options)

    def shown(self, latent: Tensor, inputs: Tensor) -> Shown:
        """The packed latent, the attributes and the mean latent as channels, with zeros at the ends of axes that the
        U-Net could not halve."""
        x = pack(latent, self.packing)
        if self.attribute_channels:
            planes = inputs[:, :, None, None, None].expand(-1, -1, *x.shape[2:])
            x = torch.cat([x, planes.to(x.dtype)], dim=1)
        if self.atlas.shape[1]:
            x = torch.cat([x, self.atlas.to(x.dtype).expand(len(x), -1, -1, -1, -1)], dim=1)
        return Shown(pad_to(x, self._unet_grid), inputs[:, None, :] if self.context else None)

    def predict(self, latent: Tensor, t: Tensor, inputs: Tensor, residuals: Residuals | None = None) -> Tensor:
        """ε or v, as the process says, of latents at timesteps `t` `[B]`, with raw attributes `[B, n]`."""
        added = residual_arguments(residuals, dtype_of(self.denoiser))
        return self._run(self.denoiser, self.shown(latent, inputs), t, added)

    def predict_with(self, network: nn.Module, planes: Tensor, latent: Tensor, t: Tensor, inputs: Tensor) -> Tensor:
        """The prediction of a `copy_of_denoiser`; the planes are packed as the latent is."""
        own = self.shown(latent, inputs)
        more = pad_to(pack(planes, self.packing), self._unet_grid).expand(len(latent), -1, -1, -1, -1)
        context = own.context if getattr(network, "with_conditioning", False) else None
        return self._run(network, Shown(torch.cat([own.tensor, more.to(own.tensor)], dim=1), context), t, {})

    def _run(self, network: nn.Module, shown: Shown, t: Tensor, added: Mapping[str, Any]) -> Tensor:
        dtype = dtype_of(network)
        context = None if shown.context is None else shown.context.to(dtype)
        i, j, k = (size // self.packing for size in self.latent_shape[1:])
        predicted = network(shown.tensor.to(dtype), timesteps=t, context=context, **added)[:, :, :i, :j, :k]
        return unpack(predicted.float(), self.packing)

    @property
    def _unet_grid(self) -> tuple[int, ...]:
        levels = len(getattr(self.denoiser, "block_out_channels", "1"))
        return halvable([size // self.packing for size in self.latent_shape[1:]], levels)

    def step_elements(self) -> int:
        """Elements of the largest tensor of one prediction."""
        return math.prod(self.latent_shape[1:]) // self.packing**3 * widest(self.sampling_networks)

    def decoding_bytes(self, size: int, slab_bytes: int | None) -> float:
        """The peak of decoding one image, without weights."""
        space = self.latent_shape[1:]
        if slab_bytes is None:
            return DECODE_FACTOR * largest_decoder_activation(self.autoencoder, space) * size
        return slab_decoding_bytes(self.autoencoder, space, size, slab_bytes)


def _take_on(network: nn.Module, former: nn.Module) -> None:
    """The former weights; channels that the former network did not have start at zero."""
    state: dict[str, Tensor] = dict(former.state_dict())
    first = "conv_in.conv.weight"
    missing = network.state_dict()[first].shape[1] - state[first].shape[1]
    if missing < 0:
        raise VcmError(
            Code.BAD_REQUEST,
            "The pack's denoiser is shown the mean latent (atlas) already, and cannot be taken on without it.",
            "Leave atlas at true.",
        )
    if missing:
        zeros = state[first].new_zeros(state[first].shape[0], missing, *state[first].shape[2:])
        state[first] = torch.cat([state[first], zeros], dim=1)
    network.load_state_dict(state)


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


def standardised(mean: Tensor) -> Tensor:
    """A mean latent `[C, i, j, k]` with each channel brought to mean 0 and standard deviation 1."""
    return (mean - mean.mean(dim=(1, 2, 3), keepdim=True)) / mean.std(dim=(1, 2, 3), keepdim=True)
