"""T2I-Adapter (Mou et al., AAAI 2024) in 3-D: features of the conditions, one scale for each level of the backbone.

It sees neither latent nor time and runs once a Sample. Conditions of several kinds have an adapter each, whose features
are added up: one for structures, one for images. Its features are added where the backbone takes residuals: at the last
skip of a level, and in the middle. As published nothing in it is zero-initialised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vcm.conditions.condition import ConditionSpec, Kind
from vcm.models.backbones.backbone import Residuals
from vcm.models.backbones.latents import pack
from vcm.models.controls.network_control import (
    ConstantResiduals,
    join,
    latent_config,
    least_shrinking,
    places_of,
    refuse_released,
    sites_as_dict,
    with_changes,
)
from vcm.models.loading import BACKBONES
from vcm.packs.manifest import BackboneManifest


class AdapterBlock(nn.Module):
    """Two convolutions with a skip; before them, at a level's start, a stride of two and a change of channels."""

    def __init__(self, inputs: int, outputs: int, *, down: bool) -> None:
        super().__init__()
        self.down = nn.Conv3d(inputs, inputs, 3, stride=2, padding=1) if down else None
        self.change = nn.Conv3d(inputs, outputs, 3, padding=1) if inputs != outputs else None
        self.first = nn.Conv3d(outputs, outputs, 3, padding=1)
        self.second = nn.Conv3d(outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, inputs, …]` to `[B, outputs, …]`, halved where it goes down."""
        for layer in (self.down, self.change):
            x = x if layer is None else layer(x)
        changed: Tensor = x + self.second(functional.relu(self.first(x)))
        return changed


class Adapter(nn.Module):
    """Voxels folded into channels, then blocks for each level (`[channels, i, j, k]`), which begins by halving."""

    def __init__(self, inputs: int, levels: Sequence[Sequence[int]], blocks: int, fold: int) -> None:
        super().__init__()
        self.fold = fold
        first = levels[0][0]
        self.conv_in = nn.Conv3d(inputs * fold**3, first, 3, padding=1)
        self.levels = nn.ModuleList(
            nn.Sequential(
                *(AdapterBlock(before[0] if i == 0 else level[0], level[0], down=i == 0) for i in range(blocks))
            )
            for before, level in zip([levels[0], *levels], levels, strict=False)
        )

    def forward(self, voxels: Tensor) -> list[Tensor]:
        """The features of each level, from `[B, inputs, …]` on a grid `2 · fold` times as fine as the first level's."""
        h = self.conv_in(pack(voxels, self.fold))
        made = []
        for level in self.levels:
            h = level(h)
            made.append(h)
        return made


class AdapterNetwork(nn.Module):
    """An adapter for each group of conditions, and at which sites (`[channels, i, j, k]`) their features go in."""

    def __init__(
        self,
        channels: Mapping[str, int],
        *,
        groups: Sequence[Sequence[str]],
        latent_shape: Sequence[int],
        packing: int,
        sites: Sequence[Sequence[int]],
        blocks: int,
        fold: int,
    ) -> None:
        super().__init__()
        self.groups = [{name: channels[name] for name in group} for group in groups]
        last = {tuple(site[1:]): place for place, site in enumerate(sites[:-1] or sites)}
        self.outlets, levels = list(last.values()), [sites[place] for place in last.values()]
        self.count, self.middle = len(sites) - 1, sites[-1] == levels[-1]
        finer, places = 2 * fold, places_of(latent_shape, packing)
        self.size, self.whole = [n * finer for n in places], [n * finer for n in levels[0][1:]]
        self.adapters = nn.ModuleList(Adapter(sum(group.values()), levels, blocks, fold) for group in self.groups)

    def forward(self, conditions: Mapping[str, Tensor], active: frozenset[str]) -> Residuals:
        """The residuals of the conditions that act; of those that do not, the channels are zeros."""
        joined = [join(group, conditions, active, self.size, self.whole) for group in self.groups]
        each = [adapter(voxels) for adapter, voxels in zip(self.adapters, joined, strict=True)]
        features = [torch.stack(level).sum(0) for level in zip(*each, strict=True)]
        down = [features[0].new_zeros(1, 1, 1, 1, 1)] * self.count
        for place, feature in zip(self.outlets, features, strict=True):
            if place < self.count:
                down[place] = feature
        return Residuals(tuple(down), features[-1] if self.middle else None)


class T2IAdapter(ConstantResiduals):
    """The control `t2i-adapter`."""

    network: AdapterNetwork
    network_class = AdapterNetwork

    @classmethod
    def configure(
        cls, manifest: BackboneManifest, conditions: Sequence[ConditionSpec], variant: str, changes: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The channels of the backbone's levels; the paper's counts of parameters are those of four blocks a level."""
        refuse_released(variant)
        structures, images = (
            [s.name for s in conditions if (s.kind is Kind.IMAGE) == image] for image in (False, True)
        )
        config = {
            "groups": [group for group in (structures, images) if group],
            "sites": sites_as_dict(BACKBONES[manifest.family].sites(manifest).every),
            "blocks": 4 if variant == "paper" else 1,
            "fold": min(4, max(1, least_shrinking(manifest) // 2)),
            **latent_config(manifest),
        }
        return {"variant": variant, **with_changes(config, variant, changes)}

    def condition_elements(self, shape: Sequence[int]) -> int:
        """The first convolution's output, at twice the first level's resolution, or the folded voxels."""
        first: Adapter = self.network.adapters[0]  # type: ignore[assignment]
        places = math.prod(self.network.whole) // first.fold**3
        return places * max(first.conv_in.out_channels, first.conv_in.in_channels)
