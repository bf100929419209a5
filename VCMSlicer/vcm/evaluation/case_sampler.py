"""The images of a case: controlled, its uncontrolled twin from the same noise, the autoencoder's reconstruction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from vcm.conditions.attributes import AttributeValue, resolve
from vcm.conditions.condition import Condition
from vcm.core.volume import Volume
from vcm.packs.manifest import UsualSampling
from vcm.sampling.generator import Generator
from vcm.sampling.request import GenerateRequest


class CaseSampler:
    """Samples with given attributes and seed, by the `usual` sampler of their backbone; what is asked twice comes out
    the same, bit for bit."""

    def __init__(
        self,
        generator: Generator,
        usual: UsualSampling,
        steps: int | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self.generator, self.cancelled = generator, cancelled
        self._sampler, self._steps = usual.chosen(None, steps)

    @property
    def settings(self) -> dict[str, Any]:
        """What an evaluation keeps of it; the sampler only where it is a model's own."""
        own = {} if self._sampler == UsualSampling.sampler else {"sampler": self._sampler}
        return {"steps": self._steps or 20, **own}

    def sample(self, attributes: Mapping[str, float], seed: int, conditions: Sequence[Condition] = ()) -> Volume:
        """One sample; `attributes` are raw, and those the backbone does not have are left out."""
        request = GenerateRequest(
            attributes=self.resolved(attributes),
            conditions=tuple(conditions),
            seed=seed,
            sampler=self._sampler,
            steps=self._steps,
        )
        (sample,) = self.generator.generate(request, cancelled=self.cancelled)
        return sample.volume

    def resolved(self, attributes: Mapping[str, float]) -> tuple[AttributeValue, ...]:
        """The backbone's attributes, raw as given or its defaults."""
        specs = self.generator.backbone.attributes
        return resolve(specs, raw={spec.name: attributes[spec.name] for spec in specs if spec.name in attributes})

    @torch.no_grad()
    def reconstruct(self, image: Volume) -> Volume:
        """The image through the autoencoder and back: what a perfect control would reach."""
        generator = self.generator
        generator.backbone.slab_bytes = generator.plan().slab_bytes
        given = torch.from_numpy(image.array.astype(np.float32))[None, None].to(generator.runtime.device)
        with generator.runtime.autocast():
            made = generator.backbone.decode(generator.backbone.encode(given))
        return Volume(made[0, 0].float().cpu().numpy(), image.grid)
