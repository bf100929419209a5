"""The settings of an autoencoder's training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from vcm.training.trainer.settings import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class AutoencoderSettings(TrainingSettings):
    """How an autoencoder is trained: L1, L1 of the differences between neighbours, KL, and a patch adversary.

    The pack `backbone` lends its network, which `network` overrides part by part, its schedule and its attributes; a
    `network` that names its `kind` replaces it. The images are averaged over blocks of `coarsen` voxels first; `crop`
    is the edge of the part of an image that an item shows (0: all of it). The adversary joins after `adversary_from` of
    the steps.

    `squared` weighs the mean square. A latent is noised before it is decoded: by a share, up to `noise`, of its
    channels' standard deviation, beside the posterior's. `standard` holds the channels at mean 0 and deviation 1.
    `features` weighs the difference that the segmenter of the pack `judge` sees between image and reconstruction.
    """

    kind: ClassVar[str] = "autoencoder"

    network: dict[str, Any] = field(default_factory=dict)
    coarsen: int = 1
    crop: int = 0
    flip: float = 0.5
    edges: float = 0.7
    squared: float = 0.0
    kl: float = 2e-4
    noise: float = 0.0
    standard: float = 0.0
    features: float = 0.0
    judge: str = ""
    adversary: float = 0.01
    adversary_from: float = 0.5
    adversary_rate: float = 2e-4
    adversary_channels: int = 16

    steps: int = 3500
    batch: int = 8
    learning_rate: float = 5e-4
    warmup: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("coarsen", "adversary_channels"):
            self.require(getattr(self, name) >= 1, name, "at least 1")
        for name in ("crop", "edges", "squared", "kl", "noise", "standard", "features", "adversary", "adversary_rate"):
            self.require(getattr(self, name) >= 0, name, "0 or more")
        self.require(
            not self.features or bool(self.judge), "judge", "a pack with a segmenter where features are weighed"
        )
        for name in ("flip", "adversary_from"):
            self.require(0 <= getattr(self, name) <= 1, name, "within 0 and 1")
