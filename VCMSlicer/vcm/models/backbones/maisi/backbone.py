"""The family on MONAI's own networks: a latent flow that takes the spacing of its voxels and a class."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from monai.apps.generation.maisi.networks.autoencoderkl_maisi import (
    AutoencoderKlMaisi,
    MaisiConvolution,
    MaisiResBlock,
    MaisiUpsample,
)
from monai.apps.generation.maisi.networks.diffusion_model_unet_maisi import DiffusionModelUNetMaisi
from torch import Tensor, nn
from torch.nn import functional

from vcm.conditions.attributes import AttributeSpec
from vcm.core.errors import Code, VcmError
from vcm.models.backbones.autoencoders import largest_decoder_activation
from vcm.models.backbones.backbone import DECODE_FACTOR, Backbone, Residuals, Shown, Sites, dtype_of, widest
from vcm.models.backbones.maisi.networks import (
    REGION_COUNT,
    REGIONS,
    MaisiEncoder,
    build_autoencoder,
    build_denoiser,
    conditioning,
    shift_of,
    smallest_step,
)
from vcm.models.backbones.slab_decoding import Blocks, decode_in_slabs, slab_decoding_bytes
from vcm.models.backbones.unet_encoder import residual_arguments, unet_sites
from vcm.models.process import Process, RectifiedFlow
from vcm.models.weights import load
from vcm.packs.manifest import BackboneManifest
from vcm.packs.store import Pack

if TYPE_CHECKING:
    from vcm.packs.tensors.checkpoints import Checkpoint

CONTRAST, GUIDANCE = "contrast", "guidance"
"""Attributes that this family knows, beside the regions: a class of the network, and the scale of its guidance."""

UNCONDITIONAL = 0
"""The class of the network that stands for any image: guidance leads away from it."""

BLOCKS = Blocks(MaisiResBlock, MaisiUpsample, MaisiConvolution, "trilinear")

UNIT = 100.0
"""The network reads spacings in hundredths of a millimetre, and a region as 100 in its place."""


class Maisi(Backbone):
    """A latent rectified flow (or diffusion) model that takes the voxels' spacing and a class such as the contrast.

    The spacing is the grid's own. Which other inputs there are is a matter of the manifest's attributes: `contrast`
    names the class, `guidance` is the scale of classifier-free guidance (1 is none, and costs nothing), `top_region`
    and `bottom_region` say from where to where a body reaches. The published networks predict x − n; here they answer
    as the process says, n − x.
    """

    autoencoder: AutoencoderKlMaisi
    denoiser: DiffusionModelUNetMaisi
    spacing: Tensor
    scales_whole_scans = True
    takes_residuals = True
    takes_planes = True

    def __init__(
        self, manifest: BackboneManifest, autoencoder: AutoencoderKlMaisi, denoiser: DiffusionModelUNetMaisi
    ) -> None:
        super().__init__()
        channels, i, j, k = manifest.latent.shape
        self.grid, self.latent_shape, self.process = manifest.grid, (channels, i, j, k), _process(manifest)
        self.attributes, self.scale_factor = manifest.attributes, manifest.latent.scale_factor
        self.autoencoder, self.denoiser = autoencoder, denoiser
        self._columns = {spec.name: column for column, spec in enumerate(self.attributes)}
        self._seen: tuple[Tensor, bool] | None = None
        self.register_buffer("spacing", torch.tensor(self.grid.spacing) * UNIT, persistent=False)

    @classmethod
    def load(cls, pack: Pack) -> Maisi:
        """The model of a pack, in fp32 on the CPU."""
        manifest = pack.backbone
        autoencoder = load(pack, "autoencoder", lambda: build_autoencoder(manifest.networks["autoencoder"]))
        denoiser = load(pack, "denoiser", lambda: build_denoiser(manifest.networks["denoiser"]))
        _check(manifest)
        return cls(manifest, autoencoder, denoiser).eval()

    @classmethod
    def outline(cls, manifest: BackboneManifest) -> Maisi:
        """The same networks with arbitrary weights."""
        networks = manifest.networks
        return cls(manifest, build_autoencoder(networks["autoencoder"]), build_denoiser(networks["denoiser"]))

    @classmethod
    def published(
        cls, autoencoder: Checkpoint, denoiser: Checkpoint, config: Mapping[str, Any], source: str
    ) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
        """A manifest's entries and the weights of each role, from NVIDIA's files."""
        from vcm.models.backbones.maisi.published import read_published

        return read_published(autoencoder, denoiser, config, source)

    def encode(self, image: Tensor) -> Tensor:
        """The latent of images `[B, 1, i, j, k]`: the posterior's mean, scaled."""
        return self.posterior(image)[0]

    def posterior(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents that images may stand for, both scaled."""
        with _consistent(self.autoencoder):
            mean, spread = self.autoencoder.encode(image.to(dtype_of(self.autoencoder)))
        return mean.float() * self.scale_factor, spread.float() * self.scale_factor

    def decode(self, latent: Tensor, scale_factor: float | None = None) -> Tensor:
        """The images `[B, 1, i, j, k]` of latents, as decoded."""
        z = (latent.float() / (scale_factor or self.scale_factor)).to(dtype_of(self.autoencoder))
        if self.slab_bytes:
            return decode_in_slabs(self.autoencoder, z, self.slab_bytes, kinds=BLOCKS).float()
        with _consistent(self.autoencoder):
            return torch.as_tensor(self.autoencoder.decode(z)).float()

    @classmethod
    def sites(cls, manifest: BackboneManifest) -> Sites:
        """At the skips and in the middle of the U-Net."""
        config = manifest.networks["denoiser"]
        return unet_sites({**config, "channels": config["num_channels"]}, manifest.latent.shape[1:])

    @classmethod
    def network_options(cls, manifest: BackboneManifest, *, attend: bool = True) -> dict[str, Any]:
        """Those of MONAI's U-Net, which has no context to attend to."""
        return dict(manifest.networks["denoiser"])

    @classmethod
    def copy_of_encoder(cls, options: Mapping[str, Any]) -> MaisiEncoder:
        """The downward half of the U-Net."""
        return MaisiEncoder(options)

    @classmethod
    def copy_of_denoiser(cls, options: Mapping[str, Any]) -> DiffusionModelUNetMaisi:
        """The U-Net."""
        return build_denoiser(options)

    def shown(self, latent: Tensor, inputs: Tensor) -> Shown:
        """The latent, and as context a row `[B, n]` of all else: class, spacing, regions."""
        return Shown(latent, self._row(inputs))

    def predict(self, latent: Tensor, t: Tensor, inputs: Tensor, residuals: Residuals | None = None) -> Tensor:
        """The velocity n − x, or ε where the process says so, of latents at times `t` `[B]`, with raw inputs.

        What a control adds within the network is added with the class and without it.
        """
        added = residual_arguments(residuals, dtype_of(self.denoiser))
        return self._run(self.denoiser, latent, t, inputs, added)

    def predict_with(self, network: nn.Module, planes: Tensor, latent: Tensor, t: Tensor, inputs: Tensor) -> Tensor:
        """The prediction of a `copy_of_denoiser`."""
        shown = torch.cat([latent, planes.to(latent).expand(len(latent), -1, -1, -1, -1)], dim=1)
        return self._run(network, shown, t, inputs, {})

    def _run(self, network: nn.Module, x: Tensor, t: Tensor, inputs: Tensor, added: Mapping[str, Any]) -> Tensor:
        dtype = dtype_of(network)
        guided, given = self._is_guided(inputs), conditioning(network, self._row(inputs), dtype)
        predicted: Tensor = network(x.to(dtype), timesteps=t, **given, **added).float()
        if guided:
            given["class_labels"] = torch.full_like(given["class_labels"], UNCONDITIONAL)
            free: Tensor = network(x.to(dtype), timesteps=t, **given, **added).float()
            predicted = torch.lerp(free, predicted, self._guidance(inputs))
        return -predicted if self.process.prediction == "velocity" else predicted

    def labels(self, inputs: Tensor) -> Tensor:
        """The classes `[B]` that raw inputs `[B, n]` name."""
        column = self._columns.get(CONTRAST)
        if column is None:
            return torch.full((len(inputs),), UNCONDITIONAL, device=inputs.device)
        return inputs[:, column].round().long()

    def step_elements(self) -> int:
        """Elements of the largest tensor of one prediction: at each level, the input of its widest convolution."""
        voxels = math.prod(self.latent_shape[1:])
        levels = list(self.denoiser.up_blocks)[::-1]
        return max(voxels // 8**level * widest((block,)) for level, block in enumerate(levels))

    def decoding_bytes(self, size: int, slab_bytes: int | None) -> float:
        """The peak of decoding one image, without weights; MONAI's norms work in fp32 whatever the weights are."""
        space = self.latent_shape[1:]
        if slab_bytes is None:
            return DECODE_FACTOR * largest_decoder_activation(self.autoencoder, space) * 4
        return slab_decoding_bytes(self.autoencoder, space, size, slab_bytes, kinds=BLOCKS)

    def _row(self, inputs: Tensor) -> Tensor:
        """All that the network takes beside latent and time."""
        parts = [self.labels(inputs)[:, None].float(), self.spacing.expand(len(inputs), -1)]
        for name in REGIONS:
            if getattr(self.denoiser, f"include_{name}_index_input"):
                places = inputs[:, self._columns[name]].round().long()
                parts.append(functional.one_hot(places, REGION_COUNT).float() * UNIT)
        return torch.cat(parts, dim=1)

    def _guidance(self, inputs: Tensor) -> Tensor:
        """The scale of guidance, `[B, 1, 1, 1, 1]`."""
        column = self._columns[GUIDANCE]
        spec = self.attributes[column]
        low, high = _range_of(spec)
        return (low + inputs[:, column].float() * (high - low))[:, None, None, None, None]

    def _is_guided(self, inputs: Tensor) -> bool:
        """Whether any scale is not 1. The numbers are looked at once: a step that is captured cannot wait for them."""
        classes = self.denoiser.num_class_embeds
        if classes is None or inputs.is_meta:
            return False
        whole = inputs if inputs._base is None else inputs._base
        if self._seen is None or self._seen[0] is not whole:
            labels = self.labels(inputs)
            if not bool(((labels >= 0) & (labels < classes)).all()):
                raise VcmError(
                    Code.ATTRIBUTE,
                    f"The contrast's raw number must lie between 0 and {classes - 1}, the classes there are.",
                )
            self._seen = whole, GUIDANCE in self._columns and bool((self._guidance(inputs) != 1).any())
        return self._seen[1]


def _range_of(spec: AttributeSpec) -> tuple[float, float]:
    return (0.0, 1.0) if spec.low is None or spec.high is None else (spec.low, spec.high)


def _process(manifest: BackboneManifest) -> Process:
    """The manifest's, but a flow's times are shifted as the latent that is made needs it."""
    process = manifest.process
    if isinstance(process, RectifiedFlow):
        return replace(process, shift=shift_of(manifest.latent.shape[1:]))
    return process


def _consistent(network: nn.Module) -> AbstractContextManager[object]:
    """These norms answer in fp32, which convolutions in another format take only when it is cast."""
    dtype, device = dtype_of(network), next(network.parameters()).device
    return nullcontext() if dtype is torch.float32 else torch.autocast(device.type, dtype)


def _check(manifest: BackboneManifest) -> None:
    """Raise where sizes, axes or attributes do not suit the networks."""
    networks, grid = manifest.networks, manifest.grid
    step = smallest_step(networks)
    if any(size % step for size in grid.shape):
        _refuse(manifest, f"its grid {grid.shape} has sizes that are no multiples of {step}")
    factor = 2 ** (len(networks["autoencoder"]["num_channels"]) - 1)
    made = (networks["autoencoder"]["latent_channels"], *(size // factor for size in grid.shape))
    if tuple(manifest.latent.shape) != made:
        _refuse(manifest, f"its latent has the shape {manifest.latent.shape}, but the autoencoder makes {made}")
    if grid.orientation != "RAS":
        _refuse(manifest, f"its grid runs {grid.orientation}, but these networks learned images that run RAS")
    names = {spec.name for spec in manifest.attributes}
    asked = [name for name in REGIONS if networks["denoiser"].get(f"include_{name}_index_input")]
    if missing := [name for name in asked if name not in names]:
        _refuse(manifest, f"its denoiser takes {' and '.join(missing)}, which are no attributes of it")


def _refuse(manifest: BackboneManifest, reason: str) -> None:
    raise VcmError(
        Code.PACK_INVALID,
        f"The manifest of the pack {manifest.name} does not fit together: {reason}.",
        "Import the pack again.",
    )
