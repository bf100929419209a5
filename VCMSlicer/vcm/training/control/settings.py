"""The settings of a control's training, with the paper's and the released code's ways as named options."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from vcm.core.records import Bounds, OneOf
from vcm.training.control.losses import WEIGHTINGS, FocusKey
from vcm.training.trainer.settings import AtLeastOne, Share, TrainingSettings

VARIANTS = ("small", "paper", "released")
DROPOUTS = ("none", "paper", "uniform")
L1_WEIGHTS = ("paper", "released")
LATENTS = ("mean", "sampled")


@dataclass(frozen=True, kw_only=True)
class ControlSettings(TrainingSettings):
    """What is taught to a control, and how.

    architecture  the kind of control, as manifests name it.
    variant     `small` is a network for packed latents (brainldm-mini's), `paper` the paper's full-size one (time in
                the encoders, an encoder each), `released` the released code's (no time in it, one shared encoder,
                heads that end in InstanceNorm). `network` overrides single parts of it by name.
    weighting   how much each noise level counts (`losses.py`): `epsilon` is the paper's.
    focus       how much more the error near a condition's structures counts than elsewhere: one number for all, or a
                table by condition, in which "semantics:4,5,6" means these classes of it and "brain edge" where
                its outline runs.
    l1          λ of Eq. 4: `paper` is 1/(b·c·h·w·d), `released` what the released code computes, where the depth stands
                in for the channels; or a number.
    dropout     modality latent dropout. `paper`: all conditions together in .4 of the items, else one alone, each as
                often (.3 and .3 of two); `uniform`: every subset as often; or a table of each condition's own
                probability to be left out, whatever becomes of the others.
    latents     `mean` of the autoencoder's posterior, as in the paper; or `sampled` anew each time, as released.
    flip        the share of items that are seen mirrored, left to right.
    noise_epochs  for so many epochs an item keeps its side, time and noise, and what the frozen backbone made of them,
                which costs as much as a small control's own work, is kept in memory (1: all is drawn anew each time).
    scale_factor  stands in for the backbone's own (the released control was trained with 0.8963).
    recompute   compute the encoders a second time for the backward pass instead of keeping what they made: less memory,
                more time, the same weights.
    start       names a control pack whose weights a new training begins with.
    regression_steps  so many steps at the start teach encoders and heads alone: the clean latent from the conditions,
                as at full noise, where nothing else is known.
    """

    kind: ClassVar[str] = "control"

    conditions: tuple[str, ...] = ("ventricles",)
    architecture: str = "vcm"
    variant: Annotated[str, OneOf(VARIANTS)] = "small"
    network: dict[str, Any] = field(default_factory=dict)
    weighting: Annotated[str, OneOf(tuple(WEIGHTINGS))] = "v"
    focus: float | dict[str, float] = 15.0
    l1: str | float = "paper"
    dropout: str | dict[str, float] = "none"
    latents: Annotated[str, OneOf(LATENTS)] = "mean"
    flip: Share = 0.5
    scale_factor: Annotated[float | None, Bounds(above=0)] = None
    noise_epochs: AtLeastOne = 1
    regression_steps: int = 0
    recompute: bool = False
    start: str = ""
    sampling_steps: AtLeastOne = 20

    steps: int = 3000
    batch: int = 8
    warmup: int = 40
    clip: float = 0.5
    ema: float = 0.995

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(0 <= self.regression_steps < self.steps, "regression_steps", "0 or more and fewer than steps")
        named = len(set(self.conditions)) == len(self.conditions) > 0
        self.require(named, "conditions", "one or more different names")
        self._check_l1()
        self._check_focus()
        self._check_dropout()

    @property
    def first_phase(self) -> int:
        return self.regression_steps

    def _check_l1(self) -> None:
        fits = self.l1 in L1_WEIGHTS if isinstance(self.l1, str) else self.l1 >= 0
        self.require(fits, "l1", f"one of {', '.join(L1_WEIGHTS)} or a number from 0")

    def _check_focus(self) -> None:
        if not isinstance(self.focus, dict):
            self.require(self.focus >= 0, "focus", "0 or more")
            return
        try:
            named = {FocusKey.read(words).name for words in self.focus}
        except ValueError:
            named = {""}
        fits = named <= set(self.conditions) and all(weight >= 0 for weight in self.focus.values())
        self.require(fits, "focus", f"a number from 0 for some of {', '.join(self.conditions)}")

    def _check_dropout(self) -> None:
        if isinstance(self.dropout, dict):
            fits = all(name in self.conditions and 0 <= share < 1 for name, share in self.dropout.items())
            self.require(fits, "dropout", f"a probability below 1 for some of {', '.join(self.conditions)}")
        else:
            self.require(self.dropout in DROPOUTS, "dropout", f"one of {', '.join(DROPOUTS)}")
        shared = self.network.get("shared_encoder", self.variant == "released")
        self.require(self.dropout == "none" or not shared, "dropout", "none where all conditions share one encoder")
