"""How well a control obeys on cases it has not seen, as it is measured while it learns.

What `vcm evaluate` measures with its whole table is measured here by the same means, for one mask.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vcm.backbones.latent_diffusion import LatentDiffusion
from vcm.conditions import Condition, ConditionSpec
from vcm.controls.vcm_control import VcmControl
from vcm.evaluation.case_sampler import CaseSampler
from vcm.generate import Generator
from vcm.judging.alignment import dice
from vcm.judging.mean_interval import mean_with_interval
from vcm.judging.segmentation import Segmenter
from vcm.machine.runtime import choose_runtime
from vcm.training.case_conditions import condition_array
from vcm.training.cohort_files import CaseEntry
from vcm.volume import Volume

__all__ = ["Examiner", "Obedience", "mean_with_interval"]


@dataclass(frozen=True, eq=False)
class Obedience:
    """One case: Dice of the controlled sample, of its twin without control, and of the autoencoder's reconstruction.

    A Dice is NaN where neither image nor mask has the structure. `asked_ml` and `got_ml` are volumes of
    the structure in the condition and in the controlled sample.
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

    `spec` is the mask condition that is tested. What does not depend on the control is computed once. Networks stay
    where they are and in fp32, as they are still learning; a processor computes in bf16.
    """

    def __init__(
        self,
        backbone: LatentDiffusion,
        segmenter: Segmenter,
        spec: ConditionSpec,
        cases: Sequence[CaseEntry],
        steps: int = 20,
    ) -> None:
        self.backbone, self.segmenter, self.spec, self.cases, self.steps = backbone, segmenter, spec, cases, steps
        self._without: dict[str, tuple[Volume, float, float]] = {}

    def examine(self, control: VcmControl) -> list[Obedience]:
        """Every case once."""
        device = next(self.backbone.parameters()).device
        runtime = choose_runtime(str(device), "bf16" if device.type == "cpu" else "fp32")
        sampler = CaseSampler(Generator(self.backbone, control, runtime), self.steps)
        return [self._one(sampler, number) for number in range(len(self.cases))]

    def asked(self, case: CaseEntry) -> NDArray[np.bool_]:
        """The mask that a case asks for."""
        return self._structure(case.read("labels"))

    def _one(self, sampler: CaseSampler, number: int) -> Obedience:
        case = self.cases[number]
        asked = self.asked(case)
        condition = Condition(self.spec, Volume(asked.astype(np.uint8), self.backbone.grid))
        sample = sampler.sample(case.attributes, number, [condition])
        labels = self.segmenter.segment(sample)
        got = self._structure(labels)
        if case.name not in self._without:
            twin = sampler.sample(case.attributes, number)
            again = sampler.reconstruct(case.read("image"))
            uncontrolled, reconstructed = (self._dice(self.segmenter.segment(image), asked) for image in (twin, again))
            self._without[case.name] = twin, uncontrolled, reconstructed
        twin, uncontrolled, reconstructed = self._without[case.name]
        ml = self.backbone.grid.voxel_ml
        return Obedience(
            case=case.name,
            controlled=self._dice(labels, asked),
            uncontrolled=uncontrolled,
            reconstructed=reconstructed,
            asked_ml=float(asked.sum() * ml),
            got_ml=float(got.sum() * ml),
            sample=sample,
            twin=twin,
        )

    def _dice(self, labels: Volume, asked: NDArray[np.bool_]) -> float:
        found = dice(self._structure(labels), asked)
        return math.nan if found is None else found

    def _structure(self, labels: Volume) -> NDArray[np.bool_]:
        return np.asarray(condition_array(self.spec, labels.array, None) != 0)
