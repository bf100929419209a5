"""The family on MONAI's own networks: a latent flow that is told the spacing of its voxels and a class."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from monai.apps.generation.maisi.networks.autoencoderkl_maisi import AutoencoderKlMaisi
from monai.apps.generation.maisi.networks.diffusion_model_unet_maisi import DiffusionModelUNetMaisi
from monai.networks.blocks import SABlock
from torch import Tensor, nn
from torch.nn import functional

from vcm.conditions.attributes import AttributeSpec
from vcm.core.errors import Code, VcmError
from vcm.models.backbones.backbone import Backbone, Residuals, dtype_of, widest
from vcm.models.weights import load
from vcm.packs.manifest import BackboneManifest
from vcm.packs.store import Pack

if TYPE_CHECKING:
    from vcm.packs.checkpoints import Checkpoint

CONTRAST, GUIDANCE, REGIONS = "contrast", "guidance", ("top_region", "bottom_region")
"""The attributes that this family knows: a class of the network, the scale of its guidance, parts of the body."""

UNCONDITIONAL = 0
"""The class of the network that stands for any image: guidance leads away from it."""

REGION_COUNT = 4
UNIT = 100.0
"""The network reads spacings in hundredths of a millimetre, and a region as 100 in its place."""


def build_autoencoder(config: Mapping[str, Any]) -> AutoencoderKlMaisi:
    """MONAI's autoencoder from a manifest's `networks.autoencoder`, with fresh weights.

    It neither splits its tensors nor halves the precision of its norms: to save memory is a matter of each run.
    """
    chosen = {"num_splits": 1, "norm_float16": False, "save_mem": False, "use_checkpointing": False}
    return AutoencoderKlMaisi(**{**config, **chosen})


def build_denoiser(config: Mapping[str, Any]) -> DiffusionModelUNetMaisi:
    """MONAI's diffusion U-Net from a manifest's `networks.denoiser`, with fresh weights."""
    return with_fused_attention(DiffusionModelUNetMaisi(**{**config, "use_flash_attention": False}))


def with_fused_attention(network: nn.Module) -> Any:
    """The network with PyTorch's fused attention, which these classes allow on graphics cards alone."""
    for module in network.modules():
        if isinstance(module, SABlock):
            module.use_flash_attention = True
    return network


def smallest_step(networks: Mapping[str, Any]) -> int:
    """Of how many voxels the sides of an image must be multiples: both networks halve them level by level."""
    halvings = sum(len(networks[role]["num_channels"]) - 1 for role in ("autoencoder", "denoiser"))
    return int(2**halvings)


class Maisi(Backbone):
    """A latent rectified flow (or diffusion) model that is told the voxels' spacing and a class such as the contrast.

    The spacing is the grid's own. Which other inputs there are is a matter of the manifest's attributes: `contrast`
    names the class, `guidance` is the scale of classifier-free guidance (1 is none, and costs nothing), `top_region`
    and `bottom_region` say from where to where a body reaches. The published networks predict x − n; here they answer
    as the process says, n − x.
    """

    autoencoder: AutoencoderKlMaisi
    denoiser: DiffusionModelUNetMaisi
    spacing: Tensor
    takes_residuals = True

    def __init__(
        self, manifest: BackboneManifest, autoencoder: AutoencoderKlMaisi, denoiser: DiffusionModelUNetMaisi
    ) -> None:
        super().__init__()
        channels, i, j, k = manifest.latent.shape
        self.grid, self.latent_shape, self.process = manifest.grid, (channels, i, j, k), manifest.process
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
        with _consistent(self.autoencoder):
            return torch.as_tensor(self.autoencoder.decode(z)).float()

    def predict(self, latent: Tensor, t: Tensor, inputs: Tensor, residuals: Residuals | None = None) -> Tensor:
        """The velocity n − x, or ε where the process says so, of latents at times `t` `[B]`, with raw inputs."""
        dtype = dtype_of(self.denoiser)
        given: dict[str, Any] = {"timesteps": t, **self._told(inputs, dtype)}
        if residuals is not None:
            given["down_block_additional_residuals"] = tuple(part.to(dtype) for part in residuals.down) or None
            given["mid_block_additional_residual"] = None if residuals.middle is None else residuals.middle.to(dtype)
        x, guided = latent.to(dtype), self._is_guided(inputs)
        predicted = torch.as_tensor(self.denoiser(x, **given)).float()
        if guided:
            free = self.denoiser(x, **{**given, "class_labels": torch.full_like(given["class_labels"], UNCONDITIONAL)})
            predicted = torch.lerp(torch.as_tensor(free).float(), predicted, self._guidance(inputs))
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

    def _told(self, inputs: Tensor, dtype: torch.dtype) -> dict[str, Any]:
        """What the network is given beside latent and time."""
        told: dict[str, Any] = {}
        if self.denoiser.num_class_embeds is not None:
            told["class_labels"] = self.labels(inputs)
        if self.denoiser.include_spacing_input:
            told["spacing_tensor"] = self.spacing.to(dtype).expand(len(inputs), -1)
        for name in REGIONS:
            if getattr(self.denoiser, f"include_{name}_index_input"):
                places = inputs[:, self._columns[name]].round().long()
                told[f"{name}_index_tensor"] = functional.one_hot(places, REGION_COUNT).to(dtype) * UNIT
        return told

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
