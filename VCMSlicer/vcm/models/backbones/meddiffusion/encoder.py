"""The half of BiFlowNet that leads to its middle, for controls that work within the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from vcm.models.backbones.backbone import Residuals, Shown, Site, Sites, dtype_of
from vcm.models.backbones.meddiffusion.bi_flow_net import FULL_LEVELS, BiFlowNet


class FlowEncoder(BiFlowNet):
    """The downward half of both flows and the middle, with the names that the weights have in the whole network.

    It is shown the latent and, in place of a context, the numbers of the classes.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(**options)
        for name in ("IntraPatchFlow_mid", "IntraPatchFlow_output", "ups", "final_conv"):
            setattr(self, name, nn.ModuleList())

    def forward(self, shown: Shown, t: Tensor, hint: Tensor) -> Residuals:  # type: ignore[override]
        """The features at the skips and in the middle; `hint` is added after the first convolution."""
        assert shown.context is not None
        latent = shown.tensor.to(dtype_of(self))
        given = self.conditioning(latent, t, shown.context.long(), None)
        entering, _ = self.inner_flow(latent, given)
        middle, skips = self.descend(self.init_conv(latent) + hint, entering, given)
        return Residuals(tuple(skips), middle)


def flow_sites(config: Mapping[str, Any], places: Sequence[int]) -> Sites:
    """The skips, two a level, and the middle, for latents on the grid `places`.

    >>> flow_sites({"dim": 8, "dim_mults": [1, 1, 2]}, (8, 16, 24)).every[3:5]
    (Site(channels=8, grid=(8, 16, 24)), Site(channels=16, grid=(4, 8, 12)))
    """
    sites = []
    for level, mult in enumerate(config["dim_mults"]):
        i, j, k = (size // 2 ** max(0, level - FULL_LEVELS + 1) for size in places)
        sites += [Site(config["dim"] * mult, (i, j, k))] * 2
    return Sites(tuple(sites), sites[-1])
