"""The settings of an autoencoder's training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from vcm.training.settings import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class AutoencoderSettings(TrainingSettings):
    """How an autoencoder is trained: L1, L1 of the differences between neighbours, KL, and a patch adversary.

    The pack `backbone` lends its network, which `network` overrides part by part, its schedule and its attributes. The
    images are averaged over blocks of `coarsen` voxels first. The adversary joins after `adversary_from` of the steps.
    """

    kind: ClassVar[str] = "autoencoder"

    network: dict[str, Any] = field(default_factory=dict)
    coarsen: int = 1
    flip: float = 0.5
    edges: float = 0.7
    kl: float = 2e-4
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
        for name in ("edges", "kl", "adversary", "adversary_rate"):
            self.require(getattr(self, name) >= 0, name, "0 or more")
        for name in ("flip", "adversary_from"):
            self.require(0 <= getattr(self, name) <= 1, name, "within 0 and 1")
