"""What a control offers: prepare the conditions once, then correct the frozen backbone's prediction at each step."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vcm.conditions.condition import Condition, ConditionSpec
from vcm.core.errors import Code, VcmError
from vcm.models.backbones.backbone import Backbone, Residuals, Shown
from vcm.models.preparers.preparer import PREPARERS
from vcm.models.process import Prediction, Process

if TYPE_CHECKING:
    from vcm.packs.manifest import BackboneManifest
    from vcm.packs.store import Pack

Ask = Callable[[Tensor, Tensor, "Residuals | None"], Tensor]
"""`ask(latent, t, residuals)`: the backbone's prediction, as its process says, with its inputs bound."""


class Step:
    """One step of sampling or training, as a control sees it.

    `predict` asks the frozen backbone and gives its answer in the parameterisation in which controls correct it
    (`kind`). The answer for the step's own latent is remembered; any other latent, or residuals, are asked anew.
    """

    def __init__(
        self,
        process: Process,
        latent: Tensor,
        t: Tensor,
        ask: Ask,
        known: Tensor | None = None,
        within: tuple[Backbone, Tensor] | None = None,
    ) -> None:
        self.process, self.latent, self.t, self._ask = process, latent, t, ask
        self._known, self._within = known, within

    @classmethod
    def on(cls, backbone: Backbone, inputs: Tensor, latent: Tensor, t: Tensor, known: Tensor | None = None) -> Step:
        """A step of a backbone with raw inputs `[B, n]`, or `[1, n]` for all; `known` is its answer if there is one."""

        def ask(z: Tensor, at: Tensor, residuals: Residuals | None) -> Tensor:
            return backbone.predict(z, at, inputs.expand(len(z), -1), residuals)

        return cls(backbone.process, latent, t, ask, known, (backbone, inputs.expand(len(latent), -1)))

    @property
    def kind(self) -> str:
        """The parameterisation of what is predicted and corrected."""
        return self.process.guided

    @cached_property
    def levels(self) -> tuple[Tensor, Tensor]:
        """α and σ of the step."""
        return self.process.levels(self.t)

    def predict(self, latent: Tensor | None = None, residuals: Residuals | None = None) -> Tensor:
        """The backbone's prediction at the step's time, like the latents."""
        own = (latent is None or latent is self.latent) and residuals is None
        if own and self._known is not None:
            return self._known
        z = self.latent if latent is None else latent
        value = self._guided(z, self._ask(z, self.t, residuals))
        if own:
            self._known = value
        return value

    @property
    def inputs(self) -> Tensor:
        """The backbone's raw inputs `[B, n]`."""
        return self._backbone()[1]

    def shown(self) -> Shown:
        """What the backbone's own network is given."""
        backbone, inputs = self._backbone()
        return backbone.shown(self.latent, inputs)

    def predict_with(self, network: nn.Module, planes: Tensor) -> Tensor:
        """The prediction of a `Backbone.copy_of_denoiser` that is also shown `planes` `[B, C, *latent's grid]`."""
        backbone, inputs = self._backbone()
        return self._guided(self.latent, backbone.predict_with(network, planes, self.latent, self.t, inputs))

    def _guided(self, latent: Tensor, value: Tensor) -> Tensor:
        if self.process.prediction == self.kind:
            return value
        return Prediction(latent.float(), value, self.process.prediction).as_kind(self.kind, *self.levels)

    def _backbone(self) -> tuple[Backbone, Tensor]:
        assert self._within is not None, "a step that is not bound to a backbone"
        return self._within


class Control(nn.Module, ABC):
    """A trained module that steers a backbone by `conditions`.

    `network` is what learns and what a pack's file holds. `preparers` says of each condition how it becomes what the
    control sees. `scale_factor` stands in for the backbone's own where it is not None. `spread` is that of
    `Backbone.spread`, of samples that the control steers.
    """

    network: nn.Module
    conditions: tuple[ConditionSpec, ...]
    scale_factor: float | None = None
    spread: Tensor | None = None
    needs_residuals = False
    """Whether it works by residuals within the backbone's network, which not every backbone takes."""
    small_learning_rate = 1e-3
    """At which rate vcm teach trains the variant `small`."""
    asks_plainly = False
    """Whether its corrections begin with `step.predict()`, which a twin without control needs too."""
    graphable = False
    """Whether a training step is many small kernels over tensors of fixed shapes, worth a CUDA graph."""

    def decoding_scale(self, conditions: Iterable[Condition]) -> float | None:
        """The scale by which latents are decoded that these conditions have steered; the backbone's own (None) where
        none acts, as without control."""
        return self.scale_factor if any(condition.strength > 0 for condition in conditions) else None

    @classmethod
    @abstractmethod
    def create(
        cls, networks: Mapping[str, Any], conditions: Sequence[ConditionSpec], scale_factor: float | None = None
    ) -> Control:
        """A control with random weights, from a manifest's `networks`."""

    @classmethod
    def load(cls, pack: Pack) -> Control:
        """The control of a pack, in fp32 on the CPU."""
        from vcm.models.weights import build, fill
        from vcm.packs.store import open_weights

        manifest = pack.control
        control = build(
            pack, "control", lambda: cls.create(manifest.networks, manifest.conditions, manifest.scale_factor)
        )
        fill(pack, control.network, open_weights(pack, "control"))
        return control.eval()

    @classmethod
    def configure(
        cls,
        manifest: BackboneManifest,
        conditions: Sequence[ConditionSpec],
        variant: str,
        changes: Mapping[str, Any],
    ) -> dict[str, Any]:
        """A manifest's `networks` for a training on this backbone; `changes` are the user's own options."""
        return dict(changes)

    def begin(self, backbone: Backbone) -> None:
        """Before the first step of a training: take over weights of the backbone, for controls that are copies."""

    @classmethod
    def shipped(
        cls, networks: Mapping[str, Any], weights: Mapping[str, Tensor]
    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What a pack holds of a trained control: its `networks` and its weights, less what only training needs."""
        return dict(networks), dict(weights)

    def learnable(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What a pack holds of a control of these networks, as the network of a training takes it."""
        return dict(weights)

    @property
    def preparers(self) -> dict[str, str]:
        """How each condition is prepared, by name."""
        return {spec.name: spec.preparer or "voxels" for spec in self.conditions}

    @property
    def latent_conditions(self) -> tuple[str, ...]:
        """The conditions that the control sees as latents."""
        return tuple(name for name, key in self.preparers.items() if PREPARERS[key].makes_latents)

    @abstractmethod
    def prepare(self, conditions: Mapping[str, Tensor], subsets: Iterable[frozenset[str]]) -> Any:
        """Once a Sample: the state that `guide` needs, from `{name: [1, …]}`; `subsets` are those that will act."""

    @abstractmethod
    def guide(self, step: Step, state: Any, active: frozenset[str]) -> Tensor:
        """Once a step and set of conditions: the corrected prediction, in the step's parameterisation.

        Conditions that were given but are not `active` are as if they had not been given.
        """

    def learn(
        self,
        step: Step,
        conditions: Mapping[str, Tensor],
        kept: Mapping[str, Tensor] | None = None,
        *,
        recompute: bool = False,
        after_encoder: Callable[[], object] = lambda: None,
    ) -> tuple[Tensor, Tensor]:
        """In training: the corrected prediction and a penalty, both differentiable.

        `kept` says of each condition which items of the batch have it. `recompute` saves memory at the cost of time;
        `after_encoder` is called after each part of the encoding, for estimates.
        """
        given = {
            name: c if not kept else c * kept[name].to(c)[:, None, None, None, None] for name, c in conditions.items()
        }
        names = frozenset(given)

        def guide(conditions: Mapping[str, Tensor]) -> Tensor:
            return self.guide(step, self.prepare(conditions, [names]), names)

        guided = checkpoint(guide, given, use_reentrant=False) if recompute else guide(given)
        after_encoder()
        return guided, guided.new_zeros(())

    def expect(
        self,
        conditions: Mapping[str, Tensor],
        kept: Mapping[str, Tensor] | None,
        inputs: Tensor,
        *,
        recompute: bool = False,
    ) -> Tensor:
        """The clean latents that conditions and the backbone's raw inputs let expect, for a first phase of training."""
        raise VcmError(
            Code.BAD_REQUEST,
            "A first phase (regression_steps) needs a network that says what the conditions alone let expect.",
            'Choose variant = "small", or leave regression_steps out.',
        )

    def condition_elements(self, shape: Sequence[int]) -> int:
        """Elements of the largest tensor while conditions of these sizes are encoded."""
        widths = [m.out_channels for m in self.network.modules() if isinstance(m, nn.Conv3d)]
        return math.prod(shape) * max(widths, default=1)

    def with_network(self, network: nn.Module) -> Control:
        """The same control around other weights, such as averaged ones."""
        other = copy.copy(self)
        other._modules = {**self._modules, "network": network}
        return other
