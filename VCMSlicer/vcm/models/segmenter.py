"""The segmentation network that a backbone's pack may bring along."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vcm.anatomy.usual_places import CELL, cells_of
from vcm.core.errors import Code, VcmError
from vcm.models.lean_monai import defer_monai
from vcm.models.weights import load
from vcm.packs.store import Pack, open_weights


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


def load_places(pack: Pack) -> Tensor | None:
    """`[labels, i, j, k]`: whether each voxel of the pack's grid may have each of the segmenter's labels, background
    first; None where the pack does not tell."""
    manifest = pack.backbone
    if "places" not in manifest.files:
        return None
    tensors = open_weights(pack, "places")
    bits, sizes = tensors.get("places"), cells_of(manifest.grid.shape)
    if set(tensors) != {"places"} or bits is None or bits.dtype != torch.int32 or bits.shape != sizes:
        raise VcmError(
            Code.PACK_INVALID,
            f"The places of the pack {pack.name} must be one int32 tensor “places” of shape {sizes}.",
            "Import or download the pack again.",
        )
    i, j, k = manifest.grid.shape
    labels = 1 + max(spec.value for spec in manifest.segmenter_classes)
    cells = torch.stack([(bits >> label) & 1 for label in range(labels)]).bool()
    for axis in (1, 2, 3):
        cells = cells.repeat_interleave(CELL, axis)
    return cells[:, :i, :j, :k]
