"""Validation of a control on held-out cases: samples drawn during training, and their adherence to the conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vcm.anatomy.structures import is_named
from vcm.cohort.learning_cases import LearningCase
from vcm.conditions.condition import Condition, ConditionSpec, Kind
from vcm.core.volume import Volume
from vcm.judging.alignment import Alignment, align
from vcm.judging.segmentation import Segmenter
from vcm.machine.runtime import autocast_bf16
from vcm.models.backbones.backbone import Backbone
from vcm.models.controls.control import Control
from vcm.sampling.loop import sample_latents
from vcm.training.trainer.validation_sheet import row_of


@dataclass(frozen=True, eq=False)
class ValidatedCase:
    """One case. `figures` holds `controlled`, `uncontrolled` (the same noise without the control) and `reconstructed`
    (the autoencoder's own image of the case, the ceiling): the mean Dice over the structures asked for (those that are
    neither asked for nor found do not count), or minus the mean squared error where only images were. Errors of images
    follow as `<condition>_mse`, with the same endings.

    `asked_ml` and `got_ml` are the volumes of each structure in the conditions and in the controlled sample.
    """

    case: str
    figures: Mapping[str, float]
    asked_ml: Mapping[str, float]
    got_ml: Mapping[str, float]
    sample: Volume
    twin: Volume


class ControlValidator:
    """Samples held-out cases with and without a control, from the same noise each time, and measures the difference.

    `specs` are the conditions that are given, all together. What does not depend on the control is computed once.
    """

    def __init__(
        self,
        backbone: Backbone,
        segmenter: Segmenter | None,
        specs: Sequence[ConditionSpec],
        cases: Sequence[LearningCase],
        steps: int = 20,
    ) -> None:
        self.backbone, self.segmenter, self.specs, self.cases = backbone, segmenter, tuple(specs), cases
        self.steps, self.device = steps, backbone.device
        self._without: dict[str, tuple[Volume, dict[str, float], dict[str, float]]] = {}

    def validate(self, control: Control) -> list[ValidatedCase]:
        """Every case once."""
        return [self.validate_case(control, place) for place in range(len(self.cases))]

    def validate_case(self, control: Control, place: int) -> ValidatedCase:
        """The case of this place, which is also the seed of its noise."""
        case = self.cases[place]
        conditions = self.conditions(case)
        sample = self._sample(case, place, control, conditions)
        controlled, aligned = self._measure(sample, conditions)
        if case.name not in self._without:
            twin = self._sample(case, place, None, [])
            again = self._decode(self._encode(case), None)
            self._without[case.name] = twin, self._measure(twin, conditions)[0], self._measure(again, conditions)[0]
        twin, uncontrolled, reconstructed = self._without[case.name]
        figures: dict[str, float] = {}
        for way, found in (
            ("controlled", controlled),
            ("uncontrolled", uncontrolled),
            ("reconstructed", reconstructed),
        ):
            figures |= {way if name == "score" else f"{name}_{way}": value for name, value in found.items()}
        measured = [entry for entry in aligned.classes if entry.obtained_ml is not None]
        asked = {entry.structure: entry.requested_ml for entry in measured}
        got = {entry.structure: entry.obtained_ml or 0.0 for entry in measured}
        return ValidatedCase(case.name, figures, asked, got, sample, twin)

    def conditions(self, case: LearningCase) -> list[Condition]:
        """What a case asks for."""
        arrays = case.conditions(self.specs)
        return [Condition(spec, Volume(arrays[spec.name], self.backbone.grid)) for spec in self.specs]

    def picture(self, place: int, result: ValidatedCase) -> NDArray[np.uint8]:
        """The controlled sample in three planes, again with what was asked for outlined, its twin without control."""
        mask = outlined_mask(self.conditions(self.cases[place]))
        images = [result.sample.array, result.sample.array, result.twin.array]
        return row_of(images, self.backbone.grid, mask, outlined=(1,))

    def _measure(self, image: Volume, conditions: Sequence[Condition]) -> tuple[dict[str, float], Alignment]:
        """The figures of an image; one that a training makes may hold values that are not numbers, which count as 0."""
        image = Volume(np.nan_to_num(image.array), image.grid)
        labels = self.segmenter.segment(image) if self.segmenter is not None else None
        found = align(image, conditions, labels, distances=False)
        errors = {f"{entry.condition}_mse": entry.mse or 0.0 for entry in found.images}
        overlaps = [entry.dice for entry in found.classes if entry.dice is not None]
        score = float(np.mean(overlaps)) if overlaps else -float(np.mean(list(errors.values()) or [np.nan]))
        return {"score": score, **errors}, found

    @torch.no_grad()
    def _sample(self, case: LearningCase, place: int, control: Control | None, conditions: list[Condition]) -> Volume:
        attributes = torch.tensor([[case.attributes[spec.name] for spec in self.backbone.attributes]])
        noise = torch.randn((1, *self.backbone.latent_shape), generator=torch.Generator().manual_seed(place))
        with autocast_bf16(self.device):
            inputs, start = attributes.to(self.device), noise.to(self.device)
            latent = sample_latents(self.backbone, inputs, start, control, conditions, steps=self.steps)
        return self._decode(latent, control.decoding_scale(conditions) if control else None)

    @torch.no_grad()
    def _encode(self, case: LearningCase) -> Tensor:
        image = torch.from_numpy(case.image())[None, None].to(self.device)
        with autocast_bf16(self.device):
            return self.backbone.encode(image)

    @torch.no_grad()
    def _decode(self, latent: Tensor, scale_factor: float | None) -> Volume:
        with autocast_bf16(self.device):
            image = self.backbone.decode(latent, scale_factor)
        return Volume(image[0, 0].float().cpu().numpy(), self.backbone.grid)


def outlined_mask(conditions: Sequence[Condition]) -> NDArray[np.bool_]:
    """What a picture outlines: the only structure; where more is asked for the smallest structure of a mask, else the
    ventricles of a label map, else what an image shows."""
    findable = [(c, structure.name) for c in conditions for structure in c.spec.classes if structure.segmenter]
    if len(findable) == 1:
        return findable[0][0].structure(findable[0][1])
    masks = [c.structure(c.spec.classes[0].name) for c in conditions if c.spec.kind is Kind.MASK]
    if masks:
        return min(masks, key=lambda mask: int(mask.sum()))
    first = conditions[0]
    if first.spec.kind is Kind.IMAGE:
        return np.asarray(first.volume.array, np.float32) > 0
    named = [structure.value for structure in first.spec.classes if is_named(structure.name, "ventricles")]
    return np.isin(first.volume.array, named or [first.spec.classes[0].value])
