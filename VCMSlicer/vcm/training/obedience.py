"""How well a control obeys on cases it has not seen: the Dice of what was asked for and what came out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vcm.backbones.backbone import Backbone
from vcm.conditions import Condition, ConditionSpec
from vcm.controls.control import Control
from vcm.judging.segmentation import Segmenter
from vcm.sampling.guidance import GuidedDenoiser
from vcm.sampling.samplers import dpm_solver_pp_2m
from vcm.training.cohort_files import ATTRIBUTES, CaseEntry
from vcm.training.latent_cache import MASKS
from vcm.volume import Volume


@dataclass(frozen=True, eq=False)
class Obedience:
    """One case: Dice of the controlled sample, of its twin without control, and of the autoencoder's reconstruction.

    `asked_ml` and `got_ml` are volumes of the structure in the condition and in the controlled sample.
    """

    case: str
    controlled: float
    uncontrolled: float
    reconstructed: float
    asked_ml: float
    got_ml: float
    sample: Volume
    twin: Volume


class Examiner:
    """Samples held-out cases with and without a control, from the same noise each time, and measures the difference.

    `spec` is the mask condition that is tested. What does not depend on the control is computed once.
    """

    def __init__(
        self, backbone: Backbone, segmenter: Segmenter, spec: ConditionSpec, cases: Sequence[CaseEntry], steps: int = 20
    ) -> None:
        self.backbone, self.segmenter, self.spec, self.cases, self.steps = backbone, segmenter, spec, cases, steps
        self._without: dict[str, tuple[Volume, float, float]] = {}

    def examine(self, control: Control) -> list[Obedience]:
        """Every case once."""
        return [self._one(control, number) for number in range(len(self.cases))]

    def _one(self, control: Control, number: int) -> Obedience:
        case = self.cases[number]
        asked = self.asked(case)
        condition = Condition(self.spec, Volume(asked.astype(np.uint8), self.backbone.grid))
        sample = self._sample(case, number, control, [condition])
        got = self._segment(sample)
        if case.name not in self._without:
            twin = self._sample(case, number, None, [])
            again = self._decode(self._encode(case))
            self._without[case.name] = twin, dice(self._segment(twin), asked), dice(self._segment(again), asked)
        twin, uncontrolled, reconstructed = self._without[case.name]
        ml = self.backbone.grid.voxel_ml
        return Obedience(
            case.name,
            dice(got, asked),
            uncontrolled,
            reconstructed,
            float(asked.sum() * ml),
            float(got.sum() * ml),
            sample,
            twin,
        )

    def asked(self, case: CaseEntry) -> NDArray[np.bool_]:
        """The mask that a case asks for."""
        return MASKS[self.spec.name](case.read("labels").array)

    @torch.no_grad()
    def _sample(self, case: CaseEntry, number: int, control: Control | None, conditions: list[Condition]) -> Volume:
        attributes = torch.tensor([[case.attributes[name] for name in ATTRIBUTES]])
        noise = torch.randn((1, *self.backbone.latent_shape), generator=torch.Generator().manual_seed(number))
        with torch.autocast("cpu", torch.bfloat16):
            denoise = GuidedDenoiser(self.backbone, attributes, control, conditions)
            latent = dpm_solver_pp_2m(denoise, noise, self.backbone.schedule, self.steps)
        return self._decode(latent)

    @torch.no_grad()
    def _encode(self, case: CaseEntry) -> Tensor:
        image = torch.from_numpy(case.read("image").array.astype(np.float32))[None, None]
        with torch.autocast("cpu", torch.bfloat16):
            return self.backbone.encode(image)

    @torch.no_grad()
    def _decode(self, latent: Tensor) -> Volume:
        with torch.autocast("cpu", torch.bfloat16):
            image = self.backbone.decode(latent)
        return Volume(image[0, 0].float().numpy(), self.backbone.grid)

    def _segment(self, image: Volume) -> NDArray[np.bool_]:
        return MASKS[self.spec.name](self.segmenter.segment(image).array)


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Overlap of two masks: 1 where they agree, 0 where they do not meet; two empty masks agree.

    >>> dice(np.array([True, True, False]), np.array([True, False, False]))
    0.6666666666666666
    """
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0
