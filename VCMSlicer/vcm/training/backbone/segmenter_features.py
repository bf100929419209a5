"""How much two images differ to the eyes of a pack's segmenter: a perceptual distance without another network."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from monai.networks.layers import SkipConnection
from torch import Tensor, nn

from vcm.core.errors import Code, VcmError
from vcm.models.segmenter import load_segmenter
from vcm.packs.store import Pack


class SegmenterFeatures:
    """The features of a segmenter's way down; the network itself never learns."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self.network = network.to(device).requires_grad_(False).eval()
        self.stages = list(_way_down(network))
        if not self.stages:
            raise VcmError(Code.PACK_INVALID, "The segmenter is no U-Net whose features could be compared.")

    @classmethod
    def of(cls, pack: Pack, device: torch.device) -> SegmenterFeatures:
        """Those of a backbone pack."""
        return cls(load_segmenter(pack), device)

    def difference(self, made: Tensor, real: Tensor) -> Tensor:
        """The mean absolute difference of the features of images `[B, 1, i, j, k]`, in units of the features' own
        spread; sizes must divide by what the network's strides make together."""
        with torch.no_grad():
            wanted = list(self._features(real))
        pairs = zip(self._features(made), wanted, strict=True)
        return torch.stack([(a.float() - b.float()).abs().mean() / (b.float().std() + 1e-6) for a, b in pairs]).mean()

    def _features(self, image: Tensor) -> Iterator[Tensor]:
        for stage in self.stages:
            image = stage(image)
            yield image


def _way_down(network: nn.Module) -> Iterator[nn.Module]:
    """The stages of MONAI's U-Net from the image to its coarsest level."""
    level = getattr(network, "model", None)
    while isinstance(level, nn.Sequential):
        yield level[0]
        inner = level[1] if len(level) > 1 else None
        level = inner.submodule if isinstance(inner, SkipConnection) else None
    if isinstance(level, nn.Module):
        yield level
