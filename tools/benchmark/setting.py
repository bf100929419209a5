"""What both ways are given: the same networks with random weights, the same inputs, the same device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from vcm.conditions.attributes import AttributeSpec, AttributeValue, resolve
from vcm.conditions.condition import Condition, ConditionSpec
from vcm.core.volume import Volume
from vcm.machine.runtime import Runtime
from vcm.packs.published_config import PublishedConfig, check_backbone_fits, check_control_fits, read_config
from vcm.sampling.generator import seeded_noise
from vcm.sampling.memory_plan import check_name

SEED = 7
_NETWORK = {"norm_num_groups": 8, "norm_eps": 1e-6}
TINY: Mapping[str, Any] = {
    "image_shape": [16, 32, 32],
    "autoencoder": {**_NETWORK, "num_channels": [8, 16, 16], "attention_levels": [False] * 3},
    "diffusion": {**_NETWORK, "num_channels": [16, 32, 48], "num_head_channels": [0, 32, 48]},
    "vcm_encoder": {
        **_NETWORK, "num_channels": [8, 16], "num_res_blocks": [2, 2], "attention_levels": [False] * 2,
        "num_head_channels": [0, 0],
    },
    "vcm_unet": {
        **_NETWORK, "in_channels": 22, "out_channels": 16, "num_channels": [16, 32, 48],
        "num_head_channels": [0, 0, 48],
    },
}  # fmt: skip
"""BrainLDM and VCM as published, thousands of times lighter: for a processor, and for tests."""


@dataclass(frozen=True, eq=False)
class Setting:
    """One benchmark: `size` in a word or two, networks and schedule as published, the device, DDIM's steps.

    `memory` is the engine's memory plan, `patience` the seconds after which a stage is not repeated any more.
    """

    size: str
    config: PublishedConfig
    runtime: Runtime
    steps: int = 200
    memory: str = "auto"
    patience: float = 30.0

    @classmethod
    def create(
        cls,
        runtime: Runtime,
        *,
        tiny: bool = False,
        config: Mapping[str, Any] | None = None,
        source: str = "the configuration",
        steps: int = 200,
        memory: str = "auto",
    ) -> Setting:
        """At full size, `tiny`, or as a configuration of `vcm packs import` says."""
        check_name(memory)
        given = TINY if tiny else config
        read = read_config(given, source)
        check_backbone_fits(read)
        check_control_fits(read, read.grid.shape, read.latent_shape, read.latent_channels)
        size = "tiny" if tiny else source if config else "full size"
        return cls(size, read, runtime, steps, memory, patience=3.0 if tiny else 30.0)

    @cached_property
    def noise(self) -> Tensor:
        """Where sampling starts: `[1, *latent_shape]`, on the device."""
        shape = (self.config.latent_channels, *self.config.latent_shape)
        return seeded_noise(SEED, shape)[None].to(self.runtime.device)

    @cached_property
    def attributes(self) -> tuple[AttributeValue, ...]:
        """The scalars of a subject, some different from the others."""
        specs = tuple(map(AttributeSpec.from_dict, self.config.attributes))
        return resolve(specs, raw={spec.name: (index + 1) / 7 for index, spec in enumerate(specs)})

    @cached_property
    def conditions(self) -> tuple[Condition, ...]:
        """Random blocks of every class on the model's grid."""
        grid = self.config.grid
        conditions = []
        for index, spec in enumerate(map(ConditionSpec.from_dict, self.config.conditions)):
            values = np.array([0, *(c.value for c in spec.classes)] if spec.classes else np.linspace(0, 1, 9))
            coarse = np.random.default_rng(SEED + index).choice(values, [-(-n // 8) for n in grid.shape])
            array = coarse.repeat(8, 0).repeat(8, 1).repeat(8, 2)[tuple(slice(n) for n in grid.shape)]
            conditions.append(Condition(spec, Volume(array.astype(np.float32), grid)))
        return tuple(conditions)

    @cached_property
    def channels(self) -> Tensor:
        """The conditions as the control's encoder sees them: `[1, channels, i, j, k]`, on the device."""
        joined = np.concatenate([condition.as_channels() for condition in self.conditions])
        return torch.from_numpy(joined)[None].to(self.runtime.device)
