"""What a backbone offers. Nothing outside this package knows what is inside of one."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vcm.conditions.attributes import AttributeSpec
from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.models.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vcm.packs.manifest import BackboneManifest
    from vcm.packs.store import Pack
    from vcm.packs.tensors.checkpoints import Checkpoint

DECODE_FACTOR = 6.0
"""Peak of a plain decoder in units of its largest activation: half are tensors, half workspace."""


@dataclass(frozen=True, eq=False)
class Residuals:
    """What a control adds to a denoising U-Net's skip connections, from the first to the last, and to its middle."""

    down: tuple[Tensor, ...] = ()
    middle: Tensor | None = None


@dataclass(frozen=True)
class Site:
    """A place in a denoising network that takes a residual: its channels, and its grid for one latent."""

    channels: int
    grid: tuple[int, int, int]


@dataclass(frozen=True)
class Sites:
    """All of them, as `Residuals` lists them."""

    down: tuple[Site, ...]
    middle: Site

    @property
    def every(self) -> tuple[Site, ...]:
        """From the first to the middle."""
        return *self.down, self.middle


@dataclass(frozen=True, eq=False)
class Shown:
    """What a backbone's own network is given of a step: latent and inputs as one tensor `[B, C, *grid]`, on the grid
    of its first site, and what it attends to."""

    tensor: Tensor
    context: Tensor | None = None


@dataclass(frozen=True)
class Calibration:
    """A setting of a network that was tried at several values: the error at each, and the best."""

    network: str
    setting: str
    errors: Mapping[float, float]

    @property
    def best(self) -> float:
        """The value with the smallest error."""
        return min(self.errors, key=lambda value: self.errors[value])

    @property
    def words(self) -> str:
        """What came of it, for people."""
        return f"{self.setting.replace('_', ' ')} {self.best:g}, error {self.errors[self.best]:.4f}"


class Backbone(nn.Module, ABC):
    """A pretrained generative model over latents, whatever is inside.

    Images are `[B, 1, i, j, k]` in 0–1 on `grid`; latents `[B, *latent_shape]` with about unit variance. With
    `slab_bytes` set, `decode` works in slabs where it can: the same image to rounding, in less memory.
    """

    autoencoder: nn.Module
    denoiser: nn.Module
    grid: Grid
    latent_shape: tuple[int, int, int, int]
    process: Process
    attributes: tuple[AttributeSpec, ...]
    scale_factor: float = 1.0
    slab_bytes: int | None = None
    spread: Tensor | None = None
    """By what factor finished samples fall short of the spread of real latents, at each place `[i, j, k]`."""
    whitens = False
    """Whether a denoiser that begins anew always learns latents with mean and spread of its training's taken out."""
    rescales = True
    """Whether a control may have latents of another scale than the backbone's."""
    takes_residuals = False
    """Whether `predict` takes the residuals of a control such as ControlNet."""
    scales_whole_scans = False
    """Whether it learned from scans whose smallest intensity became 0 and whose 99.5th percentile 1, both of the whole
    scan, and what is brighter stayed. Otherwise 0 stays 0, and 1 is the percentile of the field of view and the end."""
    takes_planes = False
    """Whether a `copy_of_denoiser` may have further input channels: its options name their number `in_channels`."""

    @classmethod
    @abstractmethod
    def load(cls, pack: Pack) -> Backbone:
        """The backbone of a pack, in fp32 on the CPU; a VcmError where its files or manifest do not fit."""

    @classmethod
    @abstractmethod
    def outline(cls, manifest: BackboneManifest) -> Backbone:
        """The same networks with arbitrary weights, for a memory plan; made on PyTorch's current default device."""

    @classmethod
    def published(
        cls, autoencoder: Checkpoint, denoiser: Checkpoint, config: Mapping[str, Any], source: str
    ) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
        """Of checkpoints as the family's authors publish them: entries of a pack's manifest, and weights by role.

        `config` is the user's, empty where none was given; complaints call it `source`. Tensors that are missing,
        foreign or of another shape are refused.
        """
        raise VcmError(Code.BAD_REQUEST, "Models of this family cannot be imported from checkpoints.")

    @classmethod
    def initialise(cls, config: Mapping[str, Any], source: str) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
        """As `published`, with random weights in place of checkpoints: a training from nothing begins with them."""
        raise VcmError(
            Code.BAD_REQUEST,
            "Models of this family are not begun from nothing.",
            "Begin with an installed pack: vcm packs list.",
        )

    def given_back(self, image: Tensor) -> Tensor:
        """What the autoencoder makes of images, or crops of them, `[B, 1, i, j, k]` in 0–1; as small as a crop is."""
        return self.decode(self.encode(image))

    def own_whitening(self) -> tuple[Tensor, Tensor]:
        """Mean and spread at each place that are taken out of latents, on the CPU: 0 and 1 where none are."""
        return torch.zeros(()), torch.ones(())

    @classmethod
    def retrain(
        cls, source: Backbone, manifest: BackboneManifest, changes: Mapping[str, Any], whitening: Any
    ) -> tuple[Backbone, dict[str, Any]]:
        """A backbone whose denoiser is to be trained, and what changes in its manifest.

        `whitening` holds the `mean` and the spread `std` `[*latent_shape]` that are to be taken out of what the
        autoencoder makes, and, where the source makes several `kinds` of image, how far the mean of each lies from it
        in units of the spread (`means`, `[K, *latent_shape]`).
        """
        raise _not_trained("Denoisers", manifest)

    @classmethod
    def new_autoencoder(
        cls, manifest: BackboneManifest, changes: Mapping[str, Any]
    ) -> tuple[nn.Module, dict[str, Any]]:
        """An autoencoder with random weights that is to be trained, and its options."""
        raise _not_trained("Autoencoders", manifest)

    @classmethod
    def around(cls, manifest: BackboneManifest, config: Mapping[str, Any], grid: Grid) -> dict[str, Any]:
        """What changes in the manifest with a new autoencoder of these options for images on `grid`: the latent, and
        the options of the denoiser it waits for, which `new_denoiser` makes."""
        raise _not_trained("Autoencoders", manifest)

    @classmethod
    def new_denoiser(cls, config: Mapping[str, Any]) -> nn.Module:
        """A denoiser with random weights."""
        raise NotImplementedError

    @abstractmethod
    def encode(self, image: Tensor) -> Tensor:
        """The latents of images: the mean of their posterior, scaled."""

    def posterior(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents that images may stand for."""
        mean = self.encode(image)
        return mean, torch.zeros_like(mean)

    @abstractmethod
    def decode(self, latent: Tensor, scale_factor: float | None = None) -> Tensor:
        """The images of latents; `scale_factor` overrides the backbone's own, for controls trained with another."""

    def decoder_input(self, latent: Tensor, scale_factor: float | None = None) -> Tensor:
        """What the decoder's network is given for latents, in fp32; previews are made of it."""
        return latent.float()

    @abstractmethod
    def predict(self, latent: Tensor, t: Tensor, inputs: Tensor, residuals: Residuals | None = None) -> Tensor:
        """What the process says is predicted, at times `t` `[B]`, with raw inputs `[B, n]`."""

    def calibrate(self, images: Sequence[Tensor], on_step: Callable[[str], None] = lambda step: None) -> Calibration:
        """What is best for a setting that its authors have not published, from images `[1, 1, i, j, k]` in 0–1."""
        raise VcmError(Code.BAD_REQUEST, "Models of this family have nothing to calibrate.")

    def kinds(self, inputs: Tensor) -> Tensor | None:
        """Which kind of image `[B]`, such as a contrast, raw inputs `[B, n]` ask for; None where there is only one."""
        return None

    def typical_image(self) -> Tensor | None:
        """An image `[1, 1, i, j, k]` of an average head, on the CPU; None where the model has none."""
        return None

    @classmethod
    def sites(cls, manifest: BackboneManifest) -> Sites:
        """Where its network takes residuals."""
        raise _offers_nothing(manifest, "takes nothing within its network")

    @classmethod
    def network_options(cls, manifest: BackboneManifest, *, attend: bool = True) -> dict[str, Any]:
        """The options of its network, for `copy_of_encoder` and `copy_of_denoiser`; without `attend` of one that does
        not attend to the inputs as a context."""
        raise _offers_nothing(manifest, "cannot be copied")

    @classmethod
    def copy_of_encoder(cls, options: Mapping[str, Any]) -> nn.Module:
        """A network like the half of the denoiser that leads to its middle, its weights called as there.

        It is called with `(shown, t, hint)`, where the hint is added to its first layer's output, and gives the
        features at all sites as `Residuals`.
        """
        raise NotImplementedError

    @classmethod
    def copy_of_denoiser(cls, options: Mapping[str, Any]) -> nn.Module:
        """A network like the denoiser, for `predict_with`."""
        raise NotImplementedError

    def shown(self, latent: Tensor, inputs: Tensor) -> Shown:
        """What its network is given of latents `[B, *latent_shape]` and raw inputs `[B, n]`."""
        raise NotImplementedError

    def predict_with(self, network: nn.Module, planes: Tensor, latent: Tensor, t: Tensor, inputs: Tensor) -> Tensor:
        """As `predict`, by a `copy_of_denoiser` that is also shown `planes` `[B, C, *latent_shape[1:]]`."""
        raise NotImplementedError

    @property
    def decoding_networks(self) -> tuple[nn.Module, ...]:
        """The networks that encode and decode."""
        return (self.autoencoder,)

    @property
    def sampling_networks(self) -> tuple[nn.Module, ...]:
        """The networks that predict; they may leave the device while an image is decoded."""
        return (self.denoiser,)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.parameters()).device

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move to a device, the networks in this number format; tables stay in fp32."""
        self.to(device)
        for network in (*self.decoding_networks, *self.sampling_networks):
            network.to(dtype)

    def step_elements(self) -> int:
        """Elements of the largest tensor of one prediction."""
        return math.prod(self.latent_shape[1:]) * widest(self.sampling_networks)

    def decoding_bytes(self, size: int, slab_bytes: int | None) -> float:
        """The peak of decoding one image in numbers of `size` bytes, without weights; in slabs if these have a size."""
        return DECODE_FACTOR * math.prod(self.grid.shape) * widest(self.decoding_networks) * size


def _offers_nothing(manifest: BackboneManifest, what: str) -> VcmError:
    return VcmError(
        Code.BAD_REQUEST,
        f"The family {manifest.family} of the backbone {manifest.name} {what}, which this kind of control needs.",
        "Choose a control that corrects what the backbone predicts, such as vcm or mcm.",
    )


def _not_trained(what: str, manifest: BackboneManifest) -> VcmError:
    return VcmError(
        Code.BAD_REQUEST,
        f"{what} of the family {manifest.family} cannot be trained here.",
        "Train a control for it: vcm train control.",
    )


def widest(networks: tuple[nn.Module, ...]) -> int:
    """The most input channels of any 3-D convolution."""
    widths = [m.in_channels for network in networks for m in network.modules() if isinstance(m, nn.Conv3d)]
    return max(widths, default=1)


def dtype_of(module: nn.Module) -> torch.dtype:
    """The number format of a network's weights."""
    return next(module.parameters()).dtype
