"""Strength, time window and region weight of every condition, in one place for every control."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from vcm.conditions.condition import Condition
from vcm.core.grid import Grid
from vcm.models.backbones.backbone import Backbone
from vcm.models.controls.control import Control, Step
from vcm.models.preparers.preparer import PREPARERS
from vcm.models.process import Prediction
from vcm.volumes.resampling import resample_image

Weight = float | Tensor
"""One number for all places, or a map `[1, 1, x, y, z]` on the latent's grid."""


def subset_weights(weights: dict[str, Weight]) -> dict[frozenset[str], Weight]:
    """How much each set of conditions counts: m_S = max(0, min_{c∈S} w_c − max_{c∉S} w_c).

    The correction of a set of conditions is not the sum of those of its members, so weights are spread over sets:
    equal weights leave the full set alone, a weight of 0 the set without that condition.

    >>> {tuple(sorted(s)): round(w, 2) for s, w in subset_weights({"a": 1.0, "b": 0.4}).items()}
    {('a',): 0.6, ('a', 'b'): 0.4}
    """
    result: dict[frozenset[str], Weight] = {}
    for size in range(1, len(weights) + 1):
        for members in combinations(sorted(weights), size):
            inside = _extreme([weights[name] for name in members], torch.minimum, min)
            outside = _extreme([0.0, *(w for name, w in weights.items() if name not in members)], torch.maximum, max)
            m = inside - outside
            m = m.clamp(min=0) if isinstance(m, Tensor) else max(0.0, m)
            if float(m.max() if isinstance(m, Tensor) else m) > 0:
                result[frozenset(members)] = m
    return result


class GuidedDenoiser:
    """A backbone's prediction, corrected by a control, at a time given as a number: what the samplers call.

    `inputs` is raw: `[1, n]`, the same for every latent of a batch, or `[B, n]`. Without a control, or where no
    condition acts, it is the backbone's own prediction. `state` is what the control has prepared of these conditions.
    """

    def __init__(
        self,
        backbone: Backbone,
        inputs: Tensor,
        control: Control | None = None,
        conditions: Sequence[Condition] = (),
        state: Any = None,
    ) -> None:
        self.backbone, self.control, self.inputs = backbone, control, inputs
        self.conditions = tuple(conditions) if control is not None else ()
        self._regions = {
            c.spec.name: _on_latent_grid(c, backbone, inputs.device) for c in self.conditions if c.region is not None
        }
        self._plans: dict[frozenset[str], dict[frozenset[str], Weight]] = {}
        self.state = state
        if control is not None and self.conditions and state is None:
            ways = control.preparers
            tensors = {
                c.spec.name: PREPARERS[ways[c.spec.name]]().prepare(c, backbone, inputs.device) for c in self.conditions
            }
            self.state = control.prepare(tensors, self._subsets_that_will_act())

    def __call__(self, latent: Tensor, t: float) -> Prediction:
        """The guided prediction for latents `[B, *latent_shape]`."""
        times = torch.full((latent.shape[0],), t, device=latent.device, dtype=torch.float32)
        process = self.backbone.process
        return Prediction(latent, self.step(latent, times, self.acting(t)), process.guided, process.bound)

    def acting(self, t: float) -> frozenset[str]:
        """The conditions whose time window holds time `t`."""
        return self._acting_when(self.backbone.process.fraction_done(t))

    def _acting_when(self, done: float) -> frozenset[str]:
        return frozenset(
            c.spec.name for c in self.conditions if c.start - 1e-9 <= done <= c.end + 1e-9 and c.strength > 0
        )

    def step(self, latent: Tensor, times: Tensor, acting: frozenset[str], prediction: Tensor | None = None) -> Tensor:
        """p + Σ_S m_S·(guide_S(p) − p), with p the backbone's prediction in the parameterisation that is guided and S
        the sets of acting conditions; all tensors, so that it can be captured. `prediction` is p where it is known."""
        step = Step.on(self.backbone, self.inputs, latent, times, prediction)
        plan = self._plan(acting)
        if self.control is None or not plan:
            return step.predict()
        if len(plan) == 1 and not isinstance(plan.get(acting), Tensor) and plan.get(acting) == 1.0:
            return self.control.guide(step, self.state, acting)
        unguided = step.predict()
        guided = unguided
        for subset, weight in plan.items():
            guided = guided + weight * (self.control.guide(step, self.state, subset) - unguided)
        return guided

    def _plan(self, acting: frozenset[str]) -> dict[frozenset[str], Weight]:
        if acting not in self._plans:
            weights: dict[str, Weight] = {
                c.spec.name: c.strength * self._regions.get(c.spec.name, 1.0)
                for c in self.conditions
                if c.spec.name in acting
            }
            self._plans[acting] = subset_weights(weights)
        return self._plans[acting]

    def _subsets_that_will_act(self) -> set[frozenset[str]]:
        """The sets of conditions that act at some time, whole or between two: at an end of a window or between two."""
        ends = sorted({0.0, 1.0, *(end for c in self.conditions for end in (c.start, c.end))})
        between = [(low + high) / 2 for low, high in itertools.pairwise(ends)]
        return {subset for done in (*ends, *between) for subset in self._plan(self._acting_when(done))}


class TwinDenoiser(GuidedDenoiser):
    """Latents with control, and behind them as many without it: the backbone predicts all of them as one batch."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._both = self.inputs if len(self.inputs) == 1 else torch.cat([self.inputs, self.inputs])

    def step(self, latent: Tensor, times: Tensor, acting: frozenset[str], prediction: Tensor | None = None) -> Tensor:
        """The guided predictions, then the backbone's own."""
        plain = Step.on(self.backbone, self._both, latent, times, prediction).predict()
        half = len(latent) // 2
        return torch.cat([super().step(latent[:half], times[:half], acting, plain[:half]), plain[half:]])


def _extreme(weights: list[Weight], of_tensors: Callable[[Tensor, Tensor], Tensor], of_numbers: Any) -> Weight:
    maps = [weight for weight in weights if isinstance(weight, Tensor)]
    if not maps:
        number: float = of_numbers(weights)
        return number
    like = maps[0]
    tensors = [w if isinstance(w, Tensor) else torch.full_like(like, w) for w in weights]
    return reduce(of_tensors, tensors)


def _on_latent_grid(condition: Condition, backbone: Backbone, device: torch.device) -> Tensor:
    assert condition.region is not None
    grid: Grid = backbone.grid.downsampled(backbone.latent_shape[1:])
    return torch.from_numpy(resample_image(condition.region, grid).array.astype("float32"))[None, None].to(device)
