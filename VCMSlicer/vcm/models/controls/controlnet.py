"""ControlNet (Zhang, Rao and Agrawala, ICCV 2023) in 3-D: a trainable copy of the backbone's encoder.

The copy sees what the backbone's network sees, with the conditions added after its first convolution, and what it
makes is added to the backbone's skips and middle through zero-initialised convolutions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from monai.networks.nets.controlnet import ControlNetConditioningEmbedding
from torch import Tensor, nn

from vcm.conditions.condition import ConditionSpec
from vcm.models.backbones.backbone import Backbone, Residuals, Shown, dtype_of
from vcm.models.controls.control import Step
from vcm.models.controls.network_control import (
    NetworkControl,
    join,
    latent_config,
    least_shrinking,
    places_of,
    refuse_released,
    silent,
    sites_as_dict,
    with_changes,
)
from vcm.models.loading import BACKBONES
from vcm.packs.manifest import BackboneManifest

HINT = {"small": (16, 64), "paper": (32, 96, 256)}
"""Channels of the convolutions that lead from the voxels to the first site: each after the first halves the grid. The
paper's begin at half the voxels' resolution (its counts of parameters say so). On a processor, convolutions at a finer
grid would cost more than all else together."""


class Hint(nn.Module):
    """ControlNet's few convolutions that bring conditions to the first site: `[B, ΣC, …]` to `[B, outputs, *grid]`."""

    def __init__(
        self, channels: Mapping[str, int], places: Sequence[int], grid: Sequence[int], outputs: int, hint: Sequence[int]
    ) -> None:
        super().__init__()
        fineness = 2 ** (len(hint) - 1)
        self.channels = dict(channels)
        self.size, self.whole = [n * fineness for n in places], [n * fineness for n in grid]
        self.layers = ControlNetConditioningEmbedding(3, sum(channels.values()), outputs, channels=tuple(hint))

    def forward(self, conditions: Mapping[str, Tensor], active: frozenset[str]) -> Tensor:
        """The features of the conditions that act."""
        embedded: Tensor = self.layers(join(self.channels, conditions, active, self.size, self.whole))
        return embedded

    @property
    def elements(self) -> int:
        """Elements of its largest tensor, for one item."""
        return math.prod(self.whole) * max(32, self.layers.conv_in.out_channels)


class ControlNetNetwork(nn.Module):
    """Hint, copy of the encoder and a zero-initialised convolution for each site (`[channels, i, j, k]`)."""

    def __init__(
        self,
        channels: Mapping[str, int],
        *,
        family: str,
        encoder: Mapping[str, Any],
        latent_shape: Sequence[int],
        packing: int,
        sites: Sequence[Sequence[int]],
        hint: Sequence[int],
    ) -> None:
        super().__init__()
        first, *grid = sites[0]
        self.hint = Hint(channels, places_of(latent_shape, packing), grid, first, hint)
        self.encoder = BACKBONES[family].copy_of_encoder(encoder)
        self.down = nn.ModuleList(silent(site[0]) for site in sites[:-1])
        self.middle = silent(sites[-1][0])

    def forward(self, shown: Shown, t: Tensor, hint: Tensor) -> Residuals:
        """What is added at each site."""
        made: Residuals = self.encoder(shown, t, hint)
        down = tuple(layer(part) for layer, part in zip(self.down, made.down, strict=True))
        return Residuals(down, self.middle(made.middle))


class ControlNet(NetworkControl):
    """The control `controlnet`."""

    network: ControlNetNetwork
    network_class = ControlNetNetwork
    needs_residuals = True
    small_learning_rate = 1e-3

    @classmethod
    def configure(
        cls, manifest: BackboneManifest, conditions: Sequence[ConditionSpec], variant: str, changes: Mapping[str, Any]
    ) -> dict[str, Any]:
        """A copy of the backbone's encoder; as in the paper one that does not attend to the inputs as a context."""
        refuse_released(variant)
        family = BACKBONES[manifest.family]
        config = {
            "family": manifest.family,
            "encoder": family.network_options(manifest, attend=variant != "paper"),
            **hint_config(manifest, variant),
        }
        return {"variant": variant, **with_changes(config, variant, changes)}

    def begin(self, backbone: Backbone) -> None:
        """The encoder begins as the backbone's own: all weights that fit, by name."""
        own = self.network.encoder.state_dict()
        former = backbone.denoiser.state_dict()
        taken = {name: former[name] for name in own if name in former and former[name].shape == own[name].shape}
        self.network.encoder.load_state_dict({**own, **taken})

    def prepare(
        self, conditions: Mapping[str, Tensor], subsets: Iterable[frozenset[str]]
    ) -> dict[frozenset[str], Tensor]:
        """The hint of each set of conditions, which is the same at every step."""
        given = {name: c.to(dtype_of(self.network)) for name, c in conditions.items()}
        return {subset: self.network.hint(given, subset) for subset in subsets}

    def guide(self, step: Step, state: Mapping[frozenset[str], Tensor], active: frozenset[str]) -> Tensor:
        """The prediction of the backbone with what the copy adds."""
        return step.predict(residuals=self.network(step.shown(), step.t, state[active]))

    def condition_elements(self, shape: Sequence[int]) -> int:
        """Those of the hint."""
        return self.network.hint.elements


def hint_config(manifest: BackboneManifest, variant: str) -> dict[str, Any]:
    """The parts of a manifest's `networks` that a hint needs."""
    halvings = int(math.log2(max(1, least_shrinking(manifest))))
    return {
        "sites": sites_as_dict(BACKBONES[manifest.family].sites(manifest).every),
        "hint": list(HINT[variant][: halvings + 1]),
        **latent_config(manifest),
    }
