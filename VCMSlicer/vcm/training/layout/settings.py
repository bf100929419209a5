"""The settings of a layout's training: of its denoiser, and within them those of its autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from vcm.training.trainer.settings import NotNegative, NotNegativeNumber, Share, TrainingSettings


@dataclass(frozen=True, kw_only=True)
class LabelAutoencoderSettings(TrainingSettings):
    """How the autoencoder of a layout is trained: cross-entropy, and Dice, by which small structures count.

    An item shows a cube of `crop` voxels (a multiple of 8; 0: the whole head). A latent is decoded with normal noise of
    `noise` times its channels' spread, for a denoiser's small errors; `standard` holds channels at mean 0 and spread 1.
    `network` has options of `LabelAutoencoder`.
    """

    kind: ClassVar[str] = "label-autoencoder"

    network: dict[str, Any] = field(default_factory=dict)
    crop: NotNegative = 48
    flip: Share = 0.5
    noise: NotNegativeNumber = 0.2
    standard: NotNegativeNumber = 0.01

    steps: int = 3000
    batch: int = 4
    learning_rate: float = 2e-3
    warmup: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.crop % 8 == 0, "crop", "a multiple of 8")


@dataclass(frozen=True, kw_only=True)
class LayoutSettings(TrainingSettings):
    """How a layout is trained for the heads of the pack `backbone`, which lends it the attributes.

    `backbones` are further packs whose heads lie in the same space. `autoencoder` has settings of its first part.
    Of the items a share `nothing` is shown no structure, a share `alone` one, a share `all` every class of a label map,
    and the others a random part of them. Each attribute is left out in a share `unknown`. `network` has options of
    `LayoutDenoiser`.

    `start` names a layout pack to go on with: its autoencoder is kept and its denoiser learns further, so that
    `autoencoder` is its own. `network` may then give it more `blocks`, which change nothing before they have learned.
    """

    kind: ClassVar[str] = "layout"

    backbones: tuple[str, ...] = ()
    start: str = ""
    autoencoder: dict[str, Any] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)
    nothing: Share = 0.1
    alone: Share = 0.35
    all: Share = 0.1
    unknown: Share = 0.4
    flip: Share = 0.5
    sampling_steps: int = 12

    steps: int = 20000
    batch: int = 16
    learning_rate: float = 1e-3
    warmup: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.nothing + self.alone + self.all <= 1, "alone", "such that the three shares are 1 at most")
        self.require(not self.contrasts, "contrasts", "left out, as label maps have none")
        if self.start:
            self.require(not self.autoencoder, "autoencoder", "left out where start names a pack")
            self.require(set(self.network) <= {"blocks"}, "network", "blocks alone where start names a pack")
        _ = self.of_autoencoder

    @property
    def of_autoencoder(self) -> LabelAutoencoderSettings:
        """The settings of the first part, whose backbone, seed and precision are the second's unless it says others."""
        shared: Mapping[str, Any] = {"backbone": self.backbone, "seed": self.seed, "precision": self.precision}
        return LabelAutoencoderSettings.from_dict({**shared, **self.autoencoder}, "The table autoencoder")
