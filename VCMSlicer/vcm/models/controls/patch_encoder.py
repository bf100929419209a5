"""The condition encoder of controls for small backbones: all its work is done on the packed latent's grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution
from torch import Tensor, nn

from vcm.models.controls.condition_encoder import ResidualBlock


class PatchEncoder(nn.Module):
    """Each patch of a condition, folded into channels, is embedded by itself; residual blocks then mix neighbours.

    A patch of 8 mm of a mask has few numbers, so nothing is lost by leaving the voxels' grid at once, and a training on
    a processor costs an eighth. `places` is the patches' grid: what a patch means depends on where in the head it
    lies, and each place has an embedding of its own.
    """

    def __init__(
        self, in_channels: int, channels: int, places: Sequence[int], num_res_blocks: int = 1, norm_num_groups: int = 8
    ) -> None:
        super().__init__()
        self.base = self.out_channels = channels
        self.embed = Convolution(3, in_channels, channels, kernel_size=1, conv_only=True)
        place = torch.empty(channels, *places)
        # On the meta device, where packs are checked, drawing numbers would import PyTorch's compiler and SymPy.
        self.place = nn.Parameter(place if place.is_meta else place.normal_().mul_(0.02))
        self.blocks = nn.ModuleList(
            ResidualBlock(channels, channels, groups=norm_num_groups, eps=1e-6, time_channels=None)
            for _ in range(num_res_blocks)
        )

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """`[B, in_channels, *places]` to `[B, channels, *places]`; the time plays no part."""
        h = self.embed(x) + self.place.to(x.dtype)
        for block in self.blocks:
            h = block(h, None)
        return torch.as_tensor(h)
