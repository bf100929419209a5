"""What a pack says about itself: its `manifest.json`, typed. `manifest_reading.py` reads and checks it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from vcm.conditions.attributes import AttributeSpec
from vcm.conditions.condition import ClassSpec, ConditionSpec
from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.models.process import Process, process_from
from vcm.packs.sizes import SizeRule

FILE_NAME = "manifest.json"

FAMILY = "latent-diffusion"
"""The family of backbones where a manifest names none."""

TABLES = ("whitening", "places", "spread")
"""Files that hold what was counted, not what a network learned: neither trained nor rounded."""


@dataclass(frozen=True)
class PackFile:
    """One file of a pack: its path inside the folder, its SHA-256 and its size in bytes.

    `rounded_from` is the SHA-256 of the file whose weights are stored in this one in 8 bits per channel.
    """

    path: str
    sha256: str
    size: int
    rounded_from: str = ""

    @property
    def eight_bits(self) -> bool:
        """Whether its weights are stored in 8 bits per channel."""
        return bool(self.rounded_from)


@dataclass(frozen=True)
class Licence:
    """Under which terms the weights may be used."""

    name: str
    url: str = ""
    note: str = ""


@dataclass(frozen=True)
class LatentSpec:
    """The latent as the autoencoder makes it: `[channels, i, j, k]`, and how the denoiser wants it.

    `scale_factor` multiplies the latent before denoising; `packing` folds blocks of that edge into channels;
    `whitened` says that the pack has a file of per-voxel mean and standard deviation, and `atlas` that the denoiser is
    shown that mean.
    """

    shape: tuple[int, ...]
    scale_factor: float
    packing: int = 1
    whitened: bool = False
    atlas: bool = False


@dataclass(frozen=True)
class UsualSampling:
    """How a backbone is sampled where nobody chooses: `steps` of `sampler`, None for this one's usual number. Where
    `mixed` is true, its images are as good with steps in bf16, and a processor that can computes them so."""

    sampler: str = "dpm++"
    steps: int | None = None
    mixed: bool = False

    def chosen(self, sampler: str | None, steps: int | None) -> tuple[str, int | None]:
        """Sampler and steps where each may be left open; the steps of one sampler say nothing of another's.

        >>> usual = UsualSampling("rflow", 30)
        >>> usual.chosen(None, None), usual.chosen(None, 7), usual.chosen("ddim", None), usual.chosen("rflow", None)
        (('rflow', 30), ('rflow', 7), ('ddim', None), ('rflow', 30))
        """
        sampler = sampler or self.sampler
        return sampler, self.steps if steps is None and sampler == self.sampler else steps


@dataclass(frozen=True)
class IntensityScale:
    """What 0 and 1 of a model's images stand for in a `unit` such as HU."""

    low: float
    high: float
    unit: str

    def applied(self, image: Volume) -> Volume:
        """The image in that unit, cut off at both ends."""
        span = np.float32(self.high - self.low)
        return Volume(image.array.astype(np.float32).clip(0, 1) * span + np.float32(self.low), image.grid)


@dataclass(frozen=True)
class BackboneReference:
    """The backbone a control was trained for, known by the SHA-256 of its denoiser's file."""

    name: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What backbones and controls have in common."""

    name: str
    title: str
    version: str
    licence: Licence
    files: Mapping[str, PackFile]
    networks: Mapping[str, Any]
    trained: Mapping[str, bool]
    description: str = ""
    card: str | None = None

    @property
    def untrained(self) -> tuple[str, ...]:
        """The networks whose weights are random; whoever uses the pack must be warned."""
        return tuple(role for role, trained in self.trained.items() if not trained)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum({file.path: file.size for file in self.files.values()}.values())


@dataclass(frozen=True, kw_only=True)
class BackboneManifest(Manifest):
    """A pretrained latent diffusion model. `contrast` is what its images show, such as `T1w`, and `body_part` of what,
    as DICOM names it, such as `BRAIN`; empty where not known. `sizes` are those it makes beside its own
    `grid`, `sampling` is how it is usually sampled, `intensity` in what scale its images are written; 0–1 if None."""

    contrast: str = ""
    body_part: str = ""
    family: str = FAMILY
    grid: Grid
    latent: LatentSpec
    schedule: Mapping[str, Any]
    attributes: tuple[AttributeSpec, ...]
    segmenter_classes: tuple[ClassSpec, ...] = ()
    segmenter_one_piece: bool = False
    sizes: SizeRule | None = None
    sampling: UsualSampling = UsualSampling()
    intensity: IntensityScale | None = None
    kind: str = field(default="backbone", init=False)

    @cached_property
    def process(self) -> Process:
        """The noising; that of another package is found only where this is installed."""
        return process_from(self.schedule)

    def steered_by(self, control: ControlManifest) -> bool:
        """Whether a control was trained for this very denoiser, or for the one that is stored here in 8 bits."""
        denoiser = self.files["denoiser"]
        return control.backbone.sha256 in (denoiser.sha256, denoiser.rounded_from)

    def resized(self, size: str | None, spacing: str | None) -> BackboneManifest:
        """The same model on another grid, of a size and spacing as `SizeRule.grid` takes them."""
        if size is None and spacing is None:
            return self
        if self.sizes is None:
            raise VcmError(
                Code.BAD_REQUEST, f"The model {self.name} makes images of one size.", "Leave --size and --spacing out."
            )
        grid = self.sizes.grid(self.grid, size, spacing)
        sides = [
            new * latent // own
            for new, latent, own in zip(grid.shape, self.latent.shape[1:], self.grid.shape, strict=True)
        ]
        return replace(self, grid=grid, latent=replace(self.latent, shape=(self.latent.shape[0], *sides)))

    def showing(self, what: str) -> str:
        """Something that shows this contrast, in words: a “T1w scan”; where it is not known a “scan”."""
        return f"{self.contrast} {what}".strip()


@dataclass(frozen=True, kw_only=True)
class ControlManifest(Manifest):
    """A trained module that steers one backbone.

    `scale_factor` stands in for the backbone's own where it is not None; `subsets` says that the control was trained
    to act on any part of its conditions.
    """

    backbone: BackboneReference
    architecture: str
    conditions: tuple[ConditionSpec, ...]
    scale_factor: float | None = None
    subsets: bool = False
    kind: str = field(default="control", init=False)


@dataclass(frozen=True, kw_only=True)
class LayoutManifest(Manifest):
    """A generator of label maps, which completes what is drawn to a whole head on its own `grid`.

    `backbones` names the packs whose heads lie in the same space. `latent_shape` is `[channels, i, j, k]`; `classes`
    are its labels, background (0) not among them.
    """

    backbones: tuple[str, ...]
    grid: Grid
    latent_shape: tuple[int, ...]
    schedule: Mapping[str, Any]
    attributes: tuple[AttributeSpec, ...]
    classes: tuple[ClassSpec, ...]
    sampling: UsualSampling = UsualSampling("dpm++", 12)
    kind: str = field(default="layout", init=False)

    @cached_property
    def process(self) -> Process:
        """The noising."""
        return process_from(self.schedule)


AnyManifest = BackboneManifest | ControlManifest | LayoutManifest
