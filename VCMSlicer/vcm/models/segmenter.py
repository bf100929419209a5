"""The segmentation network that a backbone's pack may bring along."""

from __future__ import annotations

from torch import nn

from vcm.core.errors import Code, VcmError
from vcm.models.lean_monai import defer_monai
from vcm.models.weights import load
from vcm.packs.store import Pack


def load_segmenter(pack: Pack) -> nn.Module:
    """The network of a pack's `networks.segmenter`, one output channel a label, in fp32 on the CPU."""
    manifest = pack.backbone
    if "segmenter" not in manifest.files:
        raise VcmError(
            Code.BAD_REQUEST,
            f"The pack {manifest.name} has no segmenter of its own.",
            "Use FreeSurfer's mri_synthseg, or leave the choice to the program.",
        )
    defer_monai()
    from monai.networks.nets import UNet

    network: nn.Module = load(pack, "segmenter", lambda: UNet(**manifest.networks["segmenter"]))
    return network.eval()
