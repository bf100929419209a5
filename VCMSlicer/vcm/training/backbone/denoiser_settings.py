"""The settings of a denoiser's training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from vcm.cohort.case_conditions import CONDITION_SPECS
from vcm.core.records import Bounds, OneOf
from vcm.training.trainer.settings import AtLeastOne, Share, TrainingSettings

PREDICTIONS = ("v", "epsilon")


@dataclass(frozen=True, kw_only=True)
class DenoiserSettings(TrainingSettings):
    """How the denoiser of a backbone's pack is trained: its latent, its packing and its attributes are the pack's.

    scratch     begin with fresh weights and whiten the latents anew, by the mean and spread of the training's at each
                place (at least half of the mean spread); else go on with the pack's denoiser and its whitening.
    whiten      take mean and spread out of the latents also for a family that does not do so by itself (only from
                scratch); where it makes several kinds of image, the network is shown each without its own mean.
    atlas       show the denoiser the mean latent; where the pack's denoiser has not seen it, these channels begin at 0.
    network     overrides single parts of the pack's network (only from scratch), such as `channels`.
    loss        l2, the mean square of the error, or l1, as 3D models of other authors have it.
    packing     stands in for the pack's own (only from scratch), and so does
    last        the time at which sampling ends; none before it is learned.
    prediction  what the network is taught to say of a noisy latent, in place of the pack's: epsilon or v. A
                denoiser that goes on learns to say what it knows in other terms.
    emphasis    how much more the error counts around the places where a condition of the cases usually lies, such as
                `{ventricles = 3}`. The weights are the same for every case, so they change what is learned first and
                not what is learned: a volume asked for by number moves a fiftieth of the latent.
    """

    kind: ClassVar[str] = "denoiser"

    scratch: bool = False
    whiten: bool = False
    atlas: bool = True
    network: dict[str, Any] = field(default_factory=dict)
    packing: Annotated[int | None, Bounds(1)] = None
    prediction: Annotated[str | None, OneOf(PREDICTIONS)] = None
    last: Annotated[int | None, Bounds(0)] = None
    loss: Annotated[str, OneOf(("l2", "l1"))] = "l2"
    flip: Share = 0.5
    sampling_steps: AtLeastOne = 20
    emphasis: dict[str, float] = field(default_factory=dict)

    steps: int = 4000
    learning_rate: float = 6e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        known = set(self.emphasis) <= set(CONDITION_SPECS) and all(weight >= 0 for weight in self.emphasis.values())
        self.require(known, "emphasis", f"a number from 0 for some of {', '.join(CONDITION_SPECS)}")
        for name in ("network", "packing", "last", "whiten"):
            value = getattr(self, name)
            given = value is not None if name in ("packing", "last") else bool(value)
            self.require(self.scratch or not given, name, "left out unless scratch is true")
