"""The settings of a segmenter's training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from vcm.training.trainer.settings import NotNegative, Share, TrainingSettings


@dataclass(frozen=True, kw_only=True)
class SegmenterSettings(TrainingSettings):
    """How the segmenter of a backbone's pack is trained: Dice and cross entropy, on images as they are.

    A share `reconstructed` of the items is first sent through the pack's autoencoder, whose images are what it will
    judge. An item shows a cube of `crop` voxels along each edge (0: the whole image). `network` overrides single
    parts of the pack's network, or of brainldm-mini's where the pack has none. `start` names a pack whose segmenter's
    weights it begins with.
    """

    kind: ClassVar[str] = "segmenter"

    network: dict[str, Any] = field(default_factory=dict)
    reconstructed: Share = 0.5
    flip: Share = 0.5
    crop: NotNegative = 0
    start: str = ""

    steps: int = 2000
    batch: int = 4
    learning_rate: float = 2e-3
    warmup: int = 50
