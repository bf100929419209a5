"""The settings of an autoencoder's training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from vcm.core.records import Bounds
from vcm.training.trainer.settings import AtLeastOne, NotNegative, NotNegativeNumber, Share, TrainingSettings


@dataclass(frozen=True, kw_only=True)
class AutoencoderSettings(TrainingSettings):
    """How an autoencoder is trained: L1, L1 of the differences between neighbours, KL, and a patch adversary.

    The pack `backbone` lends its network, which `network` overrides part by part, its schedule and its attributes; a
    `network` that names its `kind` replaces it. The images are averaged over blocks of `coarsen` voxels first; `crop`
    is the edge of the part of an image that an item shows (0: all of it). The adversary joins after `adversary_from` of
    the steps.

    `squared` weighs the mean square. A latent is noised before it is decoded: by a share, up to `noise`, of its
    channels' standard deviation, beside the posterior's. `standard` holds the channels at mean 0 and deviation 1.
    An autoencoder with a codebook has no such noise and no KL: `commitment` weighs how far its latents lie from their
    codes. It is trained in two stages: in the first from crops (of the size of its patches, where `crop` is 0), in the
    second, which begins with the pack's own, the decoder alone on whole images.

    `start` names a pack whose autoencoder's weights a first stage begins with; a codebook, which it may lack, is new.
    `features` weighs the difference that the segmenter of the pack `judge` sees between image and reconstruction.
    """

    kind: ClassVar[str] = "autoencoder"

    network: dict[str, Any] = field(default_factory=dict)
    coarsen: AtLeastOne = 1
    crop: NotNegative = 0
    flip: Share = 0.5
    edges: NotNegativeNumber = 0.7
    squared: NotNegativeNumber = 0.0
    kl: NotNegativeNumber = 2e-4
    noise: NotNegativeNumber = 0.0
    standard: NotNegativeNumber = 0.0
    commitment: NotNegativeNumber = 0.25
    stage: Annotated[int, Bounds(1, 2)] = 1
    start: str = ""
    features: NotNegativeNumber = 0.0
    judge: str = ""
    adversary: NotNegativeNumber = 0.01
    adversary_from: Share = 0.5
    adversary_rate: NotNegativeNumber = 2e-4
    adversary_channels: AtLeastOne = 16

    steps: int = 3500
    batch: int = 8
    learning_rate: float = 5e-4
    warmup: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(
            not self.features or bool(self.judge), "judge", "a pack with a segmenter where features are weighed"
        )
        self.require(
            not self.start or self.stage == 1, "start", "left out in the second stage, which begins with its own"
        )
