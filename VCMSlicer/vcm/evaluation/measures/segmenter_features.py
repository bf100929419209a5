"""Labels and features of an image from one pass through a pack's segmenter."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from vcm.core.volume import Volume
from vcm.judging.segmentation import PackSegmenter


class WatchedSegmenter:
    """A segmenter of which the bottleneck is watched: its features, averaged over space, one vector an image."""

    def __init__(self, segmenter: PackSegmenter) -> None:
        self.name, self.classes = segmenter.name, segmenter.classes
        self._segmenter = segmenter
        self._seen: NDArray[np.float32] | None = None
        bottleneck(segmenter.network).register_forward_hook(self._watch)

    def segment(self, image: Volume) -> Volume:
        """The labels, as the segmenter itself gives them."""
        return self._segmenter.segment(image)

    def segment_with_features(self, image: Volume) -> tuple[Volume, NDArray[np.float32]]:
        """The labels, and the features as `[1, d]`."""
        labels = self._segmenter.segment(image)
        assert self._seen is not None
        return labels, self._seen

    def _watch(self, _module: nn.Module, _given: Any, out: Tensor) -> None:
        self._seen = out.detach().float().mean(dim=(2, 3, 4)).cpu().numpy()


def bottleneck(network: nn.Module) -> nn.Module:
    """What lies under the innermost skip connection of MONAI's U-Net, where the image is smallest."""
    from monai.networks.layers import SkipConnection

    return [part for part in network.modules() if isinstance(part, SkipConnection)][-1].get_submodule("submodule")
