"""The segmentation network that a backbone's pack may bring along."""

from __future__ import annotations

from torch import nn

from vcm.models.lean_monai import defer_monai
from vcm.models.onednn import use_onednn
from vcm.models.weights import load
from vcm.packs.store import Pack


def load_segmenter(pack: Pack) -> nn.Module:
    """The network of a pack's `networks.segmenter`, one output channel a label, in fp32 on the CPU."""
    defer_monai()
    from monai.networks.nets import UNet

    network: nn.Module = load(pack, "segmenter", lambda: UNet(**pack.backbone.networks["segmenter"]))
    use_onednn(network)
    return network.eval()
