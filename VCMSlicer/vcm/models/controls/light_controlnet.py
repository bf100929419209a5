"""ControlNet-LITE and ControlNet-MLP in 3-D: ControlNet's outputs from a chain of convolutions over the hint alone.

Neither sees the noisy latent or the time, so that their residuals are made once a Sample. The published networks carry
a time embedding that nothing reads; it is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

from monai.networks.blocks import Convolution
from torch import Tensor, nn
from torch.nn import functional

from vcm.conditions.condition import ConditionSpec
from vcm.models.backbones.backbone import Residuals
from vcm.models.controls.controlnet import Hint, hint_config
from vcm.models.controls.network_control import ConstantResiduals, places_of, refuse_released, silent, with_changes
from vcm.packs.manifest import BackboneManifest


class LightNetwork(nn.Module):
    """A convolution and SiLU for each site (`[channels, i, j, k]`) after the first, then one that starts at zero.

    Where the grid is halved, the features are averaged; a site on a new grid with the channels of the one before needs
    no convolution of its own.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        *,
        latent_shape: Sequence[int],
        packing: int,
        sites: Sequence[Sequence[int]],
        hint: Sequence[int],
        kernel: int,
    ) -> None:
        super().__init__()
        first, *grid = sites[0]
        self.hint = Hint(channels, places_of(latent_shape, packing), grid, first, hint)
        # MONAI starts this layer at zero. Behind zero-initialised convolutions it would hardly learn, nor they.
        self.hint.layers.conv_out.conv.reset_parameters()
        self.grids = [(i, j, k) for _, i, j, k in sites]
        self.layers = nn.ModuleList()
        for before, site in pairwise(sites):
            same = before[0] == site[0] and before[1:] != site[1:]
            layer = nn.Identity() if same else Convolution(3, before[0], site[0], kernel_size=kernel, conv_only=True)
            self.layers.append(layer)
        self.outlets = nn.ModuleList(silent(site[0]) for site in sites)

    def forward(self, conditions: Mapping[str, Tensor], active: frozenset[str]) -> Residuals:
        """The residuals of the conditions that act."""
        h = self.hint(conditions, active)
        made = [self.outlets[0](h)]
        for layer, outlet, grid in zip(self.layers, self.outlets[1:], self.grids[1:], strict=True):
            if tuple(h.shape[2:]) != grid:
                h = functional.adaptive_avg_pool3d(h, grid)
            if not isinstance(layer, nn.Identity):
                h = functional.silu(layer(h))
            made.append(outlet(h))
        return Residuals(tuple(made[:-1]), made[-1])


class ControlNetLite(ConstantResiduals):
    """The control `controlnet-lite`: convolutions of 3 × 3 × 3."""

    network: LightNetwork
    network_class = LightNetwork
    kernel: ClassVar[int] = 3

    @classmethod
    def configure(
        cls, manifest: BackboneManifest, conditions: Sequence[ConditionSpec], variant: str, changes: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The channels of the backbone's own sites."""
        refuse_released(variant)
        config = {"kernel": cls.kernel, **hint_config(manifest, variant)}
        return {"variant": variant, **with_changes(config, variant, changes)}

    def condition_elements(self, shape: Sequence[int]) -> int:
        """Those of the hint."""
        return self.network.hint.elements


class ControlNetMlp(ControlNetLite):
    """The control `controlnet-mlp`: convolutions of single places."""

    kernel = 1
