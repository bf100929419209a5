"""3D MedDiffusion as a family of backbones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn

from vcm.conditions.attributes import CONTRAST
from vcm.core.errors import Code, VcmError
from vcm.models.backbones.autoencoders import LOCAL
from vcm.models.backbones.backbone import DECODE_FACTOR, Backbone, Calibration, Residuals, Shown, Sites, dtype_of
from vcm.models.backbones.meddiffusion.autoencoder import PatchVolumeAutoencoder
from vcm.models.backbones.meddiffusion.bi_flow_net import BiFlowNet
from vcm.models.backbones.meddiffusion.decoding import Codec, decode_tiled, largest_tile
from vcm.models.backbones.meddiffusion.encoder import FlowEncoder, flow_sites
from vcm.models.backbones.meddiffusion.local_codes import LocalCodes
from vcm.models.process import PARAMETERISATIONS, process_from
from vcm.models.weights import load, read_whitening
from vcm.packs.manifest import BackboneManifest
from vcm.packs.store import Pack

if TYPE_CHECKING:
    from vcm.core.grid import Grid
    from vcm.packs.tensors.checkpoints import Checkpoint

SCHEDULE = {"kind": "cosine", "timesteps": 1000, "prediction": "epsilon", "bound": 1.0}
CLASS = "class"
"""The attribute that says what is shown, or the one that names the contrast; raw, it is the network's class."""

MOST_EDGE, SPACINGS = 512, (0.5, 5.0)
"""The longest side that can be made. The size of voxels is not bounded by the networks, which do not take it."""

INTENSITY_SCALE = "intensity_scale"
"""In `networks.autoencoder`: what the networks take for 1, where an image of 0–1 has 1. Calibrated, not published."""


Whitening: TypeAlias = "Mapping[str, Tensor] | None"

SCALES, TISSUE = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0), 0.05
"""The scales that a calibration tries, and from which intensity on voxels count."""


def build_autoencoder(config: Mapping[str, Any]) -> Codec:
    """The autoencoder of a manifest's `networks.autoencoder`, with fresh weights."""
    options = {name: value for name, value in config.items() if name not in (INTENSITY_SCALE, "kind")}
    return LocalCodes(**options) if config.get("kind") == LOCAL else PatchVolumeAutoencoder(**options)


def build_denoiser(config: Mapping[str, Any]) -> BiFlowNet:
    """The denoiser of a manifest's `networks.denoiser`, with fresh weights."""
    return BiFlowNet(**config)


class MedDiffusion(Backbone):
    """A latent diffusion model over codes, in order of the networks' own axes, which the grid places in the world.

    Latents are what the encoder makes, brought to −1…1 by the smallest and the largest number of the codebook; they are
    quantised when they are decoded. With `whitening`, which the published models do not have, their mean and spread at
    each place are taken out, and the network that predicts is shown them without the mean of their class, too.
    The attribute `class`, or the one that names the contrast, says what is shown; the resolution that the network is
    told follows from the latent's sizes.
    """

    autoencoder: Codec
    denoiser: BiFlowNet
    latent_mean: Tensor
    latent_std: Tensor
    class_means: Tensor
    takes_residuals = True
    rescales = False

    def __init__(
        self, manifest: BackboneManifest, autoencoder: Codec, denoiser: BiFlowNet, whitening: Whitening = None
    ) -> None:
        super().__init__()
        channels, i, j, k = manifest.latent.shape
        self.grid, self.latent_shape, self.process = manifest.grid, (channels, i, j, k), manifest.process
        self.attributes, self.autoencoder, self.denoiser = manifest.attributes, autoencoder, denoiser
        self.intensity_scale = float(manifest.networks["autoencoder"].get(INTENSITY_SCALE, 1.0))
        named = [n for n, spec in enumerate(self.attributes) if spec.name == CLASS or spec.role == CONTRAST]
        self._class = named[0] if named else None
        mean, std = (torch.zeros(()), torch.ones(())) if whitening is None else (whitening["mean"], whitening["std"])
        self.register_buffer("latent_mean", mean.float(), persistent=False)
        self.register_buffer("latent_std", std.float(), persistent=False)
        means = torch.zeros(0) if whitening is None else whitening.get("means", torch.zeros(0)).float()
        if len(means):  # a class that no training has seen lies at the mean of all
            missing = denoiser.cond_emb.num_embeddings - len(means)
            means = torch.cat([means, means.new_zeros(missing, *means.shape[1:])])
        self.register_buffer("class_means", means, persistent=False)

    @classmethod
    def load(cls, pack: Pack) -> MedDiffusion:
        """The model of a pack, in fp32 on the CPU."""
        manifest = pack.backbone
        networks = manifest.networks
        autoencoder = load(pack, "autoencoder", lambda: build_autoencoder(networks["autoencoder"]))
        denoiser = load(pack, "denoiser", lambda: build_denoiser(networks["denoiser"]))
        _check(manifest, autoencoder, denoiser)
        whitening = read_whitening(pack, denoiser.cond_emb.num_embeddings) if manifest.latent.whitened else None
        return cls(manifest, autoencoder, denoiser, whitening).eval()

    @classmethod
    def outline(cls, manifest: BackboneManifest) -> MedDiffusion:
        """The same networks with arbitrary weights."""
        networks, shape = manifest.networks, manifest.latent.shape
        flat = {"mean": torch.zeros(shape), "std": torch.ones(shape)} if manifest.latent.whitened else None
        return cls(manifest, build_autoencoder(networks["autoencoder"]), build_denoiser(networks["denoiser"]), flat)

    @classmethod
    def published(
        cls, autoencoder: Checkpoint, denoiser: Checkpoint, config: Mapping[str, Any], source: str
    ) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
        """A manifest's entries and the weights of each role, from the authors' files."""
        from vcm.models.backbones.meddiffusion.published import read_published

        return read_published(autoencoder, denoiser, config, source)

    @classmethod
    def initialise(cls, config: Mapping[str, Any], source: str) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
        """A manifest's entries and random weights, of networks that the configuration describes."""
        from vcm.models.backbones.meddiffusion.published import initialise

        return initialise(config, source)

    def given_back(self, image: Tensor) -> Tensor:
        """What the autoencoder makes of images or crops, from their codes."""
        shown = image * (2 * self.intensity_scale) - 1
        latent = self.autoencoder.encode(shown.to(dtype_of(self.autoencoder.encoder))).float()
        codes = self.autoencoder.codebook.quantise(latent)
        made = self.autoencoder.decode(codes.to(dtype_of(self.autoencoder.encoder)))
        return (made.float() + 1) / (2 * self.intensity_scale)

    def own_whitening(self) -> tuple[Tensor, Tensor]:
        """Mean and spread at each place."""
        return self.latent_mean.cpu(), self.latent_std.cpu()

    @classmethod
    def retrain(
        cls, source: Backbone, manifest: BackboneManifest, changes: Mapping[str, Any], whitening: Any
    ) -> tuple[MedDiffusion, dict[str, Any]]:
        """A model around the autoencoder of `source` with a new denoiser (`scratch`), or with the one it has.

        `changes` may hold `network` (options of the denoiser) and `prediction`; packing and another end are none of
        this family's.
        """
        assert isinstance(source, MedDiffusion)
        for name in ("packing", "last"):
            if changes.get(name) is not None:
                sentence = f"Models of the family {manifest.family} have no {name} to choose."
                raise VcmError(Code.BAD_REQUEST, sentence, "Leave it out.")
        config = {**manifest.networks["denoiser"], **changes.get("network", {})}
        denoiser = build_denoiser(config)
        schedule = manifest.process.as_dict()
        if changes.get("prediction") is not None:
            schedule["prediction"] = changes["prediction"]
        changed: dict[str, Any] = {"networks": {"denoiser": config}, "schedule": schedule}
        if not changes.get("scratch"):
            denoiser.load_state_dict(source.denoiser.state_dict())
        if whitening is not None:  # whitened latents are not held between −1 and 1
            schedule.pop("bound", None)
            changed["latent"] = {"shape": list(manifest.latent.shape), "scale_factor": 1.0, "whitened": True}
        model = cls(manifest, source.autoencoder, denoiser, whitening or source._kept_whitening()).eval()
        model.process = process_from(schedule)
        return model, changed

    @classmethod
    def new_autoencoder(cls, manifest: BackboneManifest, changes: Mapping[str, Any]) -> tuple[Codec, dict[str, Any]]:
        """An autoencoder with random weights, and its options."""
        config = dict(changes) if "kind" in changes else {**manifest.networks["autoencoder"], **changes}
        return build_autoencoder(config), config

    @classmethod
    def around(cls, manifest: BackboneManifest, config: Mapping[str, Any], grid: Grid) -> dict[str, Any]:
        """What changes in a manifest with a new autoencoder: grid, latent, and a denoiser still to be trained."""
        denoiser = {**manifest.networks["denoiser"], "channels": config["embedding_dim"]}
        with torch.device("meta"):
            step = config["downsample"] * build_denoiser(denoiser).multiple
        if any(size % step for size in grid.shape):
            raise VcmError(
                Code.BAD_REQUEST,
                f"These networks take images whose sizes are multiples of {step}, not {grid.shape}.",
                "Make the cohort on another grid (--grid).",
            )
        return {
            "grid": grid.as_dict(),
            "sizes": {"multiple": step, "most": MOST_EDGE, "spacing": list(SPACINGS)},
            "latent": {
                "shape": [config["embedding_dim"], *(size // config["downsample"] for size in grid.shape)],
                "scale_factor": 1.0,
                "whitened": False,
            },
            "schedule": SCHEDULE,
            "networks": {"autoencoder": {**config, INTENSITY_SCALE: 1.0}, "denoiser": denoiser},
        }

    @classmethod
    def new_denoiser(cls, config: Mapping[str, Any]) -> BiFlowNet:
        """A denoiser with random weights."""
        return build_denoiser(config)

    def encode(self, image: Tensor) -> Tensor:
        """The latents of images `[B, 1, i, j, k]` in 0–1, encoded patch by patch and not quantised."""
        low, high = self._span()
        shown = image * (2 * self.intensity_scale) - 1
        latent = self.autoencoder.encode(shown.to(dtype_of(self.autoencoder.encoder))).float()
        return ((latent - low) / (high - low) * 2 - 1 - self.latent_mean) / self.latent_std

    def decode(self, latent: Tensor, scale_factor: float | None = None) -> Tensor:
        """The images `[B, 1, i, j, k]` of latents, as decoded: in tiles that are blended where the whole is too large.

        `scale_factor` says nothing here: latents have no other scale than that of the codes.
        """
        low, high = self._span()
        plain = latent.float() * self.latent_std + self.latent_mean
        codes = self.autoencoder.codebook.quantise((plain + 1) / 2 * (high - low) + low)
        image = decode_tiled(self.autoencoder, codes.to(dtype_of(self.autoencoder.encoder)), self.slab_bytes)
        return (image.float() + 1) / (2 * self.intensity_scale)

    @torch.no_grad()
    def calibrate(self, images: Sequence[Tensor], on_step: Callable[[str], None] = lambda step: None) -> Calibration:
        """The scale of intensities at which images come back best through the codes: the mean over them of the root
        mean square of the difference where there is tissue, in the image's own unit."""
        errors, own = {}, self.intensity_scale
        try:
            for scale in SCALES:
                on_step(f"trying the scale {scale:g}")
                self.intensity_scale = scale
                found = []
                for image in images:
                    difference = (self.decode(self.encode(image)) - image)[image > TISSUE]
                    found.append(float(difference.square().mean().sqrt()))
                errors[scale] = sum(found) / len(found)
        finally:
            self.intensity_scale = own
        return Calibration("autoencoder", INTENSITY_SCALE, errors)

    def predict(self, latent: Tensor, t: Tensor, inputs: Tensor, residuals: Residuals | None = None) -> Tensor:
        """What the process predicts of latents at timesteps `t` `[B]`, with raw inputs `[B, n]`."""
        classes = self.classes(inputs)
        shown = self._shown(latent, t, classes)
        value = torch.as_tensor(self.denoiser(shown, t, classes, residuals=residuals)).float()
        if not self.class_means.numel():
            return value
        mean = self.class_means[classes]  # taken out of what was shown, and a part of what is predicted
        levels = self.process.levels(t)
        return value + PARAMETERISATIONS[self.process.prediction].of(mean, torch.zeros_like(mean), *levels)

    def kinds(self, inputs: Tensor) -> Tensor | None:
        """The classes."""
        return None if self._class is None else self.classes(inputs)

    @torch.no_grad()
    def typical_image(self) -> Tensor | None:
        """The image of the mean latent of the class that is usual, on the CPU; None where no mean was taken out."""
        if not self.latent_mean.ndim:
            return None
        usual = torch.tensor([[spec.default for spec in self.attributes]], device=self.device)
        mean = (
            self.class_means[self.classes(usual)]
            if self.class_means.numel()
            else torch.zeros_like(self.latent_mean)[None]
        )
        return self.decode(mean).cpu()

    @classmethod
    def sites(cls, manifest: BackboneManifest) -> Sites:
        """The skips of the U-Net between patches, and its middle."""
        return flow_sites(manifest.networks["denoiser"], manifest.latent.shape[1:])

    @classmethod
    def network_options(cls, manifest: BackboneManifest, *, attend: bool = True) -> dict[str, Any]:
        """Those of the manifest, since this network attends to no context; in a control's manifest `channels` are the
        widths of levels, so that here they are the latent's."""
        options = dict(manifest.networks["denoiser"])
        return {"latent_channels": options.pop("channels"), **options}

    @classmethod
    def copy_of_encoder(cls, options: Mapping[str, Any]) -> nn.Module:
        """The half that leads to the middle."""
        own = dict(options)
        return FlowEncoder({"channels": own.pop("latent_channels"), **own})

    def shown(self, latent: Tensor, inputs: Tensor) -> Shown:
        """The latent, and the numbers of the classes in place of a context."""
        return Shown(latent, self.classes(inputs.expand(len(latent), -1)))

    def classes(self, inputs: Tensor) -> Tensor:
        """The classes `[B]` that raw inputs `[B, n]` name; the first one where the pack has no such attribute."""
        if self._class is None:
            return torch.zeros(len(inputs), dtype=torch.long, device=inputs.device)
        numbers = inputs[:, self._class].round().long()
        count = self.denoiser.cond_emb.num_embeddings
        captured = numbers.is_cuda and torch.cuda.is_current_stream_capturing()
        if not captured and not numbers.is_meta and bool(((numbers < 0) | (numbers >= count)).any()):
            raise VcmError(Code.ATTRIBUTE, f"The class' raw number must lie between 0 and {count - 1}.")
        return numbers

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move to a device; the codebook stays in fp32."""
        self.to(device)
        self.denoiser.to(dtype)
        for name, network in self.autoencoder.named_children():
            if name != "codebook":
                network.to(dtype)

    @property
    def sampling_networks(self) -> tuple[nn.Module, ...]:
        """The network that predicts."""
        return (self.denoiser,)

    def step_elements(self) -> int:
        """Elements of the largest tensor of one prediction: the transformer's tokens, four times as wide."""
        return math.prod(self.latent_shape[1:]) * 4 * self.denoiser.init_conv.out_channels

    def decoding_bytes(self, size: int, slab_bytes: int | None) -> float:
        """The peak of decoding one image or its largest tile, without weights, beside the finished image."""
        tile = math.prod(largest_tile(self.autoencoder, self.latent_shape[1:])) * self.autoencoder.downsample**3
        return (DECODE_FACTOR * tile * self.autoencoder.fine_width + 3 * math.prod(self.grid.shape)) * size

    def _shown(self, latent: Tensor, t: Tensor, classes: Tensor) -> Tensor:
        """The latent less as much of its class' mean as it holds at these times: the noise in it stays the same."""
        if self.class_means.numel():
            latent = latent.float() - self.process.levels(t)[0] * self.class_means[classes]
        return latent.to(dtype_of(self.denoiser))

    def _kept_whitening(self) -> Whitening:
        if not self.latent_mean.ndim:
            return None
        means = {"means": self.class_means} if self.class_means.numel() else {}
        return {"mean": self.latent_mean, "std": self.latent_std, **means}

    def _span(self) -> tuple[Tensor, Tensor]:
        return self.autoencoder.codebook.span()


def _check(manifest: BackboneManifest, autoencoder: Codec, denoiser: BiFlowNet) -> None:
    """Raise where sizes do not suit the networks."""
    shape, latent = manifest.grid.shape, manifest.latent.shape
    step = autoencoder.downsample * denoiser.multiple
    made = (autoencoder.channels, *(size // autoencoder.downsample for size in shape))
    reasons = []
    if any(size % step for size in shape):
        reasons.append(f"its grid {shape} has sizes that are no multiples of {step}")
    if tuple(latent) != made:
        reasons.append(f"its latent has the shape {latent}, but the autoencoder makes {made}")
    if denoiser.channels != autoencoder.channels:
        reasons.append(
            f"its denoiser takes {denoiser.channels} channels, but the autoencoder makes {autoencoder.channels}"
        )
    if reasons:
        raise VcmError(
            Code.PACK_INVALID,
            f"The manifest of the pack {manifest.name} does not fit together: {reasons[0]}.",
            "Import the pack again.",
        )
